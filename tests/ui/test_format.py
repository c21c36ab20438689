"""How figures, times and states are written."""

from __future__ import annotations

import math
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agentdash import figures
from agentdash.model import TaskState
from agentdash.ui import format as fmt

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (-3, "0.0s", "0.0s"),
        (0.42, "0.4s", "0.4s"),
        (2.0999999, "2.1s", "2.1s"),
        (9.99, "9.9s", "9.9s"),
        (10, "10s", "10s"),
        (59.9, "59s", "59s"),
        (60, "1:00", "1:00"),
        (65, "1:05", "1:05"),
        (3599.99, "59:59", "59:59"),
        (3599.9999, "1:00:00", "1h00"),
        (7390, "2:03:10", "2h03"),
        (50_600, "14h 3m", "14h"),
        (3 * 86400 + 4 * 3600, "3d 4h", "3d"),
        (123 * 86400, "123d", "123d"),
        (1e12, ">999d", ">999d"),
        (math.inf, "–", "–"),
        (math.nan, "–", "–"),
    ],
)
def test_spans(seconds: float, long: str, short: str) -> None:
    assert (fmt.span(seconds), fmt.brief(seconds)) == (long, short)


@given(st.floats(allow_nan=True))
def test_a_span_has_a_bounded_width(seconds: float) -> None:
    assert len(fmt.span(seconds)) <= 7
    assert len(fmt.brief(seconds)) <= 5


def _read(text: str) -> float:
    """The seconds that a span shows."""
    if text.endswith("s"):
        return float(text[:-1])
    if ":" in text:
        parts = [int(part) for part in text.split(":")]
        return float(sum(part * (1, 60, 3600)[place] for place, part in enumerate(reversed(parts))))
    units = {"d": 86400, "h": 3600, "m": 60}
    return sum(int(part[:-1]) * units[part[-1]] for part in text.replace(">", "").split())


@given(st.floats(0, 900 * 86400.0), st.floats(0, 900 * 86400.0))
def test_a_longer_span_never_reads_shorter(one: float, other: float) -> None:
    least, most = sorted((one, other))
    assert _read(fmt.span(least)) <= _read(fmt.span(most))
    assert _read(fmt.span(most)) <= most + 0.001


@pytest.mark.parametrize(
    ("until", "text"),
    [
        (None, "–"),
        (NOW - 5, "0:00"),
        (NOW, "0:00"),
        (NOW + 0.1, "0:01"),
        (NOW + 41, "0:41"),
        (NOW + 760, "12:40"),
        (NOW + 11_100, "3:05:00"),
        (NOW + 200_000, "2d 7h"),
        (math.inf, "–"),
    ],
)
def test_a_countdown_ends_at_its_end(until: float | None, text: str) -> None:
    assert fmt.remaining(until, NOW) == text


def test_ages_and_clock_times() -> None:
    assert fmt.age(NOW - 75, NOW) == "1:15"
    assert fmt.age(NOW + 9, NOW) == "0.0s"  # a clock that was put back
    assert (fmt.age(None, NOW), fmt.age(0.0, NOW)) == ("–", "–")
    assert fmt.clock_time(NOW) == time.strftime("%H:%M:%S", time.localtime(NOW))
    assert fmt.clock_time(None) == "–"


def test_a_moment_names_the_day_only_where_it_is_another() -> None:
    noon = datetime.fromtimestamp(NOW).astimezone().replace(hour=12, minute=0).timestamp()
    assert fmt.moment(noon + 7200, noon) == "14:00"
    other = datetime.fromtimestamp(noon + 40 * 86400).astimezone()
    assert fmt.moment(other.timestamp(), noon) == f"{other.day} {other:%b}"
    assert fmt.moment(None, noon) == fmt.moment(1e18, noon) == fmt.moment(math.inf, noon) == "–"


@pytest.mark.parametrize(
    ("number", "text", "short"),
    [
        (0, "0", "0"),
        (950, "950", "950"),
        (999.6, "1,000", "1.0k"),
        (9_999, "9,999", "10k"),
        (12_345, "12.3k", "12k"),
        (99_960, "100k", "100k"),
        (310_000, "310k", "310k"),
        (999_600, "1.0M", "1.0M"),
        (1_234_567, "1.2M", "1.2M"),
        (123_456_789, "123M", "123M"),
        (4.2e9, "4.2G", "4.2G"),
        (1.5e12, "1.5T", "many"),
    ],
)
def test_amounts(number: float, text: str, short: str) -> None:
    assert (figures.amount(number), fmt.compact(number)) == (text, short)


@given(st.integers(0, 10**14))
def test_a_compact_number_fits_its_column(number: int) -> None:
    assert len(fmt.compact(number)) <= 4


def _value(text: str) -> float:
    units = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    return float(text.rstrip("kMGT").replace(",", "")) * units.get(text[-1], 1)


@given(st.integers(0, 10**14), st.integers(0, 10**14))
def test_a_larger_amount_never_reads_smaller(one: int, other: int) -> None:
    least, most = sorted((one, other))
    assert _value(figures.amount(least)) <= _value(figures.amount(most))
    assert _value(figures.amount(most)) == pytest.approx(most, rel=0.06, abs=0.5)


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (0, "0/s"),
        (79.6, "79.6/s"),
        (1204.4, "1,204/s"),
        (0.1, "0.1/s"),
        (0.05, "3.0/min"),
        (0.0007, "2.5/h"),
        (1e-9, "0/s"),
    ],
)
def test_rates(per_second: float, text: str) -> None:
    assert fmt.rate(per_second) == text


def test_costs() -> None:
    assert [fmt.cost(x) for x in (0, 4.178, 1234.5, 12_345.6)] == ["$0.00", "$4.18", "$1,234.50", "$12,346"]


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 0, "0 %"),
        (1204, 2000, "60 %"),
        (1999, 2000, "99 %"),
        (2000, 2000, "100 %"),
        (999_999, 1_000_000, "99.9 %"),
        (1_000_000, 1_000_000, "100 %"),
    ],
)
def test_only_all_is_a_hundred_per_cent(done: int, total: int, text: str) -> None:
    assert fmt.percent(done, total) == text


def test_names() -> None:
    assert [fmt.short_worker(name) for name in ("worker-12", "worker-x", "box", "", None)] == [
        "w12",
        "worker-x",
        "box",
        "–",
        "–",
    ]


def test_every_state_has_its_own_glyph() -> None:
    kinds = {
        fmt.worker_look: ("running", "idle", "waiting", "paused", "probing", "backoff", "parked"),
        fmt.task_look: tuple(TaskState),
        fmt.credential_look: ("ready", "cooling", "exhausted", "invalid"),
        fmt.lock_look: ("held", "overdue", "stale", "foreign"),
        fmt.run_look: ("starting", "running", "paused", "draining", "stalled", "finished"),
    }
    for look, states in kinds.items():
        glyphs = [look(state).glyph for state in states]
        assert len(set(glyphs)) == len(states)
        assert all(cell_len(glyph) == 1 for glyph in glyphs)
        assert look("never heard of").glyph == "·"
    assert fmt.run_look("running") == fmt.worker_look("running") == fmt.task_look("running")
    assert [fmt.task_word(state) for state in TaskState] == ["pending", "running", "done", "failed", "cancelled"]
    assert fmt.event_look("limited").style == "warn"
    assert fmt.event_look("parked").style == "bad"
    assert fmt.event_look("rotated").style == "accent"
    assert fmt.event_look("requeued").style == ""


def test_a_sparkline_shows_the_newest_and_tells_none_from_few() -> None:
    assert fmt.sparkline((), 5) == fmt.sparkline((1, 2), 0) == ""
    assert fmt.sparkline((9, 0, 1, 50, 100), 4) == "▁▂▅▇"
    assert fmt.sparkline((0, 0), 5) == "▁▁"
    assert fmt.sparkline((10**9, 1), 5) == "▇▂"


def _bar(cells: int, total: int, good: int = 0, bad: int = 0, gone: int = 0) -> str:
    return "".join(piece.text for piece in fmt.bar(cells, total, good=good, bad=bad, gone=gone))


def test_bars() -> None:
    assert _bar(10, 0) == "──────────"
    assert _bar(10, 100, 50) == "━━━━━─────"
    assert _bar(10, 100, 55) == "━━━━━╾────"
    assert _bar(10, 100, 99) == "━━━━━━━━━╾"
    assert _bar(10, 100, 100) == "━━━━━━━━━━"
    assert _bar(10, 1000, 800, 1) == "━━━━━━━╍──"
    assert _bar(10, 1000, 0, 1) == "╍─────────"
    assert _bar(10, 100, 40, 20, 20) == "━━━━╌╌╍╍──"
    assert _bar(0, 100, 50) == ""
    of_half = [(piece.text, piece.style) for piece in fmt.bar(100, 325, good=3, bad=9)]
    assert of_half == [("━", "good"), ("╍╍", "bad"), ("╾", "good"), ("─" * 96, "dim")]
    assert [piece.style for piece in fmt.bar(10, 100, bad=15)] == ["bad", "bad", "dim"]
    assert [piece.style for piece in fmt.bar(10, 100, good=40, bad=20)] == ["good", "bad", "dim"]


@given(st.integers(0, 200), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_bar_fills_its_cells_and_only_the_end_fills_the_bar(
    cells: int, good: int, bad: int, gone: int, left: int
) -> None:
    text = _bar(cells, good + bad + gone + left, good, bad, gone)
    assert len(text) == cells
    if cells:
        assert ("╍" in text) == (bad > 0)
    if left and cells > 1:
        assert text[-1] in "─╾"
    if not left and good + bad + gone:
        assert "─" not in text
        assert "╾" not in text


@given(st.integers(1, 60), st.integers(1, 500), st.data())
def test_a_bar_never_goes_back(cells: int, total: int, data: st.DataObject) -> None:
    one = data.draw(st.integers(0, total))
    other = data.draw(st.integers(one, total))
    before, after = _bar(cells, total, one), _bar(cells, total, other)
    assert (before.count("━"), before.count("╾")) <= (after.count("━"), after.count("╾"))
