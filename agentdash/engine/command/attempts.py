"""What an attempt leaves on the disk: the output of its program, and what the next attempt has to know.

`.agentdash/attempts/TASK/N.log` and `.agentdash/attempts/TASK/session.json`, for their owner only.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agentdash.clock import Clock
from agentdash.engine.locks import lock_file_name
from agentdash.engine.log import LOGGER
from agentdash.model import KeptOutput

MOST_BYTES: Final = 16 << 20
"""Of one attempt's output file: of a longer output the beginning and the end are kept."""
_KEPT_HEAD: Final = 1 << 20
_KEPT_TAIL: Final = 4 << 20
_CUT: Final = b"\n[... here is output that is not kept ...]\n"
_SHOWN_BYTES: Final = 64 << 10
_LOOK_BACK: Final = 5
_SESSION: Final = "session.json"
_WRITE_S: Final = 0.25
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_ONE_CASE: Final = sys.platform in ("darwin", "win32")


def safe_name(task_id: str) -> str:
    """A task's name as part of a path: as that of its lock file, so it is short and never shared by two tasks."""
    return lock_file_name(task_id, one_case=_ONE_CASE).removesuffix(".lock")


def log_path(folder: Path, task_id: str, attempt: int) -> Path:
    """Where the output of an attempt is kept, in the folder of all attempts."""
    return folder / safe_name(task_id) / f"{attempt}.log"


def last_output(folder: Path, task_id: str, attempts: Sequence[int]) -> KeptOutput | None:
    """The end of what the newest of these attempts has written that wrote anything; None if none did."""
    for attempt in reversed(attempts[-_LOOK_BACK:]):
        path = log_path(folder, task_id, attempt)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
            with open(descriptor, "rb", buffering=0) as file:
                size = os.fstat(descriptor).st_size
                left_out = max(0, size - _SHOWN_BYTES)
                file.seek(left_out)
                text = file.read(_SHOWN_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        if text:
            return KeptOutput(attempt, str(path), text, left_out)
    return None


class AttemptFiles:
    """The files of a project's attempts, in `folder`."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock

    def open_log(self, task_id: str, attempt: int) -> AttemptLog:
        """The output file of an attempt that begins."""
        return AttemptLog(log_path(self.folder, task_id, attempt), self._clock)

    def session(self, task_id: str) -> Mapping[str, Any]:
        """What earlier attempts have left for the next one; nothing if there is none, or it cannot be read."""
        try:
            found = json.loads((self._of(task_id) / _SESSION).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def keep_session(self, task_id: str, session: Mapping[str, Any]) -> None:
        """Write down what the next attempt has to know, whole or not at all. Raises OSError."""
        place = self._of(task_id)
        _make_folder(place)
        new = place / f"{_SESSION}.tmp"
        with open(os.open(new, _OPEN, 0o600), "w", encoding="ascii") as file:
            json.dump(dict(session), file)
        os.replace(new, place / _SESSION)

    def _of(self, task_id: str) -> Path:
        return self.folder / safe_name(task_id)


class AttemptLog:
    """The output file of one attempt: what is added is written a few times a second, in a thread.

    A disk that does not take it costs the output file, never the task.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._added: list[str] = []
        self._descriptor = -1
        self._failed = False
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AttemptLog:
        self._writer = asyncio.create_task(self._keep_writing(), name="agentdash attempt log")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.cancel()
            with suppress(asyncio.CancelledError):
                await self._writer
        await asyncio.to_thread(self._end)

    def add(self, text: str) -> None:
        """Keep some more of the output."""
        self._added.append(text)

    async def _keep_writing(self) -> None:
        while True:
            await self._clock.sleep(_WRITE_S)
            if self._added:
                await asyncio.shield(asyncio.to_thread(self._write))

    def _write(self) -> None:
        added, self._added = self._added, []
        if self._failed or not added:
            return
        try:
            if self._descriptor < 0:
                _make_folder(self.path.parent)
                self._descriptor = os.open(self.path, _OPEN | os.O_APPEND, 0o600)
            data = "".join(added).encode("utf-8", "replace")
            while data:
                data = data[os.write(self._descriptor, data) :]
            if (size := os.fstat(self._descriptor).st_size) > MOST_BYTES:
                self._leave_out_the_middle(size)
        except OSError as error:
            self._failed = True
            LOGGER.warning("the output of an attempt cannot be kept: %s", error, extra={"action": "attempt_log"})

    def _leave_out_the_middle(self, size: int) -> None:
        tail = os.pread(self._descriptor, _KEPT_TAIL, size - _KEPT_TAIL)
        os.ftruncate(self._descriptor, _KEPT_HEAD)
        os.write(self._descriptor, _CUT + tail)

    def _end(self) -> None:
        self._write()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _make_folder(place: Path) -> None:
    """A task's folder, for its owner only."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
