"""A small app that uses the dashboard's terminal and crash handling, to be run in a terminal of its own.

Its argument is a folder, where it tells what it meets: `journal` (a word a line) and `beats`, which its event loop
counts up as long as it is free. `nohup` as a further argument: it is not ended by SIGHUP.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from agentdash.loopguard import guard_loop
from agentdash.secret import Secret
from agentdash.ui.crash import RedactedCrash
from agentdash.ui.terminal import TerminalWatch, copy_to_clipboard, dashboard_driver, restore_terminal

PLACE = Path(sys.argv[1])
PATTERNED = "sk-ant-canary-" + "0123456789"
KNOWN = "a key like no other"


def note(word: str) -> None:
    with (PLACE / "journal").open("a") as journal:
        journal.write(f"{word}\n")


class TinyApp(RedactedCrash, App[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "quit"),
        ("c", "break", "break"),
        ("w", "break_worker", "break a worker"),
        ("t", "break_task", "break a bare task"),
        ("f", "flood", "draw all the time, or no more"),
        ("y", "copy", "copy"),
        ("z", "suspend_process", "into the background"),
        ("x", "leave_at_once", "leave by os._exit"),
        ("k", "interrupt", "raise KeyboardInterrupt"),
        ("e", "lend", "lend the terminal out"),
    ]
    flooding = False

    @property
    def log_path(self) -> Path:
        return PLACE / "tiny.log"

    def compose(self) -> ComposeResult:
        yield Static("first line", id="first")
        yield Static("", id="body")
        yield Static("last line", id="last")

    def on_mount(self) -> None:
        self.set_interval(0.01, self.draw)

    def draw(self) -> None:
        if self.flooding:
            self.body.update("\n".join(f"flood {self.beats} " * 20 for _ in range(40)))

    def action_flood(self) -> None:
        self.flooding = not self.flooding
        if not self.flooding:
            self.body.update("calm")

    @property
    def body(self) -> Static:
        return self.query_one("#body", Static)

    def action_break(self) -> None:
        key, secret = PATTERNED, Secret(KNOWN)
        raise TypeError(f"{key} was refused, and {secret.reveal()} too")

    def action_break_worker(self) -> None:
        async def work() -> None:
            self.action_break()

        self.run_worker(work())

    def action_break_task(self) -> None:
        async def work() -> None:
            self.action_break()

        _ = asyncio.create_task(work(), name="nobody waits")  # noqa: RUF006 - the point: it is forgotten

    def action_copy(self) -> None:
        note(f"copied {copy_to_clipboard(self, 'text to copy')}")

    def action_leave_at_once(self) -> None:
        self.action_flood()
        restore_terminal()
        os._exit(5)

    def action_interrupt(self) -> None:
        raise KeyboardInterrupt

    def action_lend(self) -> None:
        with self.suspend():
            sys.stderr.write("lent out\n")
            sys.stderr.flush()
            sys.stdin.readline()

    beats = 0

    async def beat(self) -> None:
        while True:
            self.beats += 1
            reachable = getattr(self._driver, "is_reachable", None)
            (PLACE / "beats.new").write_text(f"{self.beats} {reachable}")
            (PLACE / "beats.new").replace(PLACE / "beats")
            await asyncio.sleep(0.01)


async def main() -> None:
    logging.getLogger("agentdash").addHandler(logging.FileHandler(PLACE / "tiny.log"))
    if "nohup" in sys.argv:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, note, "hup")
    app = TinyApp(driver_class=dashboard_driver())

    def lost() -> None:
        note("lost")
        app.exit()

    guard_loop(asyncio.get_running_loop(), note)
    beating = asyncio.create_task(app.beat())
    with TerminalWatch(lost):
        await app.run_async()
    beating.cancel()
    note("left" if app.crash is None else f"crashed {type(app.crash).__name__}")


if __name__ == "__main__":
    asyncio.run(main())
