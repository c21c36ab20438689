"""Programs as children of a run: each in a session of its own, and none outlives the run, however that ends.

Three things see to that: the run ends them itself where it can; a guardian process does when the run is killed; and
where that is killed as well, the kernel ends the program (parent-death signal, Linux) and the next run what it started.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from agentdash.engine.children import guardian
from agentdash.engine.children.guardian import MARK, MARK_BYTES, end_family, family, kill_family
from agentdash.engine.children.register import ChildRegister, end_left_behind
from agentdash.engine.whole import whole

_PIPE_BYTES = 1 << 18
_LOOK_S = 0.02
_ORPHANS_S = 20.0


class Children:
    """The programs of one run. `folder` (`.agentdash/children`) holds what must be known when the run dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._register: ChildRegister | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._one_by_one = asyncio.Lock()
        self._prefix = _dies_with_parent()

    async def start(
        self,
        arguments: Sequence[str],
        *,
        task: str,
        cwd: Path,
        environment: Mapping[str, str],
        reads: bool = False,
    ) -> Child:
        """Start a program for a task (a name of at most 143 characters). Raises OSError where that cannot be done.

        `reads`: whether it is given something on its standard input. What a run that died may have left running for
        the task is ended first.
        """
        await self.end_orphans(task)
        async with self._one_by_one:  # a start holds the loop for a few milliseconds
            start = self._start(arguments, task, cwd, environment, reads=reads)
            # Python 3.11 may wait for ever where the start of a program with pipes is cancelled in its first moments.
            return await whole(start, undo=lambda child: child.end(0))

    async def _start(
        self, arguments: Sequence[str], task: str, cwd: Path, environment: Mapping[str, str], *, reads: bool
    ) -> Child:
        register = self._open()
        mark = secrets.token_hex(MARK_BYTES)
        slot = register.add(mark, task)  # before it begins: a kill in between would leave what it starts to nobody
        streams: list[_Pipe] = []
        try:
            for _ in range(2):  # one by one: the first is closed if there is no second
                streams.append(await _open_pipe())  # noqa: PERF401
            process = await asyncio.create_subprocess_exec(
                *self._prefix,
                *arguments,
                cwd=cwd,
                env={**environment, MARK: mark},
                stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
                stdout=streams[0].write_end,
                stderr=streams[1].write_end,
                start_new_session=True,
            )
        except BaseException:
            for stream in streams:
                stream.transport.close()
            register.remove(slot)
            raise
        finally:
            for stream in streams:
                os.close(stream.write_end)
        try:
            register.begun(slot, process.pid, mark, task)
        except BaseException:
            end_family(process.pid, mark)
            register.remove(slot)
            await process.wait()
            raise
        return Child(process, mark, streams, register, slot)

    async def sweep(self) -> None:
        """End whatever runs that died have left running, for any task, and forget their registers."""
        await asyncio.to_thread(end_left_behind, self._folder)

    async def end_orphans(self, task: str) -> None:
        """End what a run that died has left running for a task. Raises OSError where it does not end."""
        deadline = asyncio.get_running_loop().time() + _ORPHANS_S
        while not end_left_behind(self._folder, task)[1]:
            if asyncio.get_running_loop().time() > deadline:
                raise OSError("what an earlier run started for this task does not end")
            await asyncio.sleep(_LOOK_S)

    def _open(self) -> ChildRegister:
        if self._register is None:
            self._register = ChildRegister(self._folder)
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", guardian.__file__, str(self._register.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={},
                cwd="/",
            )
        return self._register

    def close(self) -> None:
        """After the last program has ended."""
        register, self._register = self._register, None
        if register is not None:
            register.close()
        guard, self._guardian = self._guardian, None
        if guard is not None:
            if guard.stdin is not None:
                guard.stdin.close()
            guard.wait()


class Child:
    """One program, until `end`. `output` and `errors` are its streams."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        mark: str,
        streams: list[_Pipe],
        register: ChildRegister,
        slot: int,
    ) -> None:
        self.pid = process.pid
        self._mark = mark
        self.output = streams[0].reader
        self.errors = streams[1].reader
        self._process = process
        self._streams = streams
        self._register = register
        self._slot = slot

    async def give(self, data: bytes) -> None:
        """Write all of its standard input; a program that does not want it may leave it."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._process.stdin.write(data)
                await self._process.stdin.drain()
            self._process.stdin.close()

    async def exit_code(self) -> int:
        """Its exit code, when it ends by itself; the negative number of the signal that ended it."""
        return await self._process.wait()

    async def stop(self, grace_s: float) -> None:
        """See to it that nothing it started runs any more: SIGTERM to all, and SIGKILL `grace_s` later.

        What it wrote can still be read. Once more cancelled, it waits no longer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        try:  # looking at all processes takes some milliseconds: in a thread
            lives = await asyncio.to_thread(kill_family, self.pid, self._mark, signal.SIGTERM)
            while lives and loop.time() < deadline:
                await asyncio.sleep(_LOOK_S)
                lives = bool(await asyncio.to_thread(family, self.pid, self._mark))
        except BaseException:
            end_family(self.pid, self._mark)
            raise
        if lives:
            end_family(self.pid, self._mark)

    async def end(self, grace_s: float) -> None:
        """`stop`, and let go of its streams. To be called once, whatever happened."""
        try:
            await self.stop(grace_s)
        finally:
            self._register.remove(self._slot)
            for stream in self._streams:
                stream.transport.close()  # who has left the session may hold the other end for ever
            await asyncio.shield(self._process.wait())


class _Pipe(NamedTuple):
    """A stream of a program: what it writes into, and what reads it."""

    write_end: int
    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport


async def _open_pipe() -> _Pipe:
    """Not the pipes that `subprocess` makes: those cannot be closed while somebody else holds the other end."""
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader(_PIPE_BYTES)
    loop = asyncio.get_running_loop()
    file = os.fdopen(read_end, "rb", buffering=0)
    try:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    except BaseException:
        file.close()
        os.close(write_end)
        raise
    return _Pipe(write_end, reader, transport)


def _dies_with_parent() -> list[str]:
    """What to put before a command so that the kernel kills it when this process dies; nothing where there is none."""
    tool = shutil.which("setpriv") if sys.platform == "linux" else None
    if tool is None:
        return []
    fits = subprocess.run(
        [tool, "--pdeathsig", "KILL", "true"], capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    return [tool, "--pdeathsig", "KILL", "--"] if fits.returncode == 0 else []
