"""A function processor that takes its time, and measures meanwhile how late the event loop is.

`AGENTDASH_PROBE_S` is what a task takes; `AGENTDASH_PROBE_FILE` gets the lags (milliseconds, JSON) at the end.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import time
from typing import Any

_TAKES_S = float(os.environ.get("AGENTDASH_PROBE_S", "0"))
_FILE = os.environ.get("AGENTDASH_PROBE_FILE")
_EVERY_S = 0.005
_lags: list[float] = []
_tickers: list[asyncio.Task[None]] = []


async def work(task: dict[str, Any], worker_id: str) -> str:
    """Wait, and answer."""
    if _FILE and not _tickers:
        _tickers.append(asyncio.create_task(_tick()))
        atexit.register(_write, _FILE)
    if _TAKES_S:
        await asyncio.sleep(_TAKES_S)
    return "ok"


async def _tick() -> None:
    due = time.perf_counter()
    while True:
        due = max(due + _EVERY_S, time.perf_counter())
        await asyncio.sleep(due - time.perf_counter())
        _lags.append((time.perf_counter() - due) * 1000)


def _write(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(_lags, file)
