"""agentdash: run many LLM-agent tasks, watch them, lose none.

The names below are the objects the engine itself runs on. Importing the package loads neither the SDK nor the dashboard.
"""

from agentdash._version import __version__
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
