"""Runs a task as a command: an agent's own program, watched, bounded, and ended with all that it started."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.children import Child, Children
from agentdash.engine.command.attempts import AttemptFiles, AttemptLog, safe_name
from agentdash.engine.command.environment import child_environment
from agentdash.engine.command.output import Lines, Tail
from agentdash.engine.command.recipe import Recipe, values_of
from agentdash.engine.command.template import MissingValueError
from agentdash.engine.command.verdict import Ended, OutputReader
from agentdash.engine.failures import StatedFailureError
from agentdash.engine.log import LOGGER
from agentdash.engine.processors.base import TaskContext
from agentdash.engine.processors.patience import Patience
from agentdash.engine.workspaces import Workspaces
from agentdash.model import Answer, FailureClass, Task

Keeper = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Writes down what the next attempt has to know."""

_CHUNK: Final = 1 << 16
_LAST_WORDS: Final = 8192
_LEFTOVERS_GRACE_S: Final = 2.0
_READ_REST_S: Final = 5.0
"""After a program and all it started have ended: what they wrote is in the pipes, or in the hands of who left them."""


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """What a run says about its commands. Times in seconds; `grace_s` is how long a program that is told to end may
    take to do that."""

    project: Path
    state: Path
    timeout_s: float = 1800.0
    grace_s: float = 10.0
    model: str | None = None
    system: str | None = None


class CommandProcessor:
    """`Processor` that starts a program for each task, in the task's folder and with the leased key.

    With `workspaces` that folder is in a git worktree of the task's own.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: CommandSettings,
        *,
        workspaces: Workspaces | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.needs_credentials = recipe.needs_key
        self.brings_own_client = True
        self._recipe = recipe
        self._settings = settings
        self._workspaces = workspaces
        self._children = Children(settings.state / "children")
        self._files = AttemptFiles(settings.state / "attempts", clock=clock)

    async def run(self, task: Task, context: TaskContext) -> Answer:
        """Run the task's program to its end. Raises `StatedFailureError`."""
        session = self._files.session(task.id) if self._recipe.goes_on else {}
        workdir = await self._workdir(task)
        arguments, given = self._command(task, context, workdir, session)
        reader = self._recipe.new_reader(session)
        async with self._files.open_log(task.id, context.attempt) as log:
            child = await self._start(task, context, arguments, workdir, reads=given is not None)
            try:
                follower = _Follower(child, reader, log, context, partial(self._keep, task.id))
                ended = await self._until_end(follower, given)
            finally:
                await child.end(self._settings.grace_s)
        answer = reader.answer(ended)
        if self._workspaces is None:
            return answer
        value = answer.value if isinstance(answer.value, Mapping) else {}
        return replace(answer, value={**value, "worktree": await self._workspaces.finish(task.id)})

    async def check(self) -> None:
        """Before the run begins: nothing of an earlier one may be at work any more. Raises `UsageError` where there can
        be no worktrees."""
        await self._children.sweep()
        if self._workspaces is not None:
            await self._workspaces.open()

    async def check_tasks(self, payloads: Iterable[Mapping[str, Any]]) -> None:
        """Before the first of them. Raises `UsageError` where those that name no folder can have no worktree."""
        if self._workspaces is not None and any("workdir" not in payload for payload in payloads):
            await self._workspaces.check_folder(self._settings.project)

    async def close(self) -> None:
        """After the last task."""
        self._children.close()

    async def _workdir(self, task: Task) -> Path:
        """Where a task works. Raises `StatedFailureError`."""
        workdir = self._named_folder(task)
        if self._workspaces is None:
            return workdir
        try:  # what a run that died has left may still be at work in it
            await self._children.end_orphans(safe_name(task.id))
        except OSError as error:
            raise StatedFailureError(FailureClass.SERVICE, str(error), error_type="NotStarted") from error
        return await self._workspaces.prepare(task.id, workdir)

    def _named_folder(self, task: Task) -> Path:
        project = Path(os.path.abspath(self._settings.project))
        named = task.payload.get("workdir")
        workdir = project / named if isinstance(named, str) else project
        if not workdir.is_dir():
            is_the_tasks = project.is_dir()  # a project that was moved may come back
            raise StatedFailureError(
                FailureClass.TASK if is_the_tasks else FailureClass.SERVICE,
                f"there is no folder {workdir}",
                error_type="NoWorkdir",
                permanent=is_the_tasks,
            )
        return workdir

    def _command(
        self, task: Task, context: TaskContext, workdir: Path, session: Mapping[str, Any]
    ) -> tuple[list[str], bytes | None]:
        credential = context.credential
        metadata = task.payload.get("metadata")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        try:
            values = values_of(
                task,
                workdir=workdir,
                attempt=context.attempt,
                model=(credential.model if credential else None) or self._settings.model,
                system=self._settings.system,
                session=session,
                max_cost=context.max_cost,
            )
            arguments = self._recipe.arguments(values, metadata)
            given = self._recipe.input(values, metadata)
        except MissingValueError as error:
            raise StatedFailureError(FailureClass.TASK, str(error), error_type="MissingValue", permanent=True) from None
        if any("\0" in argument for argument in arguments):
            raise StatedFailureError(
                FailureClass.TASK, "an argument cannot hold a NUL character", error_type="BadArgument", permanent=True
            )
        return arguments, given

    async def _start(
        self, task: Task, context: TaskContext, arguments: list[str], workdir: Path, *, reads: bool
    ) -> Child:
        environment = child_environment(
            os.environ,
            context.credential,
            passed=self._recipe.passed,
            fixed=self._recipe.environment,
            base_url_suffix=self._recipe.base_url_suffix,
            task_id=task.id,
            attempt=context.attempt,
        )
        try:
            _check_program(arguments[0], workdir, environment.get("PATH", os.defpath))
            return await self._children.start(
                arguments, task=safe_name(task.id), cwd=workdir, environment=environment, reads=reads
            )
        except OSError as error:
            raise _not_started(error, arguments[0]) from error

    async def _until_end(self, follower: _Follower, given: bytes | None) -> Ended:
        ends = asyncio.get_running_loop().time() + self._settings.timeout_s
        patience = Patience(ends, ends=ends)
        try:
            async with patience:
                return await follower.follow(given)
        except TimeoutError:
            if not patience.is_over:
                raise
            raise StatedFailureError(
                FailureClass.TASK, f"not finished within {self._settings.timeout_s:g} s", error_type="TimeoutError"
            ) from None

    async def _keep(self, task_id: str, session: Mapping[str, Any]) -> None:
        try:
            await asyncio.to_thread(self._files.keep_session, task_id, session)
        except OSError as error:  # the next attempt begins anew
            LOGGER.warning("a session cannot be kept: %s", error, extra={"action": "attempt_log"})


class _Follower:
    """Reads everything that one program writes, until it has ended with all that it started."""

    def __init__(self, child: Child, reader: OutputReader, log: AttemptLog, context: TaskContext, keep: Keeper) -> None:
        self._child = child
        self._reader = reader
        self._log = log
        self._context = context
        self._keep = keep
        self._said = Tail(_LAST_WORDS)
        self._complained = Tail(_LAST_WORDS)

    async def follow(self, given: bytes | None) -> Ended:
        """To the end. Raises what the reader does when it has read enough to know that it is no use."""
        giving = [asyncio.create_task(self._child.give(given))] if given is not None else []
        reading = [asyncio.create_task(self._read_output()), asyncio.create_task(self._read_errors())]
        ending = asyncio.create_task(self._exit_code())
        try:
            waits_for = {ending, *reading}
            while not ending.done():
                done, waits_for = await asyncio.wait(waits_for, return_when=asyncio.FIRST_COMPLETED)
                for job in done:
                    job.result()  # raises
            await asyncio.wait(reading, timeout=_READ_REST_S)
            for job in reading:
                if job.done():
                    job.result()
        finally:
            for task in (*giving, *reading, ending):
                task.cancel()
            await asyncio.gather(*giving, *reading, ending, return_exceptions=True)
        return Ended(ending.result(), self._said.text + self._complained.text)

    async def _exit_code(self) -> int:
        """The exit code, when all that the program started has ended as well."""
        code = await self._child.exit_code()
        await self._child.stop(_LEFTOVERS_GRACE_S)
        return code

    async def _read_output(self) -> None:
        lines = Lines()
        while data := await self._child.output.read(_CHUNK):
            await self._take(lines.feed(data))
        await self._take(lines.end())

    async def _take(self, lines: list[str]) -> None:
        for line in lines:
            self._said.add(line)
            self._log.add(line)
            if shown := self._reader.read(line):
                self._context.progress(shown)
            if (wait := self._reader.wait()) is not None:
                self._context.waits(*wait)
        if (session := self._reader.session()) is not None:
            await self._keep(session)

    async def _read_errors(self) -> None:
        lines = Lines()
        while data := await self._child.errors.read(_CHUNK):
            self._complain(lines.feed(data))
        self._complain(lines.end())

    def _complain(self, lines: list[str]) -> None:
        for line in lines:
            self._complained.add(line)
            self._log.add(line)
            self._context.progress(line)


def _check_program(program: str, workdir: Path, path: str) -> None:
    """Raises `StatedFailureError` for a program that is not there: what starts it would only end with a code."""
    found = shutil.which(program, path=path) if os.sep not in program else shutil.which(workdir / program)
    if found is None:
        raise StatedFailureError(
            FailureClass.TASK, f"there is no program {program}", error_type="NotStarted", permanent=True
        )


def _not_started(error: OSError, program: str) -> StatedFailureError:
    """A program that could not be started, though it is there: too long arguments are the task's, all else the
    machine's (no memory, no descriptors, a folder that has gone)."""
    if error.errno == errno.E2BIG:
        return StatedFailureError(
            FailureClass.TASK,
            "the arguments are too long for this system: give the prompt on standard input (command_stdin)",
            error_type="ArgumentsTooLong",
            permanent=True,
        )
    return StatedFailureError(
        FailureClass.SERVICE,
        f"{os.path.basename(program)} cannot be started: {os.strerror(error.errno) if error.errno else error}",
        error_type="NotStarted",
    )
