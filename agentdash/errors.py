"""One base for every error a user may see: a title, a message and a hint, never a traceback."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import ClassVar

_NO_THREAD = "can't start new thread"


class ExitCode(IntEnum):
    """Process exit codes of the `agentdash` command."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    FAILED_TASKS = 3
    STALLED = 4
    INTERRUPTED = 130


class AgentdashError(Exception):
    """Something the user can read and act on.

    `message` says what is wrong and where; `hint` says what to do about it. Neither may hold a secret.
    """

    title: ClassVar[str] = "Error"
    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(cls: type[AgentdashError], message: str, hint: str | None) -> AgentdashError:
    error = cls.__new__(cls)
    AgentdashError.__init__(error, message, hint=hint)
    return error


class UsageError(AgentdashError):
    """A wrong option, argument, setting or environment variable."""

    title = "Bad usage"
    exit_code = ExitCode.USAGE


class BadInputError(AgentdashError):
    """A task file that cannot be taken as it is."""

    title = "Bad input"
    exit_code = ExitCode.USAGE


class CredentialsError(AgentdashError):
    """No key, or a key that cannot be used as written."""

    title = "No usable credentials"
    exit_code = ExitCode.USAGE


class StoreError(AgentdashError):
    """The project's database or folder cannot be used."""

    title = "Project folder"
    exit_code = ExitCode.USAGE


class StoreWriteError(StoreError):
    """A write failed while running (disk full, read-only, I/O error): claiming stops, nothing is overwritten."""

    title = "Cannot write"
    exit_code = ExitCode.INTERNAL


class LockError(AgentdashError):
    """A lock file could not be opened or written for a reason other than contention."""

    title = "Lock"
    exit_code = ExitCode.USAGE


class TransitionError(AgentdashError):
    """A change of state that the transition table does not allow."""

    title = "Not possible"
    exit_code = ExitCode.USAGE


class NoMemoryError(AgentdashError):
    """Memory could not be had: what waits for what cannot be trusted any more, so the run ends."""

    title = "Out of memory"

    def __init__(self) -> None:
        super().__init__(
            "the system gives this process no more memory; its running tasks go back to pending.",
            hint="Nothing is lost: run again, with fewer --workers or more memory.",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return NoMemoryError, ()


def means_no_memory(error: BaseException) -> bool:
    """Whether memory could not be had, in the words of the interpreter or of the system; threads need some, too."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_THREAD in str(error))


class InterruptedRunError(AgentdashError):
    """The user stopped the command before there was anything to drain."""

    title = "Interrupted"
    exit_code = ExitCode.INTERRUPTED
