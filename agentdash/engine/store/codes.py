"""How states and texts are written in the database: states as small numbers, fixed for ever."""

from __future__ import annotations

import re

from agentdash.model import TaskState

STATE_COLUMNS = tuple(state.value for state in TaskState)
"""The columns of `totals` that count tasks, in the order of their codes."""

CODE_OF = {state: code for code, state in enumerate(TaskState)}
STATE_OF = tuple(TaskState)

PENDING = CODE_OF[TaskState.PENDING]
RUNNING = CODE_OF[TaskState.RUNNING]
FAILED = CODE_OF[TaskState.FAILED]
CANCELLED = CODE_OF[TaskState.CANCELLED]

if (PENDING, RUNNING, FAILED, CANCELLED) != (0, 1, 3, 4):
    raise AssertionError("the codes are written in databases and in the schema's partial indexes")

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """What SQLite can keep: its JSON ends a text at a NUL, and a lone surrogate could be written but not read back."""
    return _UNSTORABLE.sub("\ufffd", text)
