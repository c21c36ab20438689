"""How states and texts are written in the database: states as small numbers, fixed for ever."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentdash.model import TaskState

STATE_COLUMNS = tuple(state.value for state in TaskState)
"""The columns of `totals` that count tasks, in the order of their codes."""

CODE_OF = {state: code for code, state in enumerate(TaskState)}
STATE_OF = tuple(TaskState)

PENDING = CODE_OF[TaskState.PENDING]
RUNNING = CODE_OF[TaskState.RUNNING]
SUCCEEDED = CODE_OF[TaskState.SUCCEEDED]
FAILED = CODE_OF[TaskState.FAILED]
CANCELLED = CODE_OF[TaskState.CANCELLED]

if (PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED) != (0, 1, 2, 3, 4):
    raise AssertionError("the codes are written in databases and in the schema's partial indexes")

_BETWEEN_LOCKS = "\n"
"""Between the names of resources; no name holds a control character."""


def join_locks(names: Sequence[str]) -> str:
    """The names of the resources of a task, as one column."""
    return _BETWEEN_LOCKS.join(names)


def split_locks(column: str | None) -> tuple[str, ...]:
    """The names again."""
    return tuple(column.split(_BETWEEN_LOCKS)) if column else ()


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """What SQLite can keep: its JSON ends a text at a NUL, and a lone surrogate could be written but not read back."""
    return _UNSTORABLE.sub("\ufffd", text)
