"""Where task state lives: the protocol, its SQLite form, its in-memory form. Nothing outside knows SQL."""

from agentdash.engine.store.memory import MemoryTaskStore
from agentdash.engine.store.protocol import TaskStore
from agentdash.engine.store.records import (
    AddReport,
    Claim,
    CredentialRecord,
    ProcessRecord,
    Ready,
    RunningTask,
    Settlement,
    TaskRecord,
    claimed,
)
from agentdash.engine.store.sqlite import SqliteTaskStore
from agentdash.engine.store.transitions import TRANSITIONS

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
