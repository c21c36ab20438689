"""A task that runs, and that may be asked to stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from agentdash.engine.store import Claim


@dataclass(slots=True)
class Running:
    """A task that a worker of this process runs now. `stop` says why it shall stop, once somebody asked for that."""

    claim: Claim
    runner: asyncio.Task[Any] | None = None
    stop: str | None = None

    def request_stop(self, reason: str) -> bool:
        """Ask the worker to stop it; False if nobody works on it yet, or it was asked before."""
        if self.runner is None or self.stop is not None:
            return False
        self.stop = reason
        self.runner.cancel()
        return True
