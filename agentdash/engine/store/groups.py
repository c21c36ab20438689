"""The failed tasks by kind of error: found, listed and exported in parts, whatever their number."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentdash.engine.errorpattern import SEEN_CHARS, pattern_of
from agentdash.engine.store.browse import BrowseReads
from agentdash.errors import StoreError
from agentdash.model import ErrorGroup

MAX_GROUPS = 1000
OTHER = "(other)"
"""The pattern, with no error type, of the group that holds what came after so many kinds."""

_PART = 5000
_PART_END = """
SELECT max(seq) FROM (SELECT seq FROM tasks INDEXED BY tasks_failed WHERE state = 3 AND seq > ? ORDER BY seq LIMIT ?)
"""
_KINDS = f"""
SELECT coalesce(error_type, ''), substr(coalesce(error_message, ''), 1, {SEEN_CHARS}), min(seq), {{what}}
FROM tasks INDEXED BY tasks_failed WHERE state = 3 AND seq > ? AND seq <= ? GROUP BY 1, 2 ORDER BY 3
"""
_LINES = "SELECT line FROM json_each(?) AS wanted CROSS JOIN results ON seq = wanted.value ORDER BY seq"

Kind = tuple[str, str]
"""An error type and the pattern of its messages."""


@dataclass(slots=True)
class _Found:
    message: str
    seq: int
    count: int = 0


class FailedTasks:
    """Groups the failed tasks over the reads of one thread. Keeps which kinds were told, and no task."""

    def __init__(self, reads: BrowseReads, *, most: int = MAX_GROUPS) -> None:
        self._reads = reads
        self._most = most
        self._told: frozenset[Kind] | None = None

    def groups(self) -> tuple[ErrorGroup, ...]:
        """The kinds of errors, the largest group first. Beyond a thousand of them the rest is one group."""
        found: dict[Kind, _Found] = {}
        other: _Found | None = None
        for kind, message, seq, count in self._kinds("count(*)"):
            group = found.get(kind)
            if group is None and len(found) < self._most:
                group = found[kind] = _Found(message, seq)
            elif group is None:
                group = other = other or _Found(message, seq)
            group.count += count
        self._told = frozenset(found)
        if other is not None:
            found["", OTHER] = other
        groups = [ErrorGroup(*kind, g.message, g.count, self._reads.id_of(g.seq)) for kind, g in found.items()]
        return tuple(sorted(groups, key=lambda group: -group.count))

    def ids(self, group: ErrorGroup) -> list[str]:
        """The tasks of a group, in the order of the file."""
        belongs = self._belongs(group)
        ids: list[str] = []
        for part in self._parts():
            found = [pair for kind, _, _, pairs in self._kinds_of(part, "json_group_array(json_array(seq, id))")
                     if belongs(kind) for pair in json.loads(pairs)]  # fmt: skip
            ids += [task_id for _, task_id in sorted(found)]
        return ids

    def export(self, group: ErrorGroup, path: Path) -> int:
        """Write the results lines of a group to a new file, for its owner only; returns how many."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        except FileExistsError:
            raise StoreError(f"{path} is there already. It was left as it is.", hint="Name another file.") from None
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            with open(descriptor, "wb") as file:
                written = 0
                for line in self._lines(group):
                    file.write(f"{line}\n".encode())
                    written += 1
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _unwritable(path, error) from None
            raise
        return written

    def _lines(self, group: ErrorGroup) -> Iterator[str]:
        belongs = self._belongs(group)
        for part in self._parts():
            seqs: list[int] = []
            for kind, _, _, found in self._kinds_of(part, "json_group_array(seq)"):
                if belongs(kind):
                    seqs += json.loads(found)
            yield from self._reads.texts(_LINES, json.dumps(sorted(seqs)))

    def _belongs(self, group: ErrorGroup) -> Callable[[Kind], bool]:
        if (group.error_type, group.pattern) != ("", OTHER):
            return lambda kind: kind == (group.error_type, group.pattern)
        if self._told is None:
            self.groups()
        told = self._told or frozenset()
        return lambda kind: kind not in told

    def _kinds(self, what: str) -> Iterator[tuple[Kind, str, int, Any]]:
        for part in self._parts():
            yield from self._kinds_of(part, what)

    def _kinds_of(self, part: tuple[int, int], what: str) -> Iterator[tuple[Kind, str, int, Any]]:
        """The different errors of a part: their kind, message, first task, and what SQL says of them together."""
        for error_type, message, seq, value in self._reads.select(_KINDS.format(what=what), *part):
            yield (error_type, pattern_of(message)), message, seq, value

    def _parts(self) -> Iterator[tuple[int, int]]:
        """The failed tasks in parts of bounded size: the numbers after … up to …."""
        after = 0
        while (end := next(self._reads.select(_PART_END, after, _PART))[0]) is not None:
            yield after, end
            after = end


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.")
