"""The screen of the log: what it shows of the file, how it follows, and what a file may do to it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.app import App
from textual.binding import Binding
from textual.pilot import Pilot

from agentdash.engine.log import LOGGER, close_log, open_log
from agentdash.ui.panels.lines import LineList
from agentdash.ui.screens import log
from agentdash.ui.screens.log import MAX_LINES, LogEnd, LogScreen, read_end
from tests.ui.fake_run import FakeRun
from tests.ui.moments import HOSTILE
from tests.ui.screen_text import screen_lines, screen_text

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))
AT = "2026-11-21T02:41:00.123Z"


class Stage(App[None]):
    """Opens the screen as the dashboard does."""

    def __init__(self, run: FakeRun) -> None:
        super().__init__()
        self.run_shown = run
        self.log_screen = LogScreen(run)
        self.is_left = False

    def on_mount(self) -> None:
        _ = self.push_screen(self.log_screen, self.left)

    def left(self, _: None) -> None:
        self.is_left = True

    @property
    def lines(self) -> LineList:
        return self.log_screen.query_one(LineList)

    def tick(self, seconds: float = 1.0) -> None:
        """So much later."""
        self.run_shown.clock.advance(seconds)
        self.log_screen.update(self.run_shown.snapshot(), self.run_shown.clock.now())


def line(message: object, level: str = "info", **more: object) -> str:
    return json.dumps({"at": AT, "level": level, "pid": 1, "message": message, **more}) + "\n"


def numbered(first: int, last: int) -> str:
    return "".join(line(f"message {number}") for number in range(first, last + 1))


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    run = FakeRun(project_path=tmp_path)
    run.log_path.parent.mkdir()
    return run


def write(run: FakeRun, text: str, mode: str = "a") -> None:
    with run.log_path.open(mode, encoding="utf-8") as file:
        file.write(text)


async def read_until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait for something that a thread brings about."""
    try:
        async with asyncio.timeout(10):
            while not condition():
                await pilot.pause(0.005)
    except TimeoutError:
        raise AssertionError(f"it never came:\n{screen_text(pilot.app)}") from None


@asynccontextmanager
async def opened(run: FakeRun, size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[Stage, Pilot[None]]]:
    """The screen with the log read once."""
    stage = Stage(run)
    async with stage.run_test(size=size) as pilot:
        await read_until(pilot, lambda: stage.screen is stage.log_screen and stage.log_screen._end is not None)
        await pilot.pause()
        yield stage, pilot


def texts(end: LogEnd) -> list[str]:
    return [entry.text for entry in end.entries]


# -- the file --------------------------------------------------------------------------------------------------------
def test_it_reads_what_the_engine_writes(run: FakeRun) -> None:
    handler = open_log(run.log_path.parent, "debug")
    try:
        LOGGER.info("begun", extra={"action": "run_started"})
        try:
            raise ValueError("what went wrong")
        except ValueError:
            logging.getLogger("agentdash.x").exception("it failed")
    finally:
        close_log(handler)
    end = read_end(run.log_path)
    assert [(e.level, e.action, e.text) for e in end.entries[:2]] == [
        ("info", "run_started", "begun"),
        ("error", "", "it failed"),
    ]
    assert end.entries[0].at is not None
    assert end.entries[2].text.strip().startswith("Traceback")
    assert end.entries[-1].text.strip() == "ValueError: what went wrong"
    assert len({entry.key for entry in end.entries}) == len(end.entries)


def test_it_reads_the_last_lines_only(run: FakeRun) -> None:
    write(run, numbered(1, MAX_LINES + 500))
    found = texts(read_end(run.log_path))
    assert len(found) == MAX_LINES
    assert found[0] == "message 501"
    assert found[-1] == f"message {MAX_LINES + 500}"


def test_it_reads_no_more_bytes_than_agreed(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 1000)
    write(run, numbered(1, 100))
    found = texts(read_end(run.log_path))
    assert found == [f"message {number}" for number in range(101 - len(found), 101)]
    assert 5 < len(found) <= 1000 // len(line("message 100"))


def test_one_endless_line_is_no_entry(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 1000)
    write(run, "x" * 5000)
    assert texts(read_end(run.log_path)) == []


def test_an_unchanged_file_is_not_read_again(run: FakeRun) -> None:
    write(run, numbered(1, 3))
    first = read_end(run.log_path)
    assert read_end(run.log_path, first) is first
    write(run, numbered(4, 4))
    assert texts(read_end(run.log_path, first))[-1] == "message 4"


def test_a_half_line_waits_until_it_is_whole(run: FakeRun) -> None:
    whole = line("the second")
    write(run, line("the first") + whole[:30])
    assert texts(read_end(run.log_path)) == ["the first"]
    write(run, whole[30:])
    assert texts(read_end(run.log_path)) == ["the first", "the second"]


def test_after_a_rotation_the_end_of_the_file_before_comes_first(run: FakeRun) -> None:
    write(run, numbered(1, 3))
    before = read_end(run.log_path)
    run.log_path.rename(run.log_path.with_name("agentdash.log.1"))
    renamed = read_end(run.log_path, before)
    assert texts(renamed) == ["message 1", "message 2", "message 3"]
    write(run, numbered(4, 5))
    after = read_end(run.log_path, renamed)
    assert texts(after) == [f"message {number}" for number in range(1, 6)]
    assert after.entries[:3] == before.entries  # their keys, too: the cursor stays on them


@pytest.mark.parametrize(
    "text",
    ["no json", "[1, 2]", '"a string"', "[" * 100_000, "1" * 5000, "{", '{"at": 5, "level": [1], "message": {"a": 1}}',
     '{"at": "9999-99-99", "message": null}', '{"at": "0001-01-01T00:00:00Z", "message": "\\ud800"}', "\x00\x00"],
)  # fmt: skip
async def test_strange_lines_are_shown_among_the_others(run: FakeRun, text: str) -> None:
    write(run, line("before") + text + "\n" + line("after"))
    found = read_end(run.log_path).entries
    assert (found[0].text, found[-1].text, len(found)) == ("before", "after", 3)
    async with opened(run) as (stage, _):
        assert "before" in screen_text(stage)
        assert "after" in screen_text(stage)
        assert "panel failed" not in screen_text(stage)


def test_a_rotation_between_the_two_readings_shows_nothing_twice(run: FakeRun) -> None:
    write(run, numbered(1, 3))
    run.log_path.with_name("agentdash.log.1").hardlink_to(run.log_path)
    assert texts(read_end(run.log_path)) == ["message 1", "message 2", "message 3"]


def test_what_is_no_file_is_not_opened(run: FakeRun) -> None:
    run.log_path.mkdir()
    assert read_end(run.log_path).entries == ()


def test_bytes_that_are_no_text_are_read(run: FakeRun) -> None:
    run.log_path.write_bytes(b"\xff\xfe broken\n" + line("after").encode())
    assert texts(read_end(run.log_path))[1:] == ["after"]


# -- the screen ------------------------------------------------------------------------------------------------------
async def test_it_opens_at_the_end_and_looks_as_the_events_do(run: FakeRun) -> None:
    write(run, numbered(1, 100) + line("key-3 is refused", "warning", action="credential"))
    async with opened(run) as (stage, pilot):
        await read_until(pilot, lambda: "key-3 is refused" in screen_text(stage))
        row = next(text for text in screen_lines(stage) if "key-3" in text)
        assert ":41:00 ✖ key-3 is refused" in row  # the sign of the event, not of the level
        assert stage.lines.cursor == 100
        assert "the last 101 lines" in screen_text(stage)


async def test_it_follows_what_is_written(run: FakeRun) -> None:
    write(run, numbered(1, 100))
    async with opened(run) as (stage, pilot):
        write(run, numbered(101, 150))
        stage.tick()
        await read_until(pilot, lambda: "message 150" in screen_text(stage))
        assert stage.lines.cursor == 149


async def test_who_looks_at_an_older_line_stays_there_until_the_end_key(run: FakeRun) -> None:
    write(run, numbered(1, 100))
    async with opened(run) as (stage, pilot):
        await pilot.press("g", "j")
        await read_until(pilot, lambda: "message 1 " in screen_text(stage) + " ")
        write(run, numbered(101, 150))
        stage.tick()
        await read_until(pilot, lambda: stage.lines.row_count == 150)
        await pilot.pause()
        assert stage.lines.cursor == 1
        assert stage.lines.top_row == 0
        await pilot.press("G")
        write(run, numbered(151, 152))
        stage.tick()
        await read_until(pilot, lambda: "message 152" in screen_text(stage))


async def test_scrolled_up_by_the_mouse_it_stays_and_follows_again_at_the_end(run: FakeRun) -> None:
    write(run, numbered(1, 100))
    async with opened(run) as (stage, pilot):
        stage.lines.scroll_to(y=20, animate=False, force=True)
        await pilot.pause()
        write(run, numbered(101, 110))
        stage.tick()
        await read_until(pilot, lambda: stage.lines.row_count == 110)
        await pilot.pause()
        assert stage.lines.top_row == 20
        stage.lines.scroll_end(animate=False, force=True)
        await pilot.pause()
        write(run, numbered(111, 112))
        stage.tick()
        await read_until(pilot, lambda: "message 112" in screen_text(stage))


async def test_lines_that_drop_out_at_the_top_do_not_move_what_is_read(run: FakeRun) -> None:
    write(run, numbered(1, MAX_LINES))
    async with opened(run) as (stage, pilot):
        stage.lines.move_to(1000)
        stage.lines.move_to(1010)  # now in the middle of what is seen
        await pilot.pause()
        top = stage.lines.line_at(stage.lines.top_row)
        write(run, numbered(MAX_LINES + 1, MAX_LINES + 10))
        stage.tick()
        await read_until(pilot, lambda: stage.lines.cursor == 1000)
        await pilot.pause()
        assert stage.lines.line_at(stage.lines.top_row) == top


async def test_it_looks_at_the_file_once_a_second_at_most(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def counted(path: Path, known: LogEnd | None = None) -> LogEnd:
        asked.append(path)
        return read_end(path, known)

    monkeypatch.setattr(log, "read_end", counted)
    async with opened(run) as (stage, pilot):
        assert len(asked) == 1
        stage.tick(0.5)
        await pilot.pause()
        assert len(asked) == 1
        stage.tick(0.5)
        await read_until(pilot, lambda: len(asked) == 2)


async def test_a_missing_log_may_come_later_and_go_again(run: FakeRun) -> None:
    async with opened(run) as (stage, pilot):
        assert "Nothing has been logged yet." in screen_text(stage)
        write(run, line("the first"))
        stage.tick()
        await read_until(pilot, lambda: "the first" in screen_text(stage))
        run.log_path.unlink()
        stage.tick()
        await read_until(pilot, lambda: "Nothing has been logged yet." in screen_text(stage))


async def test_an_unreadable_log_is_told(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, known: LogEnd | None = None) -> LogEnd:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(log, "read_end", refused)
        stage = Stage(run)
        async with stage.run_test(size=(80, 24)) as pilot:
            await read_until(pilot, lambda: "The log cannot be read: Permission denied" in screen_text(stage))
            patch.undo()
            write(run, line("now it can"))
            stage.tick()
            await read_until(pilot, lambda: "now it can" in screen_text(stage))


async def test_enter_shows_the_whole_of_a_long_line_and_hides_it_again(run: FakeRun) -> None:
    long = "word " * 40 + "[b]the end"
    write(run, numbered(1, 50) + line(long) + line("a short one"))
    async with opened(run, (80, 24)) as (stage, pilot):
        await pilot.press("k")
        assert "the end" not in screen_text(stage)
        await pilot.press("enter")
        await read_until(pilot, lambda: "[b]the end" in screen_text(stage))
        await read_until(pilot, lambda: stage.lines.top_row + stage.lines.page_size > stage.lines.cursor)
        await pilot.press("j")
        await read_until(pilot, lambda: "[b]the end" not in screen_text(stage))
        assert screen_text(stage).count("a short one") == 2
        await pilot.press("enter")
        await read_until(pilot, lambda: screen_text(stage).count("a short one") == 1)


@pytest.mark.parametrize("key", ["l", "escape"])
async def test_it_is_left_by_both_keys(run: FakeRun, key: str) -> None:
    async with opened(run) as (stage, pilot):
        await pilot.press(key)
        await read_until(pilot, lambda: stage.is_left)


@pytest.mark.parametrize("size", SIZES)
async def test_it_can_be_used_at_any_size(run: FakeRun, size: tuple[int, int]) -> None:
    write(run, numbered(1, 99) + line("the disk is full", "error", action="disk"))
    async with opened(run, size) as (stage, pilot):
        await read_until(pilot, lambda: "the disk is full" in screen_text(stage))
        row = next(text for text in screen_lines(stage) if "disk is full" in text)
        assert " ✖ the disk is full" in row
        assert "Back" in screen_lines(stage)[-1]
        await pilot.resize_terminal(60, 20)
        await read_until(pilot, lambda: any("✖ the disk" in text for text in screen_lines(stage)))


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_text_is_only_shown(run: FakeRun, size: tuple[int, int]) -> None:
    write(run, line(HOSTILE, HOSTILE, action=HOSTILE, error=HOSTILE))
    run.log_path.write_bytes(run.log_path.read_bytes() + HOSTILE.encode("utf-8", "replace") + b"\n")
    async with opened(run, size) as (stage, pilot):
        await read_until(pilot, lambda: "a[/]b" in screen_text(stage))
        assert not {"\x1b", "\x9b", "\u202e", "\u200b", "\x7f", "\r"} & set(screen_text(stage))
        assert "panel failed" not in screen_text(stage)


def test_every_key_has_a_name_and_says_what_it_does() -> None:
    for binding in LogScreen.BINDINGS:
        assert isinstance(binding, Binding)
        assert binding.id
        assert binding.description
        assert binding.tooltip
