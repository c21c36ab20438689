"""The running simulator: a socket on 127.0.0.1 for as long as the block lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.simulator.config import FailureRates, KeyBehaviour, Latency, OrganizationConfig, SimulatorConfig
from agentdash.simulator.control import PREFIX, apply_changes, control
from agentdash.simulator.handler import MAX_BODY_BYTES, Handler
from agentdash.simulator.records import Recorder
from agentdash.simulator.rules import Rule

_HOST: Final = "127.0.0.1"
_GRACE_S: Final = 0.1


class Simulator:
    """`async with Simulator(config) as simulator:` serves at `simulator.base_url` in the current loop.

    Leaving the block ends every connection within a fraction of a second, hanging ones too.
    """

    def __init__(self, config: SimulatorConfig | None = None, *, port: int = 0, clock: Clock = SYSTEM_CLOCK) -> None:
        self.config = config if config is not None else SimulatorConfig()
        self._clock = clock
        self._closing = asyncio.Event()
        self._handler = Handler(self.config, clock, self._closing)
        self._wanted_port = port
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = web.Server(
            self._serve,
            request_factory=self._request,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=300.0,
            lingering_time=2.0,
        )
        self._listener = await loop.create_server(self._server, _HOST, self._wanted_port, backlog=2048)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(_GRACE_S)
        if self._listener is not None:
            await self._listener.wait_closed()

    @property
    def port(self) -> int:
        if self._listener is None or not self._listener.sockets:
            raise RuntimeError("the simulator is not running")
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        return f"http://{_HOST}:{self.port}"

    @property
    def records(self) -> Recorder:
        """Every request so far: iterate, index, `wait_until(condition)`."""
        return self._handler.recorder

    def stats(self) -> dict[str, Any]:
        return self._handler.recorder.stats()

    def update(
        self,
        *,
        failures: FailureRates | Mapping[str, Any] | None = None,
        latency: Latency | Mapping[str, Any] | None = None,
        rules: Sequence[Rule | Mapping[str, Any]] | None = None,
        organizations: Mapping[str, OrganizationConfig | Mapping[str, Any]] | None = None,
        keys: Mapping[str, KeyBehaviour | Mapping[str, Any]] | None = None,
    ) -> None:
        """Change the running server. Objects replace; mappings change only the fields they name (see `control`)."""
        given = {
            "failures": failures,
            "latency": latency,
            "rules": rules,
            "organizations": organizations,
            "keys": keys,
        }
        apply_changes(self._handler, {name: value for name, value in given.items() if value is not None})

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            return await control(self._handler, request)
        return await self._handler(request)

    @staticmethod
    def _request(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)
