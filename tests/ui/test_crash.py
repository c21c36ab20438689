"""A fault of the dashboard: one clean line, a log without locals, no key anywhere, and the caller goes on."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.traceback import Traceback
from textual.app import App, ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from agentdash.loopguard import guard_loop, in_one_line
from agentdash.secret import Secret
from agentdash.text import clean
from agentdash.ui.crash import RedactedCrash, log_fault, where

PATTERNED = "sk-ant-canary-" + "0123456789"
KNOWN = "a key like no other"
SECRET = Secret(KNOWN)


def fail() -> None:
    local_key, local_secret = PATTERNED, SECRET
    raise TypeError(f"{local_key} was refused, and {local_secret.reveal()} too")


class Broken(RedactedCrash, App[None]):
    """An app that fails where `how` says; each name is a method of Textual's that it overrides below."""

    CSS: ClassVar[str] = ""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.stands = asyncio.Event()

    def maybe(self, here: str) -> None:
        if here == self.how:
            fail()

    def compose(self) -> ComposeResult:
        self.maybe("compose")
        yield Static("fine")
        yield BadlyDrawn()

    def on_mount(self) -> None:
        self.stands.set()
        self.maybe("mount")
        if self.how == "panic":
            self.panic(f"the terminal said {PATTERNED}", Traceback.from_exception(TypeError, TypeError(KNOWN), None))
        elif self.how == "markup":
            self.query_one(Static).update(f"{PATTERNED} a[/]b")
        elif self.how == "timer":
            self.set_timer(0.001, fail)
        elif self.how == "worker":
            self.run_worker(self.work())
        elif self.how == "thread":
            self.run_worker(fail, thread=True)
        elif self.how == "callback":
            self.call_later(fail)
        elif self.how in ("unmount", "nothing", "message"):
            self.exit(message=f"bye {PATTERNED}" if self.how == "message" else None)

    def on_unmount(self) -> None:
        self.maybe("unmount")

    async def work(self) -> None:
        fail()


class BadlyDrawn(Widget):
    def render(self) -> str:
        assert isinstance(self.app, Broken)
        self.app.maybe("render")
        return "fine"


class BadStyle(Broken):
    CSS = "Static { color: sk-ant-canary-0123456789; }"


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What the log is told, formatted in the plain way that redacts nothing by itself."""
    told: list[str] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(self.format(record))

    handler, logger = Told(), logging.getLogger("agentdash")
    logger.addHandler(handler)
    yield told
    logger.removeHandler(handler)


def assert_clean(*texts: str) -> None:
    for text in texts:
        assert "canary" not in text
        assert KNOWN not in text
        assert "local_key" not in text.replace("local_key, local_secret = PATTERNED", "").replace("{local_key}", "")
        assert "╭" not in text


WAYS = ["compose", "mount", "render", "timer", "worker", "thread", "callback", "unmount"]


@pytest.mark.parametrize("how", WAYS)
async def test_a_fault_anywhere_is_one_clean_line(how: str, log: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    app = Broken(how)
    await app.run_async(headless=True)
    out, err = capfd.readouterr()
    assert isinstance(app.crash, TypeError)
    assert app.return_code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("agentdash: internal error in the dashboard: TypeError: ")
    assert "[redacted] was refused, and [redacted]" in err
    assert "test_crash.py:" in err
    assert any("in fail" in line for line in log)
    assert_clean(err, *log)


@pytest.mark.parametrize(
    ("app", "told"),
    [
        (BadStyle("style"), "StylesheetParseError"),
        (Broken("markup"), "MarkupError"),
        (Broken("panic"), "the terminal said [redacted]; Traceback"),
    ],
    ids=["style", "markup", "panic"],
)
async def test_what_textual_would_draw_itself(
    app: Broken, told: str, log: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    await app.run_async(headless=True)
    out, err = capfd.readouterr()
    assert app.crash is not None
    assert (out, err.count("\n")) == ("", 1)
    assert told in err
    assert_clean(err, *(line.replace("╭", "") for line in log))
    assert "Error at" in log[0] or app.how != "style"


async def test_no_fault_no_word(log: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    app = Broken("nothing")
    await app.run_async(headless=True)
    assert app.crash is None
    assert capfd.readouterr() == ("", "")
    assert log == []


async def test_a_message_at_the_end_is_redacted(capfd: pytest.CaptureFixture[str]) -> None:
    app = Broken("message")
    await app.run_async(headless=True)
    assert app.crash is None
    assert capfd.readouterr() == ("", "bye [redacted]\n")


async def test_a_pilot_still_learns_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TypeError, match="refused"):
        async with Broken("mount").run_test():
            pass
    assert_clean(*capfd.readouterr())


async def test_a_cancelled_app_is_no_fault() -> None:
    app = Broken("")
    running = asyncio.create_task(app.run_async(headless=True))
    await app.stands.wait()
    running.cancel()
    await asyncio.wait([running])
    assert app.crash is None


# -- the words -------------------------------------------------------------------------------------------------------
class WordlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError(PATTERNED)


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_an_error_is_one_short_line() -> None:
    assert in_one_line(ValueError()) == "ValueError"
    assert "\n" not in in_one_line(ValueError("a\nb\x1b[31mc"))
    assert "\x1b" not in in_one_line(ValueError("a\nb\x1b[31mc"))
    assert len(in_one_line(ValueError("x" * 100_000))) <= 500
    assert "WordlessError" in in_one_line(WordlessError())
    assert_clean(in_one_line(WordlessError()), in_one_line(ExceptionGroup(PATTERNED, [ValueError(KNOWN)])))


def test_where_is_the_innermost_frame_of_ours() -> None:
    assert where(ValueError()) == ""
    assert "test_crash.py:" in where(raised(ValueError()))
    with pytest.raises(AttributeError) as caught:
        clean(None)  # type: ignore[arg-type]
    assert where(caught.value).startswith(str(Path("agentdash/text.py:")))


def test_the_log_has_causes_and_notes_but_no_key(log: list[str]) -> None:
    cause = raised(ValueError(KNOWN))
    error = raised(RuntimeError("outer"))
    error.__cause__ = cause
    error.add_note(f"sent with {PATTERNED}")
    log_fault("it broke", error)
    assert "direct cause" in log[0]
    assert "sent with [redacted]" in log[0]
    assert_clean(*log)


def test_a_boundless_traceback_is_cut(log: list[str]) -> None:
    log_fault("it broke", raised(ValueError(f"{PATTERNED}\n" * 10_000)))
    assert len(log[0]) < 25_000
    assert_clean(*log)


# -- the loop --------------------------------------------------------------------------------------------------------
@pytest.fixture
async def reports() -> AsyncIterator[list[str]]:
    loop, told = asyncio.get_running_loop(), list[str]()
    guard_loop(loop, told.append)
    yield told
    loop.set_exception_handler(None)


async def test_a_forgotten_task_is_told(
    reports: list[str], log: list[str], capfd: pytest.CaptureFixture[str], collect: Callable[[], None]
) -> None:
    async def forgotten() -> None:
        fail()

    task = asyncio.create_task(forgotten(), name=f"task with {PATTERNED}")
    await asyncio.wait([task])
    del task
    collect()
    (report,) = reports
    assert report.startswith("Task exception was never retrieved (task with [redacted]): TypeError: [redacted]")
    assert_clean(report, *log, *capfd.readouterr())


@pytest.fixture
def collect() -> Callable[[], None]:
    def run() -> None:
        gc.collect()

    return run


async def test_a_failed_callback_is_told(reports: list[str], log: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(reports) == 1
    assert_clean(*reports, *log, *capfd.readouterr())


async def test_a_report_without_an_exception(reports: list[str], log: list[str]) -> None:
    context: dict[str, Any] = {"message": f"odd: {PATTERNED}\x1b"}
    asyncio.get_running_loop().call_exception_handler(context)
    assert reports == ["odd: [redacted]␛"]
    assert_clean(*log)


# -- in a terminal ---------------------------------------------------------------------------------------------------
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
@pytest.mark.process
@pytest.mark.parametrize(("key", "told"), [("c", "crashed TypeError"), ("w", "crashed TypeError"), ("t", "left")])
def test_in_a_terminal(key: str, told: str, tmp_path: Path) -> None:
    from tests.support.pty_terminal import PtyTerminal

    with PtyTerminal([sys.executable, "-m", "tests.support.tiny_app", str(tmp_path)]) as terminal:
        terminal.wait_for("last line")
        terminal.send(key)
        if key == "t":
            terminal.wait_for((tmp_path / "journal").exists)
            terminal.send("q")
        assert terminal.wait_exit() == 0
        after = terminal.output.rpartition(b"\x1b[?1049l")[2].decode()
        if key != "t":
            assert "internal error in the dashboard: TypeError: [redacted] was refused" in after
            assert f"details in {tmp_path / 'tiny.log'}" in after
        assert terminal.modes() == terminal.modes_before
        everything = terminal.output.decode(errors="replace")
    journal, log = (tmp_path / "journal").read_text(), (tmp_path / "tiny.log").read_text()
    assert journal.splitlines()[-1] == told
    assert "in action_break" in log
    assert "Traceback" not in everything
    assert_clean(journal, everything, log)
