"""The lock files: which worker of which process holds which task, and what nobody holds any more."""

from __future__ import annotations

from collections.abc import Sequence

from agentdash.model import LockView
from agentdash.ui import format as fmt
from agentdash.ui.panels.lines import Cell, Column, Line
from agentdash.ui.panels.panel import WIDE, ListPanel

_ORDER = {"stale": 0, "overdue": 1, "foreign": 2, "held": 3}
_COLUMNS = (
    Column("task", 0),
    Column("by", 4, "left", 1),
    Column("pid", 4, "right", 3),
    Column("age", 5, "right", 2),
    Column("beat", 5, "right", 4),
    Column("state", 10),  # a cell more than the longest: none of them touches the scrollbar
)
_PID_CELLS = (4, 7)
_WIDE_TASK_CELLS = 48


class Locks(ListPanel[LockView]):
    """One line a lock; those that ask for a look stand first."""

    TITLE = "Locks"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(_COLUMNS, empty="No lock is held. One appears for each running task.", show_heads=False, id=id)

    def update(self, locks: Sequence[LockView], now: float) -> None:
        """Show the locks as they are known now."""
        self.columns = _columns(max((len(str(lock.pid)) for lock in locks), default=0), wide=self.size.width >= WIDE)
        if self.cursor == 0 and not self.has_focus:
            self._cursor_key = None  # nobody has gone to a lock: what sorts in above does not carry the cursor away
        self.fill(sorted(locks, key=lambda lock: _ORDER.get(lock.state, 2)), lambda lock: _line(lock, now))
        stale, overdue = (sum(lock.state == state for lock in locks) for state in ("stale", "overdue"))
        title = f"Locks {len(locks):,}" + (f" · {overdue:,} overdue" if overdue else "")
        self.caption(title, *((f"c cleans {stale:,} stale", f"{stale:,} stale") if stale else ()))


def _columns(pid: int, *, wide: bool) -> tuple[Column, ...]:
    least, most = _PID_CELLS
    task, held, pids, age, beat, state = _COLUMNS
    pids = pids._replace(width=max(least, min(most, pid)))
    if wide:
        task, state = task._replace(width=_WIDE_TASK_CELLS), state._replace(width=0)
    return (task, held, pids, age, beat, state)


def _line(lock: LockView, now: float) -> Line:
    glyph, style = fmt.lock_look(lock.state)
    return Line(
        lock.task_id,
        (
            Cell(lock.task_id),
            Cell(fmt.short_worker(lock.holder_id)),
            Cell(str(lock.pid) if lock.pid else fmt.NONE, "dim"),
            Cell(fmt.age(lock.acquired_at, now)),
            Cell(fmt.age(lock.heartbeat_at, now), "dim"),
            Cell(f"{glyph} {lock.state}", style),
        ),
    )
