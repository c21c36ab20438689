"""The workers: what each is doing, since when, and how well it is."""

from __future__ import annotations

from functools import lru_cache

from agentdash.model import Snapshot, WorkerView
from agentdash.ui import format as fmt
from agentdash.ui.panels.lines import Cell, Column, Line
from agentdash.ui.panels.panel import WIDE, ListPanel

_MOST_ERROR_CELLS = 34
_LEAST_ERROR_CELLS = 14
_TASK_CELLS = 20
_OTHER_CELLS = 32
"""What the other columns take in a panel, the gutter and the gaps counted."""
_TINY = 30
_STARTING = frozenset({"starting", "running", "paused"})
_EMPTY = "Workers start with the run."
_ENDED = "The run has ended."
_MANY_FAILURES = 3
_CHANGE = "[@click=app.simulate_key('plus')]+[/] [@click=app.simulate_key('minus')]-[/] change"
_REVIVE = "[@click=screen.revive]w revive[/]"


class Workers(ListPanel[WorkerView]):
    """One line a worker, in the order of their numbers."""

    TITLE = "Workers"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(_columns(2, _error_cells(0), wide=False), empty=_EMPTY, show_heads=False, id=id)

    def update(self, snapshot: Snapshot, now: float, monotonic: float) -> None:
        """Show the workers at this moment."""
        workers = sorted(snapshot.workers, key=lambda view: _order(view.id))
        width = self.size.width
        digits = len(_number(workers[-1].id)) if workers else 2
        self.columns = _columns(digits, _error_cells(width), wide=width >= WIDE)
        self.empty = _EMPTY if snapshot.status in _STARTING else _ENDED
        self.fill(workers, lambda view: _line(view, now, monotonic, width))
        unwell = sum(view.state in fmt.UNWELL for view in workers)
        parked = any(view.state == "parked" for view in workers)
        title = f"Workers {len(workers):,}" + (f" · {unwell:,} unwell" if unwell else "")
        hint = f"{_CHANGE}, {_REVIVE}" if parked else _CHANGE
        self.caption(title, *((hint,) if snapshot.status not in ("draining", "finished") else ()))


@lru_cache(maxsize=32)
def _columns(digits: int, error: int, *, wide: bool) -> tuple[Column, ...]:
    return (
        Column("#", max(2, min(digits, 6)), "right"),
        Column("state", 9),
        Column("task or wait", 40 if wide else 0),
        Column("for", 5, "right", 1),
        Column("fail", 4, "right", 2),
        Column("rec", 3, "right", 3),
        Column("last error", 0 if wide else error or _MOST_ERROR_CELLS, "left", 4),
    )


def _error_cells(width: int) -> int:
    """How wide the last errors are: what the tasks leave them; 0 where that is too little, and then there are none."""
    room = min(_MOST_ERROR_CELLS, width - _OTHER_CELLS - _TASK_CELLS)
    return room if room >= _LEAST_ERROR_CELLS else 0


def _line(view: WorkerView, now: float, monotonic: float, width: int) -> Line:
    glyph, style = fmt.worker_look(view.state)
    failures = view.consecutive_failures
    grave = "bad" if failures >= _MANY_FAILURES else "warn" if failures else "dim"
    task = _task(view, monotonic) if view.task is not None else Cell(_wait(view, monotonic, width), "dim")
    return Line(
        view.id,
        (
            Cell(_number(view.id), "dim"),
            Cell(f"{glyph} {view.state}", style),
            task,
            Cell(fmt.age(view.since, now)),
            Cell(fmt.compact(failures), grave),
            Cell(fmt.compact(view.recoveries), "" if view.recoveries else "dim"),
            Cell(view.last_error or "", grave),
        ),
    )


def _task(view: WorkerView, monotonic: float) -> Cell:
    """What a worker works on; in front of it how long the task's own program waits before it goes on."""
    if view.backoff_until is None:
        return Cell(view.task or "")
    return Cell(f"in {fmt.remaining(view.backoff_until, monotonic)} {view.task}", "warn")


def _wait(view: WorkerView, monotonic: float, width: int) -> str:
    """What a worker without a task waits for: the countdown stands first, where it is never cut."""
    words = ""
    if view.backoff_until is not None:
        left = fmt.remaining(view.backoff_until, monotonic)
        words = f"in {left}" if width >= _TINY else left
    if view.last_error and view.state in fmt.UNWELL and not _error_cells(width):
        words = f"{words}, {view.last_error}" if words else view.last_error
    return words


def _number(worker: str) -> str:
    short = fmt.short_worker(worker)
    return short[1:] if short != worker else short


@lru_cache(maxsize=16_384)
def _order(worker: str) -> tuple[int, str]:
    number = _number(worker)
    return (int(number) if number.isdecimal() else 0, worker)
