"""agentdash: run many LLM-agent tasks, watch them, lose none.

The names below are the objects the engine itself runs on. Each is loaded when it is first asked for, so that a command
that needs none of them starts at once; importing the package loads neither the SDK nor the dashboard.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from agentdash._version import __version__

if TYPE_CHECKING:
    from agentdash.engine.backoff import AdaptiveBackoff
    from agentdash.engine.credentials import APICredential
    from agentdash.engine.health import MAX_CONSECUTIVE_FAILURES, MAX_RECOVERY_ATTEMPTS, WorkerHealthState
    from agentdash.engine.locks import TaskLock
    from agentdash.engine.manager import TaskStateManager
    from agentdash.engine.pool import ParallelSessionManager
    from agentdash.engine.rotation import APIRotationState
    from agentdash.engine.worker import work_stealing_loop

__all__ = [
    "MAX_CONSECUTIVE_FAILURES",
    "MAX_RECOVERY_ATTEMPTS",
    "APICredential",
    "APIRotationState",
    "AdaptiveBackoff",
    "ParallelSessionManager",
    "TaskLock",
    "TaskStateManager",
    "WorkerHealthState",
    "__version__",
    "work_stealing_loop",
]

_MODULES = {
    "MAX_CONSECUTIVE_FAILURES": "health",
    "MAX_RECOVERY_ATTEMPTS": "health",
    "APICredential": "credentials",
    "APIRotationState": "rotation",
    "AdaptiveBackoff": "backoff",
    "ParallelSessionManager": "pool",
    "TaskLock": "locks",
    "TaskStateManager": "manager",
    "WorkerHealthState": "health",
    "work_stealing_loop": "worker",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"agentdash.engine.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
