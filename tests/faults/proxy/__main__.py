"""`python -m tests.faults.proxy FOLDER`: before the simulator whose address a file in FOLDER tells.

What it is to do to answers stands in FOLDER/proxy.json, which it reads anew for each request:
`{"faults": [...], "share": 0.5}`. What it has done, and whether a key came to its other port, it notes in
FOLDER/proxy-log.jsonl.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.proxy import bent, excess
from tests.faults.proxy.ways import WAYS, ConnectionState, Exchange, Way, pass_on
from tests.faults.proxy.wire import Request, own_answer, read_answer, read_request, reset

__all__ = ["bent", "excess"]
_HOST = "127.0.0.1"
_MOST_ANSWER_BYTES = 1 << 20
CROSSES_WITHIN_S = 0.02
"""A request that comes so soon after something that nobody had asked for was on its way when that was sent."""


class Proxy:
    """Both ports, and what is to be done to answers now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chance = random.Random()
        self._behind: set[asyncio.Task[None]] = set()
        self._elsewhere = self._here = ""

    async def serve(self) -> None:
        here = await asyncio.start_server(self._connection, _HOST, 0, backlog=512)
        elsewhere = await asyncio.start_server(self._other_host, _HOST, 0, backlog=512)
        self._here, self._elsewhere = (
            f"http://{_HOST}:{server.sockets[0].getsockname()[1]}" for server in (here, elsewhere)
        )
        print(json.dumps({"base_url": self._here}), flush=True)
        await asyncio.gather(here.serve_forever(), elsewhere.serve_forever())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's requests, one after the other."""
        state = ConnectionState()
        try:
            while (request := await read_request(reader)) is not None:
                state.requests += 1
                name, way = self._way()
                self._note(way=name)
                if state.unasked_at is not None:
                    after_s = time.monotonic() - state.unasked_at
                    # Who has taken it for an answer gets each later answer one request too late, and cannot know.
                    state.has_crossed = state.has_crossed or after_s < CROSSES_WITHIN_S
                    self._note(way="unclean", after_s=after_s, crossed=state.has_crossed)
                exchange = Exchange(
                    state.requests, request, writer, partial(self._ask, request), self._elsewhere,
                    self._here, self._in_background, state,
                )  # fmt: skip
                if not await way(exchange):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):  # the client left, or the simulator did
            reset(writer)
        finally:
            writer.close()

    async def _other_host(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Nobody may come here, and least of all with a key."""
        try:
            request = await read_request(reader)
            if request is not None:
                self._note(way="elsewhere", key=request.has_key)
                writer.write(own_answer(request))
        finally:
            writer.close()

    def _way(self) -> tuple[str, Way]:
        try:
            told: dict[str, Any] = json.loads((self._folder / "proxy.json").read_bytes())
        except (OSError, ValueError):
            return "pass on", pass_on
        if self._chance.random() >= told["share"]:
            return "pass on", pass_on
        return self._chance.choice([item for fault in told["faults"] for item in WAYS[fault].items()])

    async def _ask(self, request: Request) -> tuple[bytes, bytes]:
        """The simulator's answer, over a connection of its own."""
        told = max(self._folder.glob("server-*.txt")).read_bytes()
        port = int(json.loads(told.splitlines()[0])["base_url"].rpartition(":")[2])
        reader, writer = await asyncio.open_connection(_HOST, port, limit=_MOST_ANSWER_BYTES)
        try:
            writer.write(request.raw)
            return await read_answer(reader)
        finally:
            writer.close()

    def _in_background(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await work
            except ConnectionError:  # the client did not wait for it
                return

        task = asyncio.create_task(run())
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    def _note(self, **what: Any) -> None:
        with (self._folder / "proxy-log.jsonl").open("a") as file:
            file.write(json.dumps({"at": time.monotonic(), **what}) + "\n")


def main() -> int:
    asyncio.run(Proxy(Path(sys.argv[1])).serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
