"""The banner and the bar of keys: what must not be cut at 80 and at 60 cells."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding

from agentdash.model import Counts, Snapshot
from agentdash.ui.panels.banner import Banner
from agentdash.ui.panels.keybar import KeyBar
from tests.ui.moments import NOW, moment
from tests.ui.screen_text import widget_lines

RUNNING = Counts(1_000, 56, 12_000, 16)


class Stage(App[None]):
    """A banner, and a bar of keys of which one does nothing now."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [  # noqa: RUF012 - as Textual has it
        Binding("p", "pause", "Pause", id="pause"),
        Binding("f", "filter", "Filter", id="filter"),
        Binding("K", "rotate", "Rotate", id="rotate"),
        Binding("q", "leave", "Quit", id="leave"),
    ]
    off = ""

    def compose(self) -> ComposeResult:
        yield Banner()
        yield KeyBar(("pause",), ("filter", "rotate"), ("leave",))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if action == self.off else True


async def banner(snapshot: Snapshot, width: int) -> str:
    """What the banner says; nothing while it is hidden."""
    app = Stage()
    async with app.run_test(size=(width, 5)) as pilot:
        shown = app.query_one(Banner)
        shown.update(snapshot, NOW)
        await pilot.pause()
        return widget_lines(shown)[0].strip() if shown.display else ""


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        (
            moment(status="draining", drain_until=NOW + 25, counts=RUNNING),
            "Esc goes on · q leaves now · 56 tasks run, at most 0:25",
        ),
        (
            moment(status="draining", drain_until=NOW - 3, counts=Counts(1, 1)),
            "Esc goes on · q leaves now · 1 task runs, at most 0:00",
        ),
        (moment(status="draining", counts=Counts(5, 0)), "Esc goes on · q leaves now"),
        (moment(status="paused", counts=RUNNING), "p goes on · P interrupts · 56 tasks still run"),
        (moment(status="stalled", waiting_for="no usable key"), "Stalled, nothing is lost: no usable key"),
        (moment(status="finished", counts=Counts(0, 0, 600)), "Finished: 600 succeeded · q leaves"),
        (moment(status="paused", counts=Counts(5)), ""),
        (moment(status="stalled"), ""),
        (moment(status="finished", counts=Counts()), ""),
        (moment(), ""),
    ],
)
async def test_the_banner_is_whole_at_every_width(snapshot: Snapshot, text: str, width: int) -> None:
    assert await banner(snapshot, width) == text


async def test_the_banner_of_a_run_that_ended_with_failures_names_what_can_be_done() -> None:
    ended = moment(status="finished", counts=Counts(0, 0, 584, 16))
    whole = "Finished: 584 succeeded, 16 failed · e errors · R requeues · q leaves"
    assert await banner(ended, 80) == whole
    assert (await banner(ended, 60)).startswith("Finished: 584 succeeded, 16 failed · e errors")
    several = moment(status="finished", counts=Counts(7, 0, 584, 16, 2))
    assert "584 succeeded, 16 failed, 2 cancelled, 7 left" in await banner(several, 120)


async def test_a_long_reason_is_cut_at_its_end() -> None:
    shown = await banner(moment(status="stalled", waiting_for="every worker is parked after failures " * 4), 60)
    assert shown.startswith("Stalled, nothing is lost: every worker is parked")
    assert shown.endswith("…")


async def test_a_key_can_be_called_by_what_it_does_now() -> None:
    app = Stage()
    async with app.run_test(size=(60, 5)) as pilot:
        bar = app.query_one(KeyBar)
        assert widget_lines(bar)[0].split() == ["p", "Pause", "f", "Filter", "K", "Rotate", "q", "Quit"]
        bar.rename("pause", "Resume")
        await pilot.pause()
        assert "p Resume" in widget_lines(bar)[0]
        assert "Pause" not in widget_lines(bar)[0]


@pytest.mark.parametrize(("off", "left"), [("", "filter"), ("filter", "rotate")])
async def test_where_it_is_narrow_what_does_nothing_goes_before_what_does(off: str, left: str) -> None:
    app = Stage()
    app.off = off
    async with app.run_test(size=(29, 5)) as pilot:
        await pilot.pause()
        words = widget_lines(app.query_one(KeyBar))[0].split()[1::2]
        assert words == ["Pause", left.title(), "Quit"]
