"""The banner and the bar of keys: what must not be cut at 80 and at 60 cells."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding

from agentdash.model import Counts, LimitsView, Snapshot
from agentdash.ui.panels.banner import Banner
from agentdash.ui.panels.keybar import KeyBar
from tests.ui.moments import NOW, moment
from tests.ui.screen_text import widget_lines

SHORT = {
    "Leaving when 56 tasks have ended, at most 0:25 · Esc stays · q leaves now": (
        "56 tasks run, at most 0:25 · Esc stays · q leaves now"
    ),
    "Leaving when 1 task has ended, at most 0:00 · Esc stays · q leaves now": (
        "1 task runs, at most 0:00 · Esc stays · q leaves now"
    ),
}
"""What is said in fewer words where 60 cells have no room for it: the keys are never cut."""
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
            "Leaving when 56 tasks have ended, at most 0:25 · Esc stays · q leaves now",
        ),
        (
            moment(status="draining", drain_until=NOW - 3, counts=Counts(1, 1)),
            "Leaving when 1 task has ended, at most 0:00 · Esc stays · q leaves now",
        ),
        (moment(status="draining", counts=Counts(5, 0)), "Leaving · Esc stays · q leaves now"),
        (moment(status="paused", counts=RUNNING), "p goes on · P interrupts · 56 tasks still run"),
        (moment(status="stalled", waiting_for="no usable key"), "Stalled, nothing is lost: no usable key"),
        (moment(status="finished", counts=Counts(0, 0, 600)), "Finished: 600 done · q leaves"),
        (moment(status="paused", counts=Counts(5)), ""),
        (moment(status="stalled"), ""),
        (moment(status="finished", counts=Counts()), ""),
        (moment(), ""),
    ],
)
async def test_the_banner_is_whole_at_every_width(snapshot: Snapshot, text: str, width: int) -> None:
    assert await banner(snapshot, width) == (SHORT.get(text, text) if width == 60 else text)


async def test_the_banner_of_a_run_that_ended_with_failures_names_what_can_be_done() -> None:
    ended = moment(status="finished", counts=Counts(0, 0, 584, 16))
    whole = "Finished: 584 done, 16 failed · e errors · R requeues · q leaves"
    assert await banner(ended, 80) == whole
    assert (await banner(ended, 60)).startswith("Finished: 584 done, 16 failed · e errors")
    several = moment(status="finished", counts=Counts(7, 0, 584, 16, 2))
    assert "584 done, 16 failed, 2 cancelled, 7 left" in await banner(several, 120)


async def test_the_banner_of_a_run_that_ended_with_held_tasks_counts_them() -> None:
    ended = moment(status="finished", counts=Counts(12, 0, 584, 1, held=12))
    assert "Finished: 584 done, 1 failed, 12 held · e errors · R requeues" in await banner(ended, 120)


REACHED = LimitsView(25.0, reached="the limit of $25.00 is reached ($24.96 spent)")


async def test_the_banner_of_a_limit_that_is_reached_says_which_and_how_to_go_on() -> None:
    limited = moment(status="paused", counts=Counts(5), limits=REACHED)
    assert await banner(limited, 80) == "The limit of $25.00 is reached ($24.96 spent) · p goes on without it"
    assert await banner(limited, 60) == "The limit of $25.00 is reached ($24.96 spent) · p goes on"
    assert (await banner(limited, 40)).startswith("p goes on · The limit of $25.00 is re…")
    still = moment(status="paused", counts=Counts(5, 3), limits=REACHED)
    assert (await banner(still, 120)).endswith("($24.96 spent) · p goes on without it · 3 tasks still run")
    assert await banner(moment(limits=REACHED), 80) == ""


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


@pytest.mark.parametrize("width", [29, 60])
async def test_no_key_comes_goes_or_moves_with_what_it_would_do_now(width: int) -> None:
    app = Stage()
    async with app.run_test(size=(width, 5)) as pilot:
        bar = app.query_one(KeyBar)
        texts, looks = set(), set()
        for off in ("", "pause", "filter", "rotate"):
            app.off = off
            app.refresh_bindings()
            await pilot.pause()
            strip = bar.render_line(0)
            texts.add(strip.text)
            looks.add(tuple(segment.style for segment in strip))
        assert len(texts) == 1
        assert len(looks) == (4 if width == 60 else 3)  # dimmed in its place; of those left out nothing is seen
        assert texts.pop().split()[1::2] == (
            ["Pause", "Filter", "Rotate", "Quit"] if width == 60 else ["Pause", "Filter", "Quit"]
        )
