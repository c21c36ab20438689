"""The dashboard as a user has it: the real command in a real terminal, keys in, screen out, and each way out of it."""

from __future__ import annotations

import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import FUNCTIONS, counts, write_tasks

if sys.platform == "win32":
    pytest.skip("POSIX terminals and signals", allow_module_level=True)

from tests.support.processes import eventually
from tests.support.pty_terminal import PtyTerminal

pytestmark = pytest.mark.process
AGENTDASH = (sys.executable, "-m", "agentdash")
DEMO = ("demo", "--tasks", "40", "--workers", "4", "--project", ".")
HOLD = ("run", "t.jsonl", "--processor", "cli_functions:hold", "--workers", "2")
CANARY = "sk-ant-canary-" + "0123456789"
BREAKS_AT_HELP = f"""
import sys
from agentdash.ui.app import DashboardApp
def broken(self):
    key = {CANARY[:-4]!r} + {CANARY[-4:]!r}
    raise TypeError(key + " was refused")
DashboardApp.action_help = broken
from agentdash.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with five tasks that run until the file `go` is there."""
    (tmp_path / "cli_functions.py").write_text(textwrap.dedent(FUNCTIONS))
    write_tasks(tmp_path / "t.jsonl", ["x"] * 5)
    return tmp_path


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[PtyTerminal]:
    """The demo at work: its own server, 40 tasks, 4 workers."""
    with PtyTerminal([*AGENTDASH, *DEMO], cwd=tmp_path) as terminal:
        terminal.wait_for("● RUNNING", 20)
        yield terminal


@pytest.fixture
def held(place: Path) -> Iterator[PtyTerminal]:
    """Two of five tasks run, and go on until they are told to end."""
    with PtyTerminal([*AGENTDASH, *HOLD], cwd=place) as terminal:
        terminal.wait_for("2 of 2 busy", 20)
        yield terminal


def assert_given_back(terminal: PtyTerminal) -> None:
    after = terminal.output.rpartition(b"\x1b[?1049h")[2]
    for sequence in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1003l", b"\x1b[?2004l", b"\x1b[<u"):
        assert sequence in after
    assert terminal.modes() == terminal.modes_before
    assert b"Traceback" not in terminal.output


def assert_stands(place: Path, *, pending: int, succeeded: int) -> None:
    """Every task is where it can be found, none is left running, and what has finished is in the results."""
    found = counts(place)
    assert (found.pending, found.running, found.succeeded, found.failed) == (pending, 0, succeeded, 0)
    assert len((place / "results.jsonl").read_text().splitlines()) == succeeded


def test_keys_in_screen_out(demo: PtyTerminal, tmp_path: Path) -> None:
    screen = demo.screen()
    assert len(screen) == 40
    for panel in ("Queue", "Workers", "Credentials", "Locks", "Events"):
        assert any(panel in line for line in screen), panel
    demo.send("p")
    demo.wait_for("PAUSED")
    demo.send("p")
    demo.wait_for("RUNNING")
    demo.send("p")
    demo.wait_for("PAUSED")
    demo.send("/")
    demo.wait_for("id, text, error or worker")
    demo.send("no task is like this")
    demo.wait_for("0 matches")
    demo.send("\x1b")
    demo.wait_for(lambda: "0 matches" not in demo.text())
    demo.send("?")
    demo.wait_for("Take no new tasks")
    demo.send("\x1b")
    demo.wait_for(lambda: "Take no new tasks" not in demo.text())
    demo.send("q")
    assert demo.wait_exit() == 130
    assert_given_back(demo)
    found = counts(tmp_path)
    assert (found.total, found.running) == (40, 0)
    assert found.pending > 0


def test_what_is_typed_at_once_is_text_and_no_commands(held: PtyTerminal) -> None:
    held.send("/xRPKq")
    held.wait_for("0 matches")
    assert "RUNNING" in held.text()


def test_quitting_drains_and_can_be_taken_back(held: PtyTerminal, place: Path) -> None:
    held.send("q")
    held.wait_for("DRAINING")
    held.wait_for("Esc stays")
    held.send("\x1b")
    held.wait_for("RUNNING")
    held.send("q")
    held.wait_for("DRAINING")
    (place / "go").touch()
    assert held.wait_exit() == 130
    assert_given_back(held)
    assert_stands(place, pending=3, succeeded=2)


def test_quitting_twice_leaves_at_once(held: PtyTerminal, place: Path) -> None:
    held.send("qq")
    assert held.wait_exit() == 130
    assert_given_back(held)
    assert_stands(place, pending=5, succeeded=0)


def test_every_size(held: PtyTerminal) -> None:
    for columns, rows, has_all in ((80, 24, False), (60, 20, False), (120, 40, True)):
        held.clear()
        held.resize(columns, rows)
        held.wait_for(lambda: is_drawn_for(held, columns, has_all=has_all))  # noqa: B023 - called at once
        assert len(held.screen()) == rows


def is_drawn_for(terminal: PtyTerminal, columns: int, *, has_all: bool) -> bool:
    """Whether the screen stands in this width: state above, keys below, and other panels only where there is room."""
    lines = terminal.screen()
    is_whole = "RUNNING" in lines[0] and "Pause" in lines[-1] and max(map(len, lines)) == columns
    return is_whole and any("Credentials" in line for line in lines) == has_all


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_drains_and_gives_the_terminal_back(number: signal.Signals, held: PtyTerminal, place: Path) -> None:
    held.kill(number)
    held.wait_for("DRAINING")
    (place / "go").touch()
    assert held.wait_exit() == 130
    assert_given_back(held)
    assert_stands(place, pending=3, succeeded=2)


def test_a_signal_before_the_first_frame(place: Path) -> None:
    with PtyTerminal([*AGENTDASH, *HOLD], cwd=place) as terminal:
        terminal.wait_for(lambda: b"\x1b[?1049h" in terminal.output)
        terminal.kill(signal.SIGTERM)
        assert terminal.wait_exit() == 130
        assert_given_back(terminal)
        assert_stands(place, pending=5, succeeded=0)


def test_a_closed_terminal_drains_and_leaves(held: PtyTerminal, place: Path) -> None:
    before = held.cpu_seconds()
    held.close_master()
    held.pump(1)
    assert held.process.poll() is None  # the running tasks may finish
    assert held.cpu_seconds() - before < 0.7
    (place / "go").touch()
    assert held.wait_exit() == 130
    assert_stands(place, pending=3, succeeded=2)


def test_the_demo_leaves_a_closed_terminal(demo: PtyTerminal, tmp_path: Path) -> None:
    demo.close_master()
    assert demo.wait_exit() == 130
    found = counts(tmp_path)
    assert (found.total, found.running) == (40, 0)


def test_stopped_from_outside_and_continued(held: PtyTerminal, place: Path) -> None:
    held.kill(signal.SIGSTOP)
    eventually(held.is_stopped)
    held.pump()
    held.clear()
    held.kill(signal.SIGCONT)
    held.wait_for(lambda: all(word in held.text() for word in ("RUNNING", "Workers", "Events", "Quit")))
    held.send("qq")
    assert held.wait_exit() == 130
    assert_given_back(held)
    assert_stands(place, pending=5, succeeded=0)


def test_a_broken_dashboard_leaves_the_run_alone(place: Path) -> None:
    with PtyTerminal([sys.executable, "-c", BREAKS_AT_HELP, *HOLD], cwd=place) as terminal:
        terminal.wait_for("2 of 2 busy", 20)
        terminal.send("?")
        terminal.wait_for("the run goes on without it")
        assert_given_back(terminal)
        (place / "go").touch()
        assert terminal.wait_exit() == 1
        assert b"internal error in the dashboard: TypeError: [redacted] was refused" in terminal.output
        assert b"canary" not in terminal.output
    log = (place / ".agentdash" / "agentdash.log").read_text()
    assert "in broken" in log
    assert "canary" not in log
    assert_stands(place, pending=0, succeeded=5)
