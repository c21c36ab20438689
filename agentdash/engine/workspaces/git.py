"""The git program: lists of arguments, a bounded time, no question asked, nothing of the user's that would steer it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from agentdash.engine.command.environment import PASSED
from agentdash.engine.whole import whole
from agentdash.errors import UsageError

GIT: Final = "git"
_PASSED: Final = (
    *PASSED, "SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_EXEC_PATH",
    "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_*",
    "GIT_CONFIG_VALUE_*",
)  # fmt: skip
"""What git gets of our environment: not what a hook or an alias of the user's has set, such as GIT_DIR."""
_ASKS_NOTHING: Final = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GCM_INTERACTIVE": "never", "GIT_EDITOR": ":",
    "GIT_SEQUENCE_EDITOR": ":", "GIT_PAGER": "cat", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "LANGUAGE": "C",
}  # fmt: skip
_OPTIONS: Final = tuple(
    part
    for setting in (
        f"core.hooksPath={os.devnull}", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false",
        "submodule.recurse=false", "commit.gpgSign=false", "i18n.commitEncoding=UTF-8",
    )
    for part in ("-c", setting)
)  # fmt: skip
"""No hook, no signature, and nothing that goes on in the background."""
_LIMIT_S: Final = 600.0
"""A large repository takes minutes to be checked out, on a slow disk."""
_LOCK_LIMIT_S: Final = 15.0
_LOCK_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
_KILL_AFTER_S: Final = 3.0
_LOCKED: Final = re.compile(r"\.lock'?: File exists")
_MOST_WORDS: Final = 600


class GitError(Exception):
    """git has failed: its exit code, and what it said. `busy`: somebody else held a lock for too long."""

    def __init__(self, arguments: Sequence[str], code: int, words: str) -> None:
        said = [line.strip() for line in words.splitlines() if line.strip()]
        fatal = [line for line in said if line.startswith(("fatal:", "error:"))] or said
        text = " ".join(fatal).removeprefix("fatal: ")[:_MOST_WORDS]
        name = next((argument for argument in arguments if not argument.startswith("-")), "")
        super().__init__(f"git {name}: {text or f'exit code {code}'}")
        self.code = code
        self.words = words
        self.busy = bool(_LOCKED.search(words))


def git_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a git that works for us."""
    passed = {name: text for name, text in ours.items() if any(fnmatchcase(name, pattern) for pattern in _PASSED)}
    return passed | _ASKS_NOTHING


def shown_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a git whose output is for the user: as is theirs, but for what names another repository."""
    return {name: text for name, text in ours.items() if not name.startswith("GIT_") or name in _SHOWN}


_SHOWN: Final = frozenset({"GIT_PAGER", "GIT_EXTERNAL_DIFF", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"})


async def git(
    *arguments: str,
    cwd: Path,
    variables: Mapping[str, str] | None = None,
    holds: int | None = None,
    codes: frozenset[int] = frozenset({0}),
) -> str:
    """Run git and return what it printed, without the last newline.

    `variables` are added to its environment. `holds` is a descriptor that it keeps open, so that the lock on it lasts
    as long as git does, also when this process is killed. Another's lock on the repository is waited for.
    Raises `GitError` for an exit code that is not in `codes`, and `UsageError` where there is no git.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LOCK_LIMIT_S
    pauses = iter(_LOCK_PAUSES_S)
    while True:
        code, out, words = await _run(arguments, cwd, variables or {}, () if holds is None else (holds,))
        if code in codes:
            return out.removesuffix("\n")
        error = GitError(arguments, code, words)
        if not error.busy or loop.time() > deadline:
            raise error
        await asyncio.sleep(next(pauses, _LOCK_PAUSES_S[-1]))


async def _run(
    arguments: Sequence[str], cwd: Path, variables: Mapping[str, str], kept: tuple[int, ...]
) -> tuple[int, str, str]:
    begin = asyncio.create_subprocess_exec(
        GIT,
        *_OPTIONS,
        *arguments,
        cwd=cwd,
        env={**git_environment(os.environ), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl+C is for us; and there is no terminal to ask on
        pass_fds=kept,
    )
    try:
        process = await whole(begin, _end)  # cancelled half-way, asyncio may wait for ever (Python 3.11)
    except FileNotFoundError as error:
        if not os.path.isdir(cwd):  # noqa: ASYNC240 - one look, where something has failed
            raise GitError(arguments, -1, f"there is no folder {cwd}") from error
        raise no_git() from None
    except OSError as error:
        raise GitError(arguments, -1, f"git cannot be started: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(_LIMIT_S):
            out, words = await process.communicate()
    except TimeoutError:
        await _end(process)
        raise GitError(arguments, -1, f"not finished within {_LIMIT_S:g} s") from None
    except BaseException:
        await whole(_end(process))
        raise
    return process.returncode or 0, os.fsdecode(out), os.fsdecode(words)


def no_git() -> UsageError:
    """There is no git program."""
    return UsageError("Worktrees need the program git, which is not there.", hint="Install git, or leave --worktree.")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asked to end, git removes its lock files."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(_KILL_AFTER_S):
                await process.wait()
                return
