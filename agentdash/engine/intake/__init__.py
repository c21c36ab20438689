"""Task files to tasks: the only part that knows what users may write, so that the store can trust every `TaskSpec`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Literal

from agentdash.engine.intake.bad import BadLine, BadLines
from agentdash.engine.intake.fields import EXTENSION_FIELDS
from agentdash.engine.intake.readers import read_jsonl, read_prompt_lines
from agentdash.engine.intake.sources import Source, read_source, resolve, source_stamp
from agentdash.model import TaskSpec

__all__ = ["EXTENSION_FIELDS", "BadLine", "BadLines", "read_tasks", "source_stamp"]


def read_tasks(
    sources: Sequence[str],
    *,
    stdin: BinaryIO | None = None,
    bad: BadLines,
    stdin_format: Literal["jsonl", "txt"] = "jsonl",
) -> Iterator[TaskSpec]:
    """Stream the tasks of files, directories and `-` (standard input), in that order; no file is held in memory.

    Bad lines go to `bad`; the caller decides, after the last task, whether to raise `bad.error()` or to go on without
    them. Ids may repeat: whoever stores the tasks sees that.

    Raises BadInputError at once (before any task is read) for a source that is missing or of no known format, and
    while iterating for one that is empty, not UTF-8, or broken as a whole.
    """
    resolved = resolve(sources, read_prompt_lines if stdin_format == "txt" else read_jsonl)
    return _read_all(resolved, stdin or _standard_input(), bad)


def _standard_input() -> BinaryIO:
    """Nothing to read where it was closed before the start."""
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer


def _read_all(sources: list[Source], stdin: BinaryIO, bad: BadLines) -> Iterator[TaskSpec]:
    for source in sources:
        yield from read_source(source, stdin, bad)
