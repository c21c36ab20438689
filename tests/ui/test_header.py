"""What the header shows of a moment at every width: whole figures, the weightiest longest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.geometry import Region

from agentdash.model import Counts, LimitsView, Snapshot, UndoView
from agentdash.ui.panels.header import RunHeader
from agentdash.ui.panels.headerlines import header_lines, run_line
from tests.ui.moments import HOSTILE, MONOTONIC, NOW, Stage, moment, regions_drawn
from tests.ui.screen_text import screen_lines, screen_text


def header(snapshot: Snapshot, width: int) -> list[str]:
    """The header's lines as text."""
    return ["".join(piece.text for piece in line) for line in header_lines(snapshot, NOW, width)]


# -- the header ------------------------------------------------------------------------------------------------------
WAITS = {"waiting_for": "org A and org B cool down", "waiting_until": NOW + 41}
MUSTS = ("● RUNNING", "1,204/2,000", "60 %", "79.6/s", "ETA 0:10", "429s 7", "$4.18", "waiting: org", " 0:41")


def test_the_header_always_has_what_counts() -> None:
    for width in range(78, 221):
        text = "\n".join(header(moment(**WAITS), width))
        assert [must for must in MUSTS if must not in text] == [], f"at {width} cells"


MILLION = Counts(123_456, 64, 870_000, 6_480, 0)
DRAINING = moment(status="draining", drain_until=NOW + 42, counts=MILLION, **WAITS)


@pytest.mark.parametrize("snapshot", [moment(), DRAINING, moment(project="", history=(), workers=())])
def test_the_header_fits_and_cuts_no_figure(snapshot: Snapshot) -> None:
    whole = {word for line in header(snapshot, 220) for word in line.split()} | {"876k/1.0M", "✖4", "✖6.5k"}
    for width in range(3, 221):
        lines = header(snapshot, width)
        assert len(lines) == (2 if width >= 100 or width < 70 else 3)
        assert max(map(cell_len, lines)) <= width
        figures = {word for word in " ".join(lines).split() if any(letter.isdigit() for letter in word)}
        assert {figure for figure in figures if "…" not in figure} <= whole, f"at {width} cells"


def test_the_header_at_its_widths() -> None:
    bar = "━━━━━━━━━━━━━━╍╾──────────"
    assert header(moment(), 120) == [
        f" agentdash · reports-2026-11  ● RUNNING  {bar}  ✖ 4 failed  1,204/2,000   60 %   79.6/s  ETA 0:10 ",
        f" $4.18    429s 7     retries 31    tokens 1.2M in 310k out  ▇▁▂▃▃▅▆{'64 of 64 busy':>52}",
    ]
    assert header(moment(**WAITS), 80) == [
        " agentdash · reports-2026-11                      ● RUNNING   79.6/s  ETA 0:10 ",
        " ━━━━━━━━━━━━━━━━━━━━━━━━━━╍╾──────────────────  ✖ 4 failed  1,204/2,000   60 %",
        " $4.18    429s 7     retries 31         waiting: org A and org B cool down 0:41",
    ]
    assert header(moment(**WAITS), 60) == [
        " ● RUNNING ━━━━╍──── ✖4 1,204/2,000  60 %  79.6/s ETA 0:10 ",
        " $4.18   429s 7     waiting: org A and org B cool down 0:41",
    ]
    assert header(moment(**WAITS), 40) == [
        " ● RUNNING ✖4 1,204/2,000 ETA 0:10 ",
        " $4.18    waiting: org A and org … 0:41",
    ]


WIDTHS = (60, 80, 100, 120, 150, 200)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_figure_moves_when_one_grows_or_a_reason_comes(width: int) -> None:
    totals = moment().totals
    grown = replace(totals, rate_limited=214, retries=999, cost_usd=412.5, input_tokens=31, output_tokens=999_000_000)
    waits = "rate limit: every limit pool cools, and a reason that is as long as no line is, for ever and ever and ever"
    moments = (
        moment(), moment(totals=grown), moment(**WAITS), moment(waiting_for=waits), moment(waiting_for="paused"),
        moment(undo=UndoView("412 requeued", NOW + 7)), moment(done_at=NOW + 3000), moment(done_at=None),
    )  # fmt: skip
    names = ("429s", "retries", "tokens", " in ", " out", "recoveries", "/2,000", "ETA", "✖")
    places = {tuple("\n".join(header(each, width)).find(name) for name in names) for each in moments}
    assert len(places) == 1


LIMITED = LimitsView(25.0, None, NOW + 4000)


def test_a_limit_stands_beside_the_cost_and_the_time_that_is_left_beside_the_eta() -> None:
    bar, ends = "━━━━━━╍─────", "ETA 0:10   left 1:06:40"
    assert header(moment(limits=LIMITED), 120) == [
        f" agentdash · reports-2026-11  ● RUNNING  {bar}  ✖ 4 failed  1,204/2,000   60 %   79.6/s  {ends}",
        f" $4.18 of $25   429s 7     retries 31    tokens 1.2M in 310k out{'64 of 64 busy':>55}",
    ]
    assert header(moment(limits=LIMITED), 80) == [
        " agentdash · reports-2026-11        ● RUNNING   79.6/s  ETA 0:10   left 1:06:40",
        " ━━━━━━━━━━━━━━━━━━━━━━━━━━╍╾──────────────────  ✖ 4 failed  1,204/2,000   60 %",
        f" $4.18 of $25   429s 7     {'64 of 64 busy':>52}",
    ]
    for width in range(50, 221):
        assert "$4.18 of $25" in "\n".join(header(moment(limits=LIMITED), width))
    assert "$4.18 of $0.50" in header(moment(limits=LimitsView(0.5)), 80)[2]


def test_a_time_that_stands_is_shown_as_it_stands_and_none_when_all_is_done() -> None:
    assert "left 0:30" in header(moment(status="paused", limits=LimitsView(left_s=30.0)), 120)[0]
    both = LimitsView(ends_at=NOW + 10, left_s=30.0)
    assert "left 0:10" in header(moment(status="paused", limits=both), 120)[0]
    assert "left 0:00" in header(moment(limits=LimitsView(ends_at=NOW - 10)), 120)[0]
    assert "left" not in header(moment(status="finished", limits=both), 120)[0]


def test_a_limit_that_is_reached_is_why_nothing_is_done() -> None:
    reason = "the limit of $25.00 is reached ($24.96 spent)"
    reached = LimitsView(25.0, reached=reason)
    assert header(moment(status="paused", waiting_for=reason, limits=reached), 120)[1].endswith(f"  {reason}")


def test_held_tasks_are_why_a_run_is_finished() -> None:
    reason = "12 tasks wait for tasks that failed: t3, t9"
    ended = moment(status="finished", waiting_for=reason, counts=Counts(12, 0, 584, 2, held=12))
    assert header(ended, 120)[1].endswith(f"  {reason}")


def test_no_figure_moves_when_the_cost_comes_near_its_limit() -> None:
    for width in (60, 80, 100, 120, 150, 200):
        costs = (0.0, 4.18, 24.96, 25.03)
        moments = [moment(limits=LIMITED, totals=replace(moment().totals, cost_usd=cost)) for cost in costs]
        places = {tuple("\n".join(header(each, width)).find(name) for name in ("429s", "busy")) for each in moments}
        assert len(places) == 1


def test_where_it_is_roomy_the_counts_of_the_sketch_are_there() -> None:
    for width in range(100, 221):
        used = header(moment(**WAITS), width)[1]
        assert all(name in used for name in ("$4.18", "429s 7", "retries 31", "tokens 1.2M in 310k out"))
    assert (
        "waiting: rate limit: every limit pool cools 0:41"
        in header(moment(waiting_for="rate limit: every limit pool cools", waiting_until=NOW + 41), 120)[1]
    )


def test_what_has_never_happened_takes_no_room() -> None:
    assert "recoveries 2     rotations 1 " in header(moment(), 180)[1]
    none = header(moment(totals=replace(moment().totals, recoveries=0, rotations=0)), 180)[1]
    assert "recoveries" not in none
    assert "rotations" not in none


def test_failed_tasks_are_counted_at_every_width_unless_there_are_none() -> None:
    for width in range(40, 221):
        text = "\n".join(header(moment(), width))
        assert ("✖ 4 failed" if width >= 70 else "✖4") in text
        assert "✖" not in "\n".join(header(moment(counts=Counts(732, 64, 1200, 0, 0)), width))
    assert "\n".join(header(moment(status="finished"), 120)).count("4 failed") == 1


@pytest.mark.parametrize(("status", "running", "speed"), [
    ("paused", 0, "0/s"), ("stalled", 0, "0/s"), ("paused", 3, "79.6/s"), ("running", 0, "79.6/s"),
])  # fmt: skip
def test_a_run_that_stands_has_no_speed(status: str, running: int, speed: str) -> None:
    assert f"  {speed}  ETA" in header(moment(status=status, counts=Counts(732, running, 1200)), 120)[0]


def line(snapshot: Snapshot, width: int) -> str:
    """The run in one line."""
    return "".join(piece.text for piece in run_line(snapshot, NOW, width))


def test_one_line_of_the_run_for_the_other_screens() -> None:
    assert line(moment(), 80) == " reports-2026-11  ● RUNNING  ━━━━━━╍╾─────  ✖4  1,204/2,000   79.6/s  ETA 0:10 "
    for width in range(70, 221):
        text = line(moment(), width)
        assert cell_len(text) <= width
        assert all(part in text for part in ("● RUNNING", "✖4", "1,204/2,000", "79.6/s", "ETA 0:10"))


def test_the_header_in_other_states() -> None:
    for status, badge in {
        "paused": "‖ PAUSED",
        "starting": "◌ STARTING",
        "stalled": "✖ STALLED",
        "finished": "✔ FINISHED",
        "some[/]thing\x1b": "· SOME[/]THING␛",
    }.items():
        assert badge in "\n".join(header(moment(status=status, counts=Counts(732, 64, 1200, 0, 0)), 120))
    assert "▽ DRAINING 0:42 left" in header(moment(status="draining", drain_until=NOW + 41.2), 120)[0]
    assert "ETA –" in header(moment(done_at=None), 120)[0]
    ended = header(moment(status="finished", done_at=None), 120)
    assert "✖ FINISHED, 4 failed" in ended[0]
    assert " 100.3/s  took 0:12" in ended[0]  # all in all, not what it was of late
    assert "busy" not in ended[1]
    assert "✖ FINISHED " in header(moment(status="finished", done_at=None), 60)[0]
    assert "64 of 64 busy" in header(moment(), 120)[1]
    assert "0 of 8 busy" in header(moment(workers=(), max_workers=8), 120)[1]
    assert "waiting: paused" in header(moment(waiting_for="paused"), 120)[1]


def test_what_can_be_taken_back_is_said_until_it_cannot() -> None:
    undo = UndoView("412 requeued", NOW + 7)
    assert header(moment(undo=undo, **WAITS), 120)[1].endswith("undo: 412 requeued (u, 7 s)")
    assert "waiting: org A" in header(moment(undo=replace(undo, until=NOW), **WAITS), 120)[1]


@given(st.text(), st.text(), st.integers(24, 220))
def test_names_and_reasons_from_outside_are_only_text(project: str, reason: str, width: int) -> None:
    for line in header(moment(project=project, waiting_for=reason, waiting_until=NOW + 41), width):
        assert line.isprintable()
        assert cell_len(line) <= width


# -- on a screen ----------------------------------------------------------------------------------------------------
async def test_the_header_draws_only_lines_that_changed_and_follows_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = RunHeader(id="header")
    async with Stage(panel).run_test(size=(120, 9)) as pilot:
        panel.update(moment(), NOW, MONOTONIC)
        await pilot.pause()
        assert panel.size.height == 2
        drawn = regions_drawn(panel, monkeypatch)
        panel.update(moment(), NOW, MONOTONIC)
        assert drawn == []
        panel.update(moment(tasks_per_s=80.0), NOW, MONOTONIC)
        assert drawn == [Region(0, 0, 120, 1)]
        monkeypatch.undo()
        await pilot.resize_terminal(80, 9)
        await pilot.pause()
        assert panel.size.height == 3
        assert screen_lines(pilot.app)[:3] == [line.rstrip() for line in header(moment(tasks_per_s=80.0), 80)]


async def test_a_header_that_failed_says_so_until_it_is_well() -> None:
    panel = RunHeader(id="header")
    async with Stage(panel).run_test(size=(80, 9)) as pilot:
        panel.fault(ValueError(HOSTILE))
        await pilot.pause()
        assert "the header cannot be shown: ValueError: a[/]b" in screen_text(pilot.app)
        panel.update(moment(), NOW, MONOTONIC)
        await pilot.pause()
        assert "cannot be shown" not in screen_text(pilot.app)
        panel.update(moment(counts=None), NOW, MONOTONIC)
        await pilot.pause()
        assert "the header cannot be shown: AttributeError" in screen_text(pilot.app)
