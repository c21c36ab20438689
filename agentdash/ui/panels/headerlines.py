"""What the header says of a moment: the parts of its lines, and which of them have room at each width. Pure, so that a
table of examples tests it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len

from agentdash.figures import amount, duration
from agentdash.model import Snapshot
from agentdash.text import clean
from agentdash.ui import format as fmt
from agentdash.ui.format import Piece
from agentdash.ui.panels.cells import fit

_MOST_CHARS = 500
"""So much of a name or reason is looked at: more than the widest terminal shows."""
_NAME = "agentdash"
_WIDE = 100
_TINY = 70
_NARROW = 50
_ENDLESS: Final = 1_000_000
_LEAST_BAR = 8
_LEAST_SPARK = 7
_MOST_SPARK = 60
_COST_CELLS = 7
_NUMBER_CELLS = 4
_ETA_CELLS = 5
_LEFT_CELLS = 7

HeaderLine = tuple[Piece, ...]


class _Part(NamedTuple):
    """One thing on a line: it takes `least` to `most` cells. Those of a low `rank` get room first, and 0 always."""

    draw: Callable[[int], Sequence[Piece]]
    least: int
    most: int
    rank: int = 0


def header_lines(snapshot: Snapshot, now: float, width: int) -> list[HeaderLine]:
    """The lines of a moment, each as wide as told at the most."""
    state, done, bar = _state(snapshot, now, width), _done(snapshot, width), _bar(snapshot)
    speed, name, gap = _speed(snapshot, now), _brand(snapshot.project), _fill()
    used = [*_used(snapshot, width), gap, _holdup(snapshot, now, width)]
    if width >= _WIDE:
        rows = [[name, state, bar, *done, *speed], used]
    elif width >= _TINY:
        rows = [[name, gap, state, *speed], [bar, *done], used]
    else:
        rows = [[state, bar, *done, *speed], used]
    return [_fitted(row, width) for row in rows]


def run_line(snapshot: Snapshot, now: float, width: int) -> HeaderLine:
    """A moment in one line: project, state, bar, how much is done, speed, ETA."""
    name, state, bar = _project(snapshot.project), _state(snapshot, now, width), _bar(snapshot)
    figures, _ = _figures(snapshot, width)
    return _fitted([name, state, bar, *_failed(snapshot, width, short=True), figures, *_speed(snapshot, now)], width)


def line_count(width: int) -> int:
    """How many lines `header_lines` makes for so many cells."""
    return 3 if _TINY <= width < _WIDE else 2


# -- what a line is made of ------------------------------------------------------------------------------------------
def _brand(project: str) -> _Part:
    project = clean(project[:_MOST_CHARS])
    wide = cell_len(project)

    def draw(cells: int) -> list[Piece]:
        room = cells - len(_NAME) - 3
        if not project:
            return [Piece(_NAME, "bold")]
        if room < min(wide, 12):
            return [Piece(fit(project, cells), "accent")]
        return [Piece(_NAME, "bold"), Piece(" · ", "dim"), Piece(fit(project, room), "accent")]

    if not project:
        return _Part(draw, len(_NAME), len(_NAME), 9)
    return _Part(draw, min(wide, 12), len(_NAME) + 3 + wide, 9)


def _project(project: str) -> _Part:
    """The project alone."""
    project = clean(project[:_MOST_CHARS]) or _NAME
    wide = cell_len(project)
    return _Part(lambda cells: [Piece(fit(project, cells), "accent")], min(wide, 12), wide, 9)


def _state(snapshot: Snapshot, now: float, width: int) -> _Part:
    status = snapshot.status
    glyph, style = fmt.run_look(status)
    word = f" {clean(status).upper()}" if width >= 24 else ""
    if status == "finished" and (failed := snapshot.counts.failed):
        glyph, style = fmt.RUN_FAILED
        word += f", {failed:,} failed" if width >= _TINY else ""
    pieces = [Piece(glyph + word, style)]
    if status == "draining" and snapshot.drain_until is not None and width >= _TINY:
        pieces.append(Piece(f" {fmt.remaining(snapshot.drain_until, now)} left", style))
    return _fixed(pieces)


def _done(snapshot: Snapshot, width: int) -> list[_Part]:
    return [*_failed(snapshot, width), *_figures(snapshot, width)]


def _failed(snapshot: Snapshot, width: int, *, short: bool = False) -> list[_Part]:
    """How many tasks have failed, where the state does not say it already: the first thing to be looked for."""
    failed = snapshot.counts.failed
    if not failed or (snapshot.status == "finished" and width >= _TINY):
        return []
    said = f"✖{fmt.compact(failed)}" if short or width < _TINY else f"✖ {failed:,} failed"
    return [_fixed([Piece(said, "bad")], 1)]


def _figures(snapshot: Snapshot, width: int) -> list[_Part]:
    counts = snapshot.counts
    done, total = counts.finished, counts.total
    shown = (f"{done:,}", f"{total:,}")
    if width < _TINY and total >= 100_000:
        shown = (amount(done), amount(total))
    figures = [Piece(shown[0].rjust(len(shown[1])), "bold"), Piece(f"/{shown[1]}")]
    return [_fixed(figures, 1), _fixed([Piece(fmt.percent(done, total).rjust(5))], 4)]


def _bar(snapshot: Snapshot) -> _Part:
    counts = snapshot.counts

    def draw(cells: int) -> list[Piece]:
        return fmt.bar(cells, counts.total, good=counts.succeeded, bad=counts.failed, gone=counts.cancelled)

    return _Part(draw, _LEAST_BAR, _ENDLESS, 7)


def _speed(snapshot: Snapshot, now: float) -> list[_Part]:
    if snapshot.status == "finished" and snapshot.totals.elapsed_s > 0:
        elapsed = snapshot.totals.elapsed_s
        end = [Piece("took ", "dim"), Piece(duration(elapsed))]
        per_second = snapshot.counts.finished / elapsed  # all in all: nothing has ended lately
    else:
        # As wide with an hour as with a second left: else the bar would grow and shrink with it.
        end = [Piece("ETA ", "dim"), Piece(fmt.remaining(snapshot.done_at, now).ljust(_ETA_CELLS))]
        stands = snapshot.status in ("paused", "stalled") and not snapshot.counts.running
        per_second = 0.0 if stands else snapshot.tasks_per_s  # what ended before it stood is no speed
    return [_fixed([Piece(fmt.rate(per_second).rjust(7))], 3), _fixed(end, 2), *_time_left(snapshot, now)]


def _time_left(snapshot: Snapshot, now: float) -> list[_Part]:
    """For how long further tasks may begin, where that is limited: by a moment, or by the session's own time."""
    limits = snapshot.limits
    times = [limits.ends_at - now] if limits.ends_at is not None else []
    times += [limits.left_s] if limits.left_s is not None else []
    if not times or snapshot.status == "finished":
        return []
    left = fmt.remaining(now + max(0.0, min(times)), now)
    return [_fixed([Piece("left ", "dim"), Piece(left.ljust(_LEFT_CELLS), "" if min(times) > 0 else "warn")], 2)]


def _used(snapshot: Snapshot, width: int) -> list[_Part]:
    """What the run has used, each figure in a place of its own: none moves when another grows."""
    totals, history = snapshot.totals, snapshot.history
    tokens = [
        Piece("tokens ", "dim"), Piece(fmt.compact(totals.input_tokens).rjust(_NUMBER_CELLS)), Piece(" in ", "dim"),
        Piece(fmt.compact(totals.output_tokens).rjust(_NUMBER_CELLS)), Piece(" out", "dim"),
    ]  # fmt: skip
    parts = [
        _cost(totals.cost_usd, snapshot.limits.max_cost, width),
        _number("429s ", totals.rate_limited, 3, "warn"),
        _number("retries ", totals.retries, 4),
        _fixed(tokens, 5),
    ]
    rare = (("recoveries ", totals.recoveries, 8), ("rotations ", totals.rotations, 9))
    parts += [_number(name, number, rank) for name, number, rank in rare if number]
    if history:
        most = min(len(history), _MOST_SPARK)

        def draw(cells: int) -> list[Piece]:
            return [Piece(fmt.sparkline(history, cells), "spark")]

        parts.append(_Part(draw, min(_LEAST_SPARK, most), most, 7))
    return parts


def _cost(cost: float, most: float | None, width: int) -> _Part:
    """`$4.18`, and where there is a limit, and room for it, `$4.18 of $25`."""
    bare = Piece(fmt.cost(cost).ljust(_COST_CELLS))
    if most is None or width < _NARROW:
        return _fixed([bare], 2)
    spent = Piece(fmt.cost(cost), "warn" if cost >= most else "")
    limit = f" of {fmt.whole_cost(most)}"
    room = max(len(fmt.cost(most)), len(spent.text)) - len(spent.text)
    return _fixed([spent, Piece(limit, "dim"), Piece(" " * room)], 2)


def _holdup(snapshot: Snapshot, now: float, width: int) -> _Part:
    """Why workers wait, or that none does; while something can be taken back, that."""
    undo = snapshot.undo
    if undo is not None and undo.until > now:
        end = f" (u, {max(0, round(undo.until - now))} s)"
        return _reason("undo: ", undo.text, end, "accent", width)
    if snapshot.limits.reached and snapshot.waiting_for == snapshot.limits.reached:
        return _reason("", snapshot.waiting_for, "", "warn", width)
    if snapshot.waiting_for and not snapshot.counts.open:
        return _reason("", snapshot.waiting_for, "", "warn", width)
    if snapshot.waiting_for:
        left = "" if snapshot.waiting_until is None else f" {fmt.remaining(snapshot.waiting_until, now)}"
        return _reason("waiting: ", snapshot.waiting_for, left, "warn", width)
    if snapshot.status == "finished":
        return _fixed(())
    busy = sum(worker.state == "running" for worker in snapshot.workers)
    said = f"{busy:,} of {len(snapshot.workers) or snapshot.max_workers:,} busy"
    return _fixed([Piece(fit(said, max(_holdup_cells(width), min(len(said), width - 4)), "right"), "dim")], 1)


def _holdup_cells(width: int) -> int:
    """How wide the place at the right is, whatever stands there: figures must not come and go with the reason."""
    if width >= _WIDE:
        return min(width * 2 // 5, width - 64)  # what tokens and counts leave
    return width - 38 if width >= _TINY else max(0, width - 21 if width >= 50 else width - 11)


def _reason(head: str, reason: str, end: str, style: str, width: int) -> _Part:
    """Words from outside between our own: only they are cut."""
    reason = clean(reason[:_MOST_CHARS])
    ours, wide = len(head) + len(end), cell_len(reason)
    cells = max(_holdup_cells(width), ours + min(wide, 1, max(0, width - 4 - ours)))
    text = f"{head}{fit(reason, min(wide, cells - ours))}{end}"
    return _fixed([Piece(" " * max(0, cells - cell_len(text))), Piece(text, style)], 1)


def _number(name: str, number: int, rank: int, style: str = "") -> _Part:
    """A count in cells that it will hardly ever outgrow."""
    return _fixed([Piece(name, "dim"), Piece(f"{number:,}".ljust(_NUMBER_CELLS), style if number else "")], rank)


def _fixed(pieces: Sequence[Piece], rank: int = 0) -> _Part:
    cells = sum(cell_len(piece.text) for piece in pieces)
    return _Part(lambda _: pieces, cells, cells, rank)


def _fill() -> _Part:
    return _Part(lambda cells: [Piece(" " * cells)], 0, _ENDLESS)


# -- how a line is filled --------------------------------------------------------------------------------------------
def _fitted(parts: Sequence[_Part], width: int) -> HeaderLine:
    """A line of the parts that have room, in their order. The weightiest are asked first, also about what is left over
    then; bars take the rest."""
    gap = 2 if width >= _TINY else 1
    spare = width - 2 + gap
    kept: list[_Part] = []
    for part in sorted(parts, key=lambda part: part.rank):
        if part.least + gap <= spare or not part.rank:
            kept.append(part)
            spare -= part.least + gap
    kept = [part for part in parts if part in kept]
    cells = [part.least for part in kept]
    for index in sorted(range(len(kept)), key=lambda index: (kept[index].most >= _ENDLESS, kept[index].rank)):
        more = max(0, min(spare, kept[index].most - kept[index].least))
        cells[index] += more
        spare -= more
    pieces: list[Piece] = [Piece(" ")]
    for part, room in zip(kept, cells, strict=True):
        pieces += [*part.draw(room), Piece(" " * gap)]
    return tuple(pieces[:-1])
