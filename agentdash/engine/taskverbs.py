"""The verbs that change tasks: add, requeue, cancel, prioritize, and take the last change back."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from agentdash.engine.intake import BadLines, read_tasks, source_stamp
from agentdash.engine.opening import RunParts
from agentdash.engine.store import AddReport
from agentdash.errors import InterruptedRunError
from agentdash.figures import count
from agentdash.model import ErrorGroup, TaskSpec


class TaskVerbs(RunParts):
    """What the engine does with tasks, whether it runs or not."""

    async def add(self, sources: Sequence[str], *, stdin: BinaryIO | None = None, skip_bad: bool = False) -> AddReport:
        """Add the tasks of files (`-` is standard input): all or nothing, unless the bad ones are to be skipped.

        A file that was added whole before and has not changed since is not read again. Raises `BadInputError`.
        """
        stamps = {source: stamp for source in sources if (stamp := source_stamp(source)) is not None}
        fresh = [s for s in sources if s not in stamps or self.store.source(_source_key(s)) != stamps[s]]
        if not fresh:
            return AddReport(0, 0)
        bad = BadLines()
        specs = read_tasks(fresh, stdin=stdin or sys.stdin.buffer if "-" in fresh else None, bad=bad)
        remembered = {_source_key(s): stamps[s] for s in fresh if s in stamps and not skip_bad}
        added = await self.store.add(self._all_or_nothing(specs, bad, skip_bad), remembered, skip_conflicts=skip_bad)
        for line in (*(str(line) for line in bad.first), *added.conflict_lines):
            self.events.emit("skipped", line)
        self._look_again()
        return added

    def _all_or_nothing(self, specs: Iterator[TaskSpec], bad: BadLines, skip_bad: bool) -> Iterator[TaskSpec]:
        """Pass the tasks on; at the end raise if there were bad lines, so that the store takes everything back."""
        for spec in specs:
            if self.is_stopping:
                raise InterruptedRunError("Stopped while the tasks were read; none was added.")
            yield spec
        if bad.count and not skip_bad:
            raise bad.error()

    async def requeue(self, ids: Sequence[str] | None = None, *, error_contains: str | None = None) -> int:
        """failed or cancelled → pending; all failed ones if no ids are given. Returns how many."""
        with self._last.doing():
            number = await self.store.requeue(ids, error_contains=error_contains)
            if number:
                self._last.remember(f"{count(number, 'task')} requeued")
        self._look_again()
        if number:
            self.events.emit("requeued", f"{count(number, 'task')} requeued")
        return number

    async def requeue_group(self, group: ErrorGroup) -> int:
        """The failed tasks with one kind of error → pending. Returns how many."""
        return await self.requeue(await self.browser.group_ids(group))

    async def cancel(self, ids: Sequence[str]) -> tuple[int, int]:
        """Cancel tasks: (cancelled at once, running ones that were asked to stop)."""
        with self._last.doing():
            done = await self.store.cancel(ids, self.clock.now())
            if sum(done):
                self._last.remember(f"{count(sum(done), 'task')} cancelled", cancelled=ids)
        self.housekeeping.stop_cancelled()
        self._look_again()
        if sum(done):
            self.events.emit("cancelled", f"{count(sum(done), 'task')} cancelled")
        return done

    async def prioritize(self, ids: Sequence[str], *, to: int | None = None, by: int = 0) -> int:
        """Give pending tasks another priority: `to` this one, or `by` so much more. Returns how many were pending."""
        with self._last.doing():
            number = await self.store.prioritize(ids, to=to, by=by)
            if number:
                self._last.remember(f"{count(number, 'task')} given another priority")
        self.manager.reorder()
        return number

    async def undo(self) -> tuple[int, int]:
        """Take the last such change back: (tasks put back as they were, tasks that had gone on)."""
        done = await self._last.undo()
        self._look_again()
        return done

    @property
    def is_stopping(self) -> bool:
        """Whether a drain or an abort was asked for."""
        return self._stopping.is_asked

    def _look_again(self) -> None:
        """Tasks may have become pending."""
        self.manager.notify()
        self._woken.set()


def _source_key(source: str) -> str:
    return os.fsencode(os.path.abspath(source)).decode("utf-8", "backslashreplace")  # names need not be UTF-8
