"""Faults that nobody waits for: into the log and one line, never a traceback on stderr."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdash.engine.log import close_log, open_log
from agentdash.loopguard import guard_loop, in_one_line, quiet_libraries
from agentdash.secret import Secret


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    handler = open_log(tmp_path, "info")
    yield tmp_path / "agentdash.log"
    close_log(handler)


async def test_a_fault_in_the_loop_is_told_in_one_line(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = Secret("sk-ant-a-key-of-this-test")
    told: list[str] = []
    loop = asyncio.get_running_loop()
    guard_loop(loop, told.append)
    try:
        loop.call_exception_handler({"message": "no luck", "exception": ValueError(f"with {key.reveal()}\nand more")})
        loop.call_exception_handler({"message": "something odd"})
    finally:
        loop.set_exception_handler(None)
    assert len(told) == 2
    assert told[0].startswith("no luck: ValueError: with ")
    assert "\n" not in told[0]
    text = log.read_text()
    assert text.count('"action": "loop_fault"') == 2
    assert key.reveal() not in text + told[0]
    assert capsys.readouterr().err == ""


async def test_want_of_memory_is_told_by_itself(log: Path) -> None:
    stopped: list[bool] = []
    loop = asyncio.get_running_loop()
    guard_loop(loop, lambda text: None, on_no_memory=lambda: stopped.append(True))
    try:
        loop.call_exception_handler({"message": "read", "exception": OSError()})
        assert not stopped
        loop.call_exception_handler({"message": "read", "exception": MemoryError()})
        assert stopped
    finally:
        loop.set_exception_handler(None)


def test_what_libraries_say_goes_to_the_log_while_it_lasts(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("some.library")
    with quiet_libraries():
        library.error("a socket broke")
        library.info("a detail")
        logging.getLogger("agentdash").warning("our own")
    text = log.read_text()
    assert text.count("a socket broke") == text.count("our own") == 1
    assert "a detail" not in text
    assert "a socket broke" not in capsys.readouterr().err
    library.error("after it")
    assert "after it" not in log.read_text()


def test_a_thread_that_dies_is_logged_and_want_of_memory_told(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def die(error: Exception) -> None:
        raise error

    stopped: list[bool] = []
    with quiet_libraries(lambda: stopped.append(True)):
        for error in (ValueError("unlucky"), MemoryError()):
            assert not stopped
            thread = threading.Thread(target=die, args=(error,))
            thread.start()
            thread.join()
    assert stopped
    assert log.read_text().count('"action": "thread"') == 2
    assert "Traceback" not in capsys.readouterr().err


def test_what_the_interpreter_cannot_raise_is_logged(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Breaks:
        def __del__(self) -> None:
            raise ValueError("in a finaliser")

    with quiet_libraries(), warnings.catch_warnings():
        Breaks()
    assert "in a finaliser" in log.read_text()
    assert "finaliser" not in capsys.readouterr().err


def test_a_warning_is_logged_without_keys(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = Secret("sk-ant-another-key-of-this-test")
    with warnings.catch_warnings(), quiet_libraries():
        warnings.simplefilter("always")
        warnings.warn(f"deprecated, like {key.reveal()}", stacklevel=1)
    assert "deprecated, like [redacted]" in log.read_text()
    assert "deprecated" not in capsys.readouterr().err


def test_one_line_for_an_error() -> None:
    assert in_one_line(ValueError("a\nb")).splitlines() == [in_one_line(ValueError("a\nb"))]
