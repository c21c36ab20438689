"""What fails where nobody waits for it: into the log with its traceback, and told in one redacted line.

By themselves asyncio, the libraries' loggers and the interpreter write such faults, unredacted, to stderr: over the
screen, and before users, who can do nothing with a traceback.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agentdash.errors import means_no_memory
from agentdash.secret import redact
from agentdash.text import clean, shorten, without_middle

LOGGER = logging.getLogger("agentdash")
_MAX_LINE = 500
_MAX_TRACEBACK = 20_000


def in_one_line(error: BaseException) -> str:
    """`TypeError: what it says`, redacted."""
    said = "".join(traceback.format_exception_only(error)).strip()
    return shorten(clean(redact(said)), _MAX_LINE)


def log_fault(
    what: str, error: BaseException, *, more: str = "", action: str = "fault", logger: logging.Logger = LOGGER
) -> None:
    """Into the log, with its traceback and without the locals. Redacted here already: a handler may be anybody's."""
    text = without_middle(redact("".join(traceback.format_exception(error)) + more), _MAX_TRACEBACK)
    logger.error("%s: %s\n%s", what, in_one_line(error), text, extra={"action": action})


def guard_loop(
    loop: asyncio.AbstractEventLoop,
    report: Callable[[str], object],
    *,
    on_no_memory: Callable[[], object] = lambda: None,
) -> None:
    """Let what fails in the loop with nobody waiting for it be logged, and reported in one redacted line.

    `on_no_memory`: where memory ran out a callback or a wake-up may be lost, and somebody waits for it for ever.
    """

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and means_no_memory(error):
            on_no_memory()
        what = clean(redact(str(context.get("message") or "a fault in the event loop")))
        owner = context.get("task") or context.get("future")
        if isinstance(owner, asyncio.Task):
            what = f"{what} ({clean(redact(owner.get_name()))})"
        if isinstance(error, BaseException):
            log_fault(what, error, action="loop_fault")
            what = f"{what}: {in_one_line(error)}"
        else:
            LOGGER.error("%s", what, extra={"action": "loop_fault"})
        report(what)

    loop.set_exception_handler(handle)


class _IntoOurLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(LOGGER.name):
            LOGGER.handle(record)


@contextmanager
def quiet_libraries(on_no_memory: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Warnings and errors of libraries, and faults of threads and of the interpreter, go to our log while this lasts.

    `on_no_memory`, from any thread: one has died of it, and whoever waits for what it did waits for ever.
    """
    root, handler = logging.getLogger(), _IntoOurLog(logging.WARNING)
    hooks = sys.unraisablehook, threading.excepthook

    def unraisable(fault: sys.UnraisableHookArgs) -> None:
        if fault.exc_value is not None:
            log_fault(f"ignored in {type(fault.object).__name__}", fault.exc_value, action="unraisable")

    def thread_died(fault: threading.ExceptHookArgs) -> None:
        if fault.exc_value is not None and means_no_memory(fault.exc_value):
            on_no_memory()
        if fault.exc_value is not None:
            log_fault("a thread died", fault.exc_value, action="thread")

    root.addHandler(handler)
    logging.captureWarnings(True)
    sys.unraisablehook, threading.excepthook = unraisable, thread_died
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        logging.captureWarnings(False)
        root.removeHandler(handler)
