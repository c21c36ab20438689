"""What the user named on the command line: which files there are, in which format, and whether they changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from agentdash.engine.intake.bad import BadLines, Reject, printable
from agentdash.engine.intake.readers import (
    Reader,
    read_csv,
    read_json,
    read_jsonl,
    read_prompt_file,
    read_prompt_lines,
)
from agentdash.engine.intake.text import EncodingError
from agentdash.errors import BadInputError
from agentdash.model import TaskSpec

READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".txt": read_prompt_lines,
    ".csv": read_csv,
}
PROMPT_FILES = (".md", ".txt")
"""Files in a directory that hold one prompt each."""

_RULES_VERSION = 1
"""Part of every stamp: raised when the same bytes would give other tasks."""


class Kind(Enum):
    """How a source is read."""

    STDIN = "stdin"
    LINES = "lines"
    PROMPT = "prompt"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Source:
    """One thing to read: `path` as the user gave it, `name` the same made printable, for messages."""

    kind: Kind
    path: str
    name: str
    reader: Reader = read_jsonl


def resolve(sources: Sequence[str], stdin_reader: Reader) -> list[Source]:
    """Look at every source before any is read, so that a typo in the last one costs nothing.

    Raises BadInputError for a missing or unreadable file, an unknown extension, or `-` given twice.
    """
    resolved: list[Source] = []
    for path in sources:
        if path != "-":
            resolved.append(_resolve_path(path))
        elif any(source.kind is Kind.STDIN for source in resolved):
            raise BadInputError("'-' is given twice: standard input can be read only once")
        else:
            resolved.append(Source(Kind.STDIN, path, "stdin", stdin_reader))
    return resolved


def _resolve_path(path: str) -> Source:
    name = printable(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise BadInputError(f"{name or repr(name)}: no such file") from None
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if stat.S_ISDIR(mode):
        return Source(Kind.FOLDER, path, name)
    extension = Path(path).suffix.lower()
    if extension == ".md":
        return Source(Kind.PROMPT, path, name)
    if extension not in READERS:
        what = f"unknown extension '{printable(extension)}'" if extension else "no extension tells its format"
        known = ", ".join((*READERS, ".md"))
        raise BadInputError(f"{name}: {what}", hint=f"Known are {known}, and - for JSON lines on standard input.")
    return Source(Kind.LINES, path, name, READERS[extension])


def read_source(source: Source, stdin: BinaryIO, bad: BadLines) -> Iterator[TaskSpec]:
    """The tasks of one source. Raises BadInputError when it cannot be read or holds neither task nor bad line."""
    bad_before = bad.count
    try:
        tasks = _open_source(source, stdin, bad)
        first = next(tasks, None)
        if first is not None:
            yield first
            yield from tasks
            return
    except OSError as error:
        raise _unreadable(source.name, error) from error
    if bad.count == bad_before:
        if source.kind is Kind.FOLDER:
            raise BadInputError(
                f"{source.name}: no task files in this directory",
                hint=f"Every {' or '.join(PROMPT_FILES)} file in it is one prompt; name other task files one by one.",
            )
        raise BadInputError(f"{source.name}: holds no tasks (the file is empty)")


def _open_source(source: Source, stdin: BinaryIO, bad: BadLines) -> Iterator[TaskSpec]:
    if source.kind is Kind.STDIN:
        yield from source.reader(stdin, source.name, bad)
    elif source.kind is Kind.FOLDER:
        yield from _read_folder(source, bad)
    elif source.kind is Kind.PROMPT:
        with open(source.path, "rb") as stream:
            try:
                yield read_prompt_file(stream, source.name, Path(source.path).stem)
            except Reject as reject:
                if os.path.getsize(source.path):
                    bad.add(source.name, 1, str(reject))
    else:
        with open(source.path, "rb") as stream:
            yield from source.reader(stream, source.name, bad)


def _read_folder(source: Source, bad: BadLines) -> Iterator[TaskSpec]:
    """Each prompt file is one task, so a file that is no text is one bad line and not the end."""
    for relative in prompt_files(source.path):
        name = printable(os.path.join(source.path, relative))
        task_id = Path(relative).with_suffix("").as_posix()
        with open(os.path.join(source.path, relative), "rb") as stream:
            try:
                spec = read_prompt_file(stream, name, task_id)
            except EncodingError as error:
                bad.add(name, error.line, error.reason)
            except Reject as reject:
                bad.add(name, 1, str(reject))
            else:
                yield spec


def prompt_files(folder: str) -> Iterator[str]:
    """The relative paths of the prompt files in `folder` and below, by name; hidden ones are left out.

    Links to directories are not followed: they may lead in circles.
    """
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or Path(name).suffix.lower() not in PROMPT_FILES:
                continue
            path = os.path.join(parent, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, folder)


def source_stamp(path: str | os.PathLike[str]) -> str | None:
    """A short text that stays the same while the file does: size, time of change, inode. Take it before reading.

    A directory's covers each of its prompt files. None means it cannot be known (standard input, a pipe, a missing
    file): read the source.
    """
    if path == "-":
        return None
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            return f"{_RULES_VERSION}:{_identity(status)}"
        if not stat.S_ISDIR(status.st_mode):
            return None
        digest = blake2b(digest_size=16)
        for relative in prompt_files(os.fspath(path)):
            identity = _identity(os.stat(os.path.join(path, relative)))
            digest.update(os.fsencode(relative) + f"\0{identity}\0".encode())
        return f"{_RULES_VERSION}:{digest.hexdigest()}"
    except (OSError, ValueError):
        return None


def _identity(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_dev}:{status.st_ino}"


def _raise(error: OSError) -> None:
    raise error


def _unreadable(name: str, error: OSError | ValueError) -> BadInputError:
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return BadInputError(f"{name}: cannot be read: {detail}")
