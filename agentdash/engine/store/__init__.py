"""Where task state lives: the protocol, its SQLite form, its in-memory form. Nothing outside knows SQL."""

from agentdash.engine.store.base import (
    TRANSITIONS,
    AddReport,
    Claim,
    CredentialRecord,
    ProcessRecord,
    Ready,
    RunningTask,
    Settlement,
    TaskRecord,
    TaskStore,
    claimed,
)
from agentdash.engine.store.memory import MemoryTaskStore
from agentdash.engine.store.sqlite import SqliteTaskStore

__all__ = [
    "TRANSITIONS",
    "AddReport",
    "Claim",
    "CredentialRecord",
    "MemoryTaskStore",
    "ProcessRecord",
    "Ready",
    "RunningTask",
    "Settlement",
    "SqliteTaskStore",
    "TaskRecord",
    "TaskStore",
    "claimed",
]
