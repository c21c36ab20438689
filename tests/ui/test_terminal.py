"""The terminal: nothing steers it, it is always given back, and its loss neither spins nor holds the loop."""

from __future__ import annotations

import base64
import os
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import ControlType, Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.color import Color
from textual.widgets import Static

from agentdash.ui.terminal import ControlFilter, copy_to_clipboard, restore_terminal

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
BLACK = Color(0, 0, 0)


# -- what may reach it -----------------------------------------------------------------------------------------------
def filtered(*segments: Segment) -> list[Segment]:
    return ControlFilter().apply(list(segments), BLACK)


@pytest.mark.parametrize(
    "bad", ["\x1b]52;c;Zm9v\x07", "\x9b31m", "\x7f", "\u202e", "\u200b", "\u2066", "\ud800", "\r\n"]
)
def test_nothing_that_steers_is_drawn(bad: str) -> None:
    (segment,) = filtered(Segment(f"a{bad}b"))
    assert segment.text.isprintable()
    assert segment.text.startswith("a")


@given(st.lists(st.text(st.characters(), max_size=20), max_size=4))
def test_a_filtered_line_is_harmless_and_as_wide_as_before(texts: list[str]) -> None:
    before = [Segment(text) for text in texts]
    after = filtered(*before)
    for old, new in zip(before, after, strict=True):
        assert cell_len(new.text) == cell_len(old.text)
        assert not {unicodedata.category(c) for c in new.text} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_what_is_harmless_is_not_touched() -> None:
    line = [Segment("état ✔ 漢字 👍"), Segment("bold", Style(bold=True))]
    assert ControlFilter().apply(line, BLACK) is line
    spaces = "a\u00a0b\u3000c"
    assert filtered(Segment(spaces))[0].text == spaces


def test_controls_of_textual_itself_stay() -> None:
    control = Segment("\x1b[2;3H", None, [(ControlType.CURSOR_MOVE_TO, 3, 2)])
    assert filtered(control, Segment("\x07"))[0] is control


def test_a_link_carries_no_control_characters() -> None:
    good, bad = Style(link="https://example.org/a"), Style(link="https://e.org/\x1b\\\x1b]52;c;Zm9v\x07")
    assert filtered(Segment("x", good))[0].style == good
    (segment,) = filtered(Segment("x", bad))
    assert segment.style is not None
    assert segment.style.link is None


def test_two_filters_are_one_to_a_cache() -> None:
    assert ControlFilter() == ControlFilter()
    assert len({ControlFilter(), ControlFilter()}) == 1


async def test_in_an_app_nothing_gets_past_it() -> None:
    class Hostile(App[None]):
        def compose(self) -> ComposeResult:
            yield Static("a\x1b]52;c;Zm9v\x07b\x9b\u202ec", markup=False)

        def get_line_filters(self) -> list[Any]:
            return [*super().get_line_filters(), ControlFilter()]

    async with Hostile().run_test() as pilot:
        lines = pilot.app.screen._compositor.render_strips()
        assert all(strip.text.isprintable() for strip in lines)
        assert lines[0].text.startswith("a")


# -- copying ---------------------------------------------------------------------------------------------------------
async def test_copy_sends_clean_text_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    app: App[None] = App()
    assert not copy_to_clipboard(app, "no terminal yet")
    async with app.run_test():
        assert app._driver is not None
        sent: list[str] = []
        monkeypatch.setattr(app._driver, "write", sent.append)
        assert copy_to_clipboard(app, "a\tb\né\x1b[201~\x07\ud800")
        assert copy_to_clipboard(app, "x" * 75_000)
        assert not copy_to_clipboard(app, "x" * 75_001)
        assert len(sent) == 2
        begin, _, encoded = sent[0].removesuffix("\a").rpartition(";")
        assert (begin, base64.b64decode(encoded).decode()) == ("\x1b]52;c", "a\tb\né[201~")


# -- given back, lost, not reading: in a terminal of its own --------------------------------------------------------
if sys.platform != "win32":
    from tests.support.pty_terminal import PtyTerminal


class Tiny:
    """tests/support/tiny_app.py in a terminal."""

    def __init__(self, terminal: PtyTerminal, place: Path) -> None:
        self.terminal, self._place = terminal, place

    def journal(self) -> list[str]:
        path = self._place / "journal"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def beats(self) -> int:
        return int((self._place / "beats").read_text().split()[0])

    def is_reachable(self) -> bool:
        return "False" not in (self._place / "beats").read_text()


@contextmanager
def tiny(place: Path, *arguments: str, **options: Any) -> Iterator[Tiny]:
    command = [sys.executable, "-m", "tests.support.tiny_app", str(place), *arguments]
    with PtyTerminal(command, **options) as terminal:
        yield Tiny(terminal, place)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Tiny]:
    with tiny(tmp_path, "nohup") as running:
        running.terminal.wait_for("last line")
        yield running


def given_back(terminal: PtyTerminal) -> bool:
    """Main screen, cursor, no mouse, no pasting, own keyboard, and the settings of before."""
    after = terminal.output.rpartition(b"\x1b[?1049h")[2]
    undone = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1003l", b"\x1b[?1006l", b"\x1b[?1016l", b"\x1b[?2004l", b"\x1b[<u")
    return all(sequence in after for sequence in undone) and terminal.modes() == terminal.modes_before


@posix
@pytest.mark.process
class TestInATerminal:
    def test_quitting_gives_it_back(self, app: Tiny) -> None:
        assert app.terminal.modes() != app.terminal.modes_before
        app.terminal.send("q")
        assert app.terminal.wait_exit() == 0
        assert given_back(app.terminal)
        assert app.journal() == ["left"]

    def test_leaving_at_once_gives_it_back(self, app: Tiny) -> None:
        app.terminal.send("x")
        assert app.terminal.wait_exit() == 5
        assert given_back(app.terminal)

    def test_an_interrupt_in_the_loop_gives_it_back(self, app: Tiny) -> None:
        app.terminal.send("k")
        app.terminal.wait_exit()
        assert given_back(app.terminal)

    def test_a_closed_terminal_is_noticed_once_and_left(self, app: Tiny) -> None:
        app.terminal.close_master()
        assert app.terminal.wait_exit() == 0
        assert sorted(app.journal()) == ["hup", "left", "lost"]
        assert app.terminal.cpu_seconds() < 3

    def test_a_closed_terminal_is_noticed_while_drawing(self, app: Tiny) -> None:
        app.terminal.send("f")
        app.terminal.wait_for("flood")
        app.terminal.close_master()
        assert app.terminal.wait_exit() == 0
        assert sorted(app.journal()) == ["hup", "left", "lost"]

    def test_keys_that_can_never_come_are_a_loss(self, tmp_path: Path) -> None:
        with open(os.devnull) as null, tiny(tmp_path, streams={"stdin": null}) as app:
            assert app.terminal.wait_exit() == 0
            assert app.journal() == ["lost", "left"]
            assert b"\x1b[?1049l" in app.terminal.output  # the screen is still there, and is given back

    def test_a_terminal_that_does_not_read_holds_nothing(self, app: Tiny) -> None:
        app.terminal.send("f")
        self.wait(lambda: not app.is_reachable())
        before = app.beats()
        self.wait(lambda: app.beats() > before + 30)
        app.terminal.send("yf")  # no copy is promised that will not arrive; and the drawing ends
        self.wait(lambda: app.journal() == ["copied False"])
        app.terminal.wait_for("calm")
        app.terminal.wait_for(lambda: app.terminal.screen()[:3] == ["first line", "calm", "last line"])
        app.terminal.send("q")
        assert app.terminal.wait_exit() == 0
        assert given_back(app.terminal)

    def test_leaving_does_not_wait_for_a_terminal_that_does_not_read(self, app: Tiny) -> None:
        app.terminal.send("f")
        self.wait(lambda: not app.is_reachable())
        app.terminal.send("q")
        assert app.terminal.wait_exit(reading=False) == 0
        assert app.journal() == ["left"]
        assert app.terminal.modes() == app.terminal.modes_before

    def test_leaving_gives_a_slow_terminal_back(self, app: Tiny) -> None:
        """It takes longer than leaving waits for one that does not read at all; old frames are left out."""
        app.terminal.send("f")
        self.wait(lambda: not app.is_reachable())
        app.terminal.send("q")
        assert app.terminal.wait_exit(slowly=True) == 0
        assert given_back(app.terminal)

    def test_stopped_from_outside_and_continued(self, app: Tiny) -> None:
        """Textual starts a second time over itself then, never ends, and forgets the terminal's settings."""
        app.terminal.kill(signal.SIGSTOP)
        self.wait(app.terminal.is_stopped)
        self.continue_and_quit(app)

    def test_into_the_background_and_back(self, app: Tiny) -> None:
        app.terminal.send("z")
        self.wait(app.terminal.is_stopped)
        app.terminal.pump()
        assert given_back(app.terminal)
        self.continue_and_quit(app)

    def continue_and_quit(self, app: Tiny) -> None:
        app.terminal.pump()
        app.terminal.clear()
        app.terminal.kill(signal.SIGCONT)
        app.terminal.wait_for("last line")
        app.terminal.send("f")
        app.terminal.wait_for("flood")
        app.terminal.send("q")
        assert app.terminal.wait_exit() == 0
        assert given_back(app.terminal)
        assert app.journal() == ["left"]

    def test_lent_out_and_taken_back(self, app: Tiny) -> None:
        app.terminal.send("e")
        app.terminal.wait_for("lent out")
        assert given_back(app.terminal)
        app.terminal.clear()
        app.terminal.send("\n")
        app.terminal.wait_for("last line")
        app.terminal.send("q")
        assert app.terminal.wait_exit() == 0
        assert given_back(app.terminal)

    def test_copying_reaches_it(self, app: Tiny) -> None:
        app.terminal.send("y")
        app.terminal.wait_for(lambda: b"\x1b]52;c;" + base64.b64encode(b"text to copy") in app.terminal.output)
        assert app.journal() == ["copied True"]

    def test_bytes_that_are_no_text_are_no_fault(self, app: Tiny) -> None:
        app.terminal.send_bytes(b"\xff\xfe\xc3")
        app.terminal.send("y")
        self.wait(lambda: app.journal() == ["copied True"])

    def test_resizing(self, app: Tiny) -> None:
        app.terminal.resize(60, 20)
        app.terminal.send("f")
        app.terminal.wait_for(lambda: any(len(line) == 60 for line in app.terminal.screen()))

    @staticmethod
    def wait(condition: Callable[[], bool]) -> None:
        """Without reading what is drawn."""
        from tests.support.processes import eventually

        eventually(condition)


def test_nothing_to_restore_is_no_fault(capfd: pytest.CaptureFixture[str]) -> None:
    restore_terminal()
    restore_terminal()
    assert capfd.readouterr() == ("", "")
