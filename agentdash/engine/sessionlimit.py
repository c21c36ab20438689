"""How many tasks one session may begin: `--limit`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set

from agentdash.engine.store import Ready
from agentdash.model import FINISHED_STATES, Task


class SessionLimit:
    """Counts tasks, not tries: one that was begun may be tried again. `number` 0 means no limit."""

    def __init__(self, number: int, load: Callable[[int], Task | None]) -> None:
        self._number = number
        self._load = load
        self._begun: set[int] = set()
        self._open: set[int] = set()  # those of `_begun` that this process has not seen finished

    def begin(self, seq: int) -> None:
        """A task was claimed."""
        if self._number:
            self._begun.add(seq)
            self._open.add(seq)

    def finish(self, seq: int) -> None:
        """A task has ended for good."""
        self._open.discard(seq)

    @property
    def is_reached(self) -> bool:
        """Whether as many tasks were begun as may be."""
        return bool(self._number) and len(self._begun) >= self._number

    def is_done(self) -> bool:
        """Whether it is reached, and all that were begun have ended."""
        if not self.is_reached:
            return False
        for seq in list(self._open):
            task = self._load(seq)
            if task is None or task.state in FINISHED_STATES:  # elsewhere, or by hand
                self._open.discard(seq)
        return not self._open

    def admit(self, found: Collection[Ready], handed: Set[int]) -> Collection[Ready]:
        """Those of the found tasks that may be begun: first those that were once already, then as many new ones as
        there is room for beside the handed ones."""
        if not self._number:
            return found
        room = self._number - len(self._begun | handed)
        again = [ready for ready in found if ready.seq in self._begun]
        return again + [ready for ready in found if ready.seq not in self._begun][: max(0, room)]
