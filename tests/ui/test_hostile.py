"""The whole dashboard over a run that has hostile text wherever text from outside is shown."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.command import CommandPalette
from textual.filter import LineFilter
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from agentdash.ui.app import DashboardApp
from agentdash.ui.screens.confirm import ConfirmDialog
from agentdash.ui.screens.groups import GroupsScreen
from agentdash.ui.screens.log import LogScreen
from agentdash.ui.screens.main import MainScreen
from agentdash.ui.screens.markdown import MarkdownScreen, MarkdownText
from agentdash.ui.screens.task import TaskScreen
from agentdash.ui.terminal import ControlFilter
from tests.support.pty_terminal import PtyTerminal
from tests.ui.hostile import PAYLOADS, error_of, fill, hostile_run, with_undo
from tests.ui.opened import StillApp
from tests.ui.screen_text import screen_text

SIZES = ((120, 40), (80, 24), (60, 20), (200, 60))
_MOST_PER_CELL = 8
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(PAYLOADS),
        st.text(st.characters(codec=None), max_size=60),
        st.lists(st.sampled_from([p for p in PAYLOADS if len(p) < 1000]), min_size=2, max_size=4).map("".join),
    ),
    min_size=1,
    max_size=23,
)


class OneWallApp(StillApp):
    """Without the filter behind everything: what is seen is what the first wall lets through."""

    def get_line_filters(self) -> list[LineFilter]:
        return [wall for wall in super().get_line_filters() if not isinstance(wall, ControlFilter)]


class Hostile:
    """One app for all examples: each gives its run new texts. After a failure the next example has a new app."""

    def __init__(self, folder: Path) -> None:
        self.run = hostile_run(("harmless",), folder)
        self._stack: AsyncExitStack | None = None

    async def open(self) -> tuple[DashboardApp, Pilot[None]]:
        if self._stack is None:
            stack = AsyncExitStack()
            self.app = OneWallApp(self.run)
            self.pilot = await stack.enter_async_context(self.app.run_test(size=SIZES[0], notifications=True))
            await self.pilot.pause()
            self._stack = stack
        return self.app, self.pilot

    async def close(self) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def shown(self) -> None:
        """The moment is on the screen; look at it."""
        self.app.tick()
        await self.pilot.pause(0)
        assert_harmless(self.app)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so, without waiting for the machine to be idle as well."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, screen_text(self.app)
            await self.pilot.pause(0)

    async def go(self, key: str, screen: type[Screen[Any]] | None = None) -> None:
        """Press a key; with ``screen``, wait until it led there: the next key would go to the one before."""
        self.app.simulate_key(key)
        await self.pilot.pause(0)
        if screen is not None:
            await self.until(lambda: isinstance(self.app.screen, screen))


def assert_harmless(app: DashboardApp) -> None:
    """Nothing on the screen steers a terminal or is anything but text, every line is as wide as the screen."""
    width = app.size.width
    for strip in app.screen._compositor.render_strips():
        text = strip.text
        assert text.isprintable(), ascii([c for c in text if not c.isprintable()])
        assert cell_len(text) == width, ascii(text)
        assert len(text) <= _MOST_PER_CELL * width
        for segment in strip:
            style = segment.style
            assert style is None or style.link is None
            assert style is None or not any("quit" in str(value) for value in style.meta.values())
        assert "this panel failed" not in text
        assert "cannot be shown" not in text
    assert app.crash is None


@contextmanager
def no_faults(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "agentdash.ui"):
        yield
    assert [record.getMessage() for record in caplog.records] == []


async def all_screens(hostile: Hostile, texts: list[str], size: tuple[int, int]) -> None:
    """Every screen that shows something from outside, over these texts."""
    app, pilot = await hostile.open()
    run = hostile.run
    run.errors.clear()
    run.calls.clear()
    fill(run, texts)
    run.clock.advance(10)
    if app.size != size:
        await pilot.resize_terminal(*size)
    await hostile.shown()
    await hostile.until(lambda: app.screen.query("Queue").first().row_count == len(run.tasks))  # type: ignore[attr-defined]
    await hostile.shown()
    with_undo(run, texts[0])
    await hostile.shown()
    await tasks(hostile)
    await app.push_screen(MarkdownScreen(texts[0], "\n\n".join(text[:200] for text in texts)))
    await hostile.until(lambda: all(text.is_complete for text in app.screen.query(MarkdownText)))
    await hostile.shown()
    await hostile.go("escape", MainScreen)
    await groups(hostile)
    await hostile.go("l", LogScreen)
    await hostile.until(lambda: isinstance(app.screen, LogScreen) and app.screen._end is not None)
    await hostile.shown()
    await hostile.go("escape", MainScreen)
    await hostile.go("ctrl+p", CommandPalette)
    await hostile.until(lambda: isinstance(app.focused, Input))
    await hostile.shown()
    await hostile.go("escape", MainScreen)
    await questions(hostile, texts)
    assert isinstance(app.screen, MainScreen)
    assert {name for name, _ in run.calls} <= {"cancel", "rotate"}


async def tasks(hostile: Hostile) -> None:
    app = hostile.app
    for name in list(hostile.run.tasks)[1:4]:  # running, succeeded, failed
        screen = TaskScreen(hostile.run, name)
        await app.push_screen(screen)
        await hostile.until(lambda s=screen: s._is_known and s._document.is_complete)  # type: ignore[misc]
        await hostile.shown()
        await hostile.go("G")
        await hostile.shown()
        await hostile.go("escape", MainScreen)


async def groups(hostile: Hostile) -> None:
    await hostile.go("e", GroupsScreen)
    await hostile.until(lambda: isinstance(hostile.app.screen, GroupsScreen) and bool(hostile.app.screen._groups))
    await hostile.shown()
    await hostile.go("r", ConfirmDialog)
    await hostile.shown()
    await hostile.go("n", GroupsScreen)
    await hostile.go("escape", MainScreen)


async def questions(hostile: Hostile, texts: list[str]) -> None:
    app, run = hostile.app, hostile.run
    running = list(run.tasks)[1]
    app.verbs.ask_cancel([running], then=lambda: None)
    await hostile.until(lambda: isinstance(app.screen, ConfirmDialog))
    await hostile.shown()
    run.errors["cancel"] = error_of(texts)
    app.clear_notifications()
    await hostile.go("y", MainScreen)
    await notice(hostile)
    app.verbs.rotate()
    await notice(hostile)


async def notice(hostile: Hostile) -> None:
    """One notice at a time, each in place of the one before."""
    app = hostile.app
    await hostile.until(lambda: len(app._notifications) == len(app.screen.query("Toast")) == 1)
    await hostile.shown()
    app.clear_notifications()
    app._refresh_notifications()
    await hostile.until(lambda: not app.screen.query("Toast"))


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[tuple[asyncio.Runner, Hostile]]:
    with asyncio.Runner() as runner:
        shared = Hostile(tmp_path)
        yield runner, shared
        runner.run(shared.close())


def test_no_text_from_outside_steers_anything(
    hostile: tuple[asyncio.Runner, Hostile], caplog: pytest.LogCaptureFixture
) -> None:
    runner, shared = hostile

    @settings(max_examples=3, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @example(list(PAYLOADS), SIZES[0])
    @example([PAYLOADS[0], PAYLOADS[4], PAYLOADS[7]], SIZES[1])
    @given(TEXTS, st.sampled_from(SIZES))
    def check(texts: list[str], size: tuple[int, int]) -> None:
        try:
            with no_faults(caplog):
                runner.run(all_screens(shared, texts, size))
        except BaseException:
            runner.run(shared.close())
            raise

    check()


# -- a real terminal -------------------------------------------------------------------------------------------------
_SEQUENCE = re.compile(r"\x1b\[[0-9;:?<>=$]*[ -/]*[@-~]|\x1b\]22;[a-z-]*\x07")
"""What moves, colours and sets modes; and the one other kind that Textual writes: the shape of the mouse's pointer."""
_STEPS = (
    ("3", ""),
    ("\r", "c Copy"),
    ("\x7f", "Workers 6"),
    ("e", "Failed tasks by error"),
    ("r", "with this error?"),
    ("n", "Example"),
    ("\x1b", "Workers 6"),
    ("l", "the last"),
    ("l", "Workers 6"),
)


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
def test_only_our_own_sequences_reach_a_terminal() -> None:
    with PtyTerminal([sys.executable, "-m", "tests.ui.hostile"]) as terminal:
        terminal.wait_for("Workers 6")
        terminal.wait_for("Events 6")
        for keys, sign in _STEPS:
            terminal.send(keys)
            terminal.wait_for(sign or partial(_shows_running, terminal))
        terminal.send("q")
        terminal.wait_for("DRAINING")
        terminal.send("q")
        assert terminal.wait_exit() == 0
    text = terminal.output.decode()  # raises for half a character or a lone surrogate
    assert "crash: None calls: ['drain']" in text
    ours = "".join(_SEQUENCE.findall(text))
    assert "7777" not in ours
    rest = _SEQUENCE.sub("", text).replace("\r\n", "").replace("\n", "")
    assert rest.isprintable(), ascii({character for character in rest if not character.isprintable()})


def _shows_running(terminal: PtyTerminal) -> bool:
    """Whether the list of running tasks has been read: before, Enter opens nothing. There a sign says the state."""
    return re.search("^│▸[^│]* ● (?!running)", terminal.text(), re.MULTILINE) is not None
