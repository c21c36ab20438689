"""Textual's driver for POSIX terminals, made fit for a run that must go on whatever becomes of the terminal.

Textual 8.2.8 spins for ever when its input ends, lets its event loop (which is the engine's too) wait for a terminal
that does not read, and loses the terminal's settings when it is stopped and continued from outside. Each override
below says which of these it mends.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import select
import signal
import sys
import termios
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full
from typing import Any, cast

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from agentdash.ui.terminal import begin_drawing, end_drawing, report_loss, restore_terminal

_STREAMS = (0, 1, 2)
_TICK_S = 0.1
_PATIENCE_S = 0.5
"""How long leaving may wait for a terminal that does not read."""
_SLOW_S = 5.0
"""How long for one that reads slowly."""
_PIECE_BYTES = 4096
_TOUCHED = ("SIGTSTP", "SIGCONT", "SIGWINCH", "SIGTTIN", "SIGTTOU")
_LEAVE = (
    "\x18\x1b[?2026l"  # no half-written sequence goes on, no half-drawn frame is held back
    "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"  # mouse
    "\x1b[?2004l\x1b[?2048l\x1b[?1004l\x1b[?7h"  # paste, resize and focus reports; line wrap
    "\x1b[<u"  # keyboard, before the screen is left
    "\x1b[?1049l\x1b[?25h\x1b[0m"  # main screen, cursor, colours
)


class TerminalFile:
    """The terminal as the writer's thread sees it: writing never fails, and ends for good when the terminal is gone.

    It writes past `sys.stderr`, whose buffer would keep what could not be written and fail again when Python ends.
    """

    def __init__(self, descriptor: int, encoding: str, *, on_gone: Callable[[], None], on_idle: Callable[[], None]):
        self._descriptor = descriptor
        self._encoding = encoding
        self._on_gone = on_gone
        self._on_idle = on_idle
        self._parts: list[str] = []
        self.is_closed = False
        self.written = 0
        """Bytes so far, piece by piece: by this it is seen whether the terminal reads."""

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> None:
        """Keep `text` for the next flush."""
        if not self.is_closed:
            self._parts.append(text)

    def flush(self) -> None:
        """Write what was kept."""
        data = "".join(self._parts).encode(self._encoding, "replace")
        self._parts.clear()
        while data and not self.is_closed:
            try:
                taken = os.write(self._descriptor, data[:_PIECE_BYTES])
                self.written += taken
                data = data[taken:]
            except BlockingIOError:  # another program left the terminal non-blocking
                select.select([], [self._descriptor], [], _PATIENCE_S)
            except OSError:
                self.is_closed = True
                self._on_gone()
        self._on_idle()


class SafeDriver(LinuxDriver):
    """LinuxDriver that notices the loss of its terminal, never holds the loop, and gives everything back."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        self._handlers = {name: signal.getsignal(getattr(signal, name)) for name in _TOUCHED}
        super().__init__(app, **options)
        self._terminals = [descriptor for descriptor in _STREAMS if os.isatty(descriptor)]
        stream = sys.__stderr__
        assert stream is not None
        self._terminal = TerminalFile(
            stream.fileno(), stream.encoding, on_gone=self._report_loss, on_idle=self._catch_up_soon
        )
        self._file = cast(Any, self._terminal)
        self._context = contextvars.copy_context()  # the app's; the threads that call back have none
        self._is_lost = threading.Event()
        self._is_behind = False
        self._leave_by: float | None = None
        atexit.register(restore_terminal)

    @property
    def is_reachable(self) -> bool:
        """Whether what is written now will be shown."""
        return self._writer_thread is not None and not (self._is_behind or self._terminal.is_closed)

    # -- out ---------------------------------------------------------------------------------------------------------
    def write(self, data: str) -> None:
        """Textual's blocks when 30 writes wait: a dropped connection would hold the engine until it times out. Here
        they are left out, and all is drawn anew when the terminal reads again."""
        thread = self._writer_thread
        if thread is None or self._terminal.is_closed:
            return
        queue = thread._queue
        if self._leave_by is not None:
            with suppress(Full):
                queue.put(data, timeout=max(0.0, self._leave_by - time.monotonic()))
            return
        if self._is_behind:
            if not queue.empty():
                return
            self._catch_up()
        try:
            queue.put_nowait(data)
        except Full:
            self._is_behind = True

    def _catch_up_soon(self) -> None:
        """In the writer's thread, whenever all has been written."""
        if self._is_behind:
            self._soon(self._catch_up)

    def _catch_up(self) -> None:
        self._is_behind = False
        self._app.refresh()

    # -- in ----------------------------------------------------------------------------------------------------------
    def _run_input_thread(self) -> None:
        """Textual's shows a traceback as it is."""
        try:
            self.run_input_thread()
        except Exception as error:  # noqa: BLE001 - the boundary of the thread: the app tells it
            self._soon(self._app._handle_exception, error)

    def run_input_thread(self) -> None:
        """Hand on keys until told to stop. Textual's spins when the input has ended, and dies of bytes that are no
        UTF-8."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        try:
            while not self.exit_event.is_set():
                if select.select([self.fileno], [], [], _TICK_S)[0]:
                    data = self._read()
                    if data is None:
                        self._report_loss()
                        return
                    if text := decode(data):
                        for message in parser.feed(text):
                            self.process_message(message)
                for message in parser.tick():
                    self.process_message(message)
        finally:
            with suppress(EOFError, ParseError):
                for _ in parser.feed(""):
                    pass

    def _read(self) -> bytes | None:
        """What has been typed; None if nothing can come any more."""
        try:
            data = os.read(self.fileno, 4096)
        except BlockingIOError:
            return b""
        except OSError:
            return None
        # Somebody else may have put a terminal that lives into line mode, where Ctrl+D reads as an end.
        return data if data or os.isatty(self.fileno) else None

    # -- loss --------------------------------------------------------------------------------------------------------
    def _report_loss(self) -> None:
        """From any thread, as often as one likes."""
        if not self._is_lost.is_set():
            self._is_lost.set()
            self._soon(self._lose)

    def _lose(self) -> None:
        """A terminal that is gone becomes /dev/null, so that nothing that is told later fails or waits."""
        for descriptor in self._terminals:
            if not os.isatty(descriptor):
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, descriptor)
                os.close(null)
        if not report_loss():
            self._app.exit()

    def _soon(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: there is nothing left to tell
            self._loop.call_soon_threadsafe(call, *arguments, context=self._context)

    # -- beginning and end -------------------------------------------------------------------------------------------
    def start_application_mode(self) -> None:
        self._leave_by, self._is_behind = None, False
        super().start_application_mode()  # type: ignore[no-untyped-call] # Textual's own
        if self._writer_thread is not None:  # else we are in the background, and sleep on
            begin_drawing(self.restore)

    def stop_application_mode(self) -> None:
        """Textual's leaves the mouse's reports in pixels on."""
        self._leave_by = time.monotonic() + _PATIENCE_S
        if self._is_behind and self._writer_thread is not None:
            with suppress(Empty):  # old frames: a slow terminal would take them first, and the end too late
                while True:
                    self._writer_thread._queue.get_nowait()
        super().stop_application_mode()
        self.write("\x1b[?1016l")
        end_drawing(self.restore)

    def suspend_application_mode(self) -> None:
        self.stop_application_mode()
        self._stop_writer()

    def close(self) -> None:
        """Textual's leaves its signal handlers in place: Ctrl+Z after the app has ended would draw it again."""
        self._stop_writer()
        for name, handler in self._handlers.items():
            if handler is not None:  # None: it was not set from Python
                signal.signal(getattr(signal, name), handler)

    def _stop_writer(self) -> None:
        """Textual's waits for ever if the terminal does not read. The thread is a daemon: it may stay behind."""
        thread, self._writer_thread = self._writer_thread, None
        if thread is not None:
            with suppress(Full):
                thread._queue.put(None, timeout=_PATIENCE_S)
            deadline, before = time.monotonic() + _SLOW_S, -1
            while thread.is_alive() and self._terminal.written != before and time.monotonic() < deadline:
                before = self._terminal.written
                thread.join(_PATIENCE_S)

    def restore(self) -> None:
        """Give the terminal back from wherever we are; what waits to be drawn is thrown away."""
        self._terminal.is_closed = True
        end_drawing(self.restore)
        descriptor = self._terminal.fileno()
        with suppress(OSError, ValueError):
            if select.select([], [descriptor], [], _PATIENCE_S)[1]:
                os.write(descriptor, _LEAVE.encode())
        if self.attrs_before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)

    # -- stopped and continued ---------------------------------------------------------------------------------------
    def _sigtstp_application(self, *_: object) -> None:
        """In the loop: a signal handler may come while the loop holds the writer's queue, and would wait for ever."""
        if self._auto_restart:
            self._soon(super()._sigtstp_application)
        else:  # the app has lent the terminal out, to an editor perhaps, and the loop stands still
            os.kill(os.getpid(), signal.SIGSTOP)

    def _sigcont_application(self, *_: object) -> None:
        if self._auto_restart:
            self._soon(self._continue)

    def _continue(self) -> None:
        """Textual's starts over a terminal that it has never left (SIGSTOP, and every hangup, end in SIGCONT): two
        threads for keys, of which one never ends, and settings that are never put back."""
        if self.input_tty and not os.isatty(self.fileno):
            self._report_loss()
            return
        if self._writer_thread is not None:
            if not self._is_in_foreground():
                os.kill(os.getpid(), signal.SIGSTOP)
                return
            self.suspend_application_mode()
        self.resume_application_mode()
        self._app.refresh()

    def _is_in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self.fileno) == os.getpgrp()
        except OSError:  # not our session's terminal
            return True


__all__ = ["SafeDriver", "TerminalFile"]
