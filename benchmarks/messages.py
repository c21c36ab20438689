"""Messages over loopback, `--no-stream`: agentdash beside the plain loop a user would write, in the same run.

The plain loop is `asyncio`, a semaphore and a default `AsyncAnthropic`; "on aiohttp" is the same loop with the SDK's
aiohttp transport. Each round runs all of them against one simulator, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agentdash.config import Settings
from agentdash.engine.credentials import APICredential
from agentdash.engine.facade import Engine
from agentdash.secret import Secret
from benchmarks.support import KEY, simulator, write_tasks

CONTENDERS = ("plain", "aiohttp", "agentdash", "agentdash-stream")


def run(*, quick: bool = False) -> dict[str, Any]:
    """Requests a second of each contender with 50 and 500 at once, and the ratios, as medians over rounds."""
    figures: dict[str, Any] = {}
    rounds = 3 if quick else 7
    for workers, number in ((50, 1500), (500, 3000)):
        rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        with simulator(answer_tokens=30) as base_url:
            for _ in range(rounds):
                for name in CONTENDERS:
                    rates[name].append(_in_process(name, base_url, workers, number))
        for name, values in rates.items():
            figures[f"{name}, {workers} at once, requests/s"] = round(statistics.median(values))
        for other in ("plain", "aiohttp"):
            ratios = [a / b for a, b in zip(rates["agentdash"], rates[other], strict=True)]
            figures[f"agentdash ÷ {other}, {workers} at once"] = round(statistics.median(ratios), 3)
            figures[f"agentdash ÷ {other}, {workers} at once, least and most"] = (
                f"{min(ratios):.2f} – {max(ratios):.2f}"
            )
    return figures


def _in_process(name: str, base_url: str, workers: int, number: int) -> float:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.messages", name, base_url, str(workers), str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


async def plain_loop(base_url: str, workers: int, number: int, *, aiohttp: bool) -> float:
    """The loop a user would write."""
    import anthropic

    http: dict[str, Any] = {"http_client": anthropic.DefaultAioHttpClient()} if aiohttp else {}
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=base_url, **http) as client:
        semaphore = asyncio.Semaphore(workers)

        async def ask(i: int) -> Any:
            async with semaphore:
                return await client.messages.create(
                    model="claude-haiku-5-5",
                    max_tokens=64,
                    messages=[{"role": "user", "content": f"Summarise the incident report number {i}."}],
                )

        await ask(0)
        started = time.perf_counter()
        await asyncio.gather(*(ask(i) for i in range(number)))
        return number / (time.perf_counter() - started)


async def with_agentdash(base_url: str, workers: int, number: int, *, stream: bool) -> float:
    """The same requests as tasks of a project: locked, settled durably, each with its results line."""
    credential = APICredential(Secret(KEY), base_url=base_url)
    with tempfile.TemporaryDirectory() as folder:
        tasks = write_tasks(Path(folder, "tasks.jsonl"), number + 1)
        settings = Settings(project=Path(folder), workers=workers, stream=stream, max_tokens=64, limit=1)
        settings_all = Settings(project=Path(folder), workers=workers, stream=stream, max_tokens=64)
        async with Engine(settings, credentials=[credential]) as engine:  # the SDK's import and the first connection
            await engine.add([str(tasks)])
            await engine.run()
        credential.proven = True
        async with Engine(settings_all, credentials=[credential]) as engine:
            started = time.perf_counter()
            await engine.run()
            seconds = time.perf_counter() - started
            if engine.store.counts().succeeded != number + 1:
                raise RuntimeError("not every task succeeded")
        return number / seconds


def main(name: str, base_url: str, workers: str, number: str) -> None:
    if name.startswith("agentdash"):
        job = with_agentdash(base_url, int(workers), int(number), stream=name.endswith("-stream"))
    else:
        job = plain_loop(base_url, int(workers), int(number), aiohttp=name == "aiohttp")
    print(json.dumps(asyncio.run(job)))


if __name__ == "__main__":
    main(*sys.argv[1:5])
