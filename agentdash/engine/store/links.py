"""What new tasks wait for, looked at before any is kept: unknown ids and circles, the same words from every form."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agentdash.engine.store.conflicts import Conflicts
from agentdash.model import TaskSpec


@dataclass(slots=True)
class Links:
    """The new tasks that wait for others, by number, in the order of the files."""

    specs: dict[int, TaskSpec] = field(default_factory=dict)

    def note(self, first: int, new: Sequence[TaskSpec]) -> None:
        """Keep those of the new tasks that wait for others; `first` is the number of the first new one."""
        if any(spec.after for spec in new):  # most files have none
            self.specs |= {seq: spec for seq, spec in enumerate(new, first) if spec.after}

    def ids(self) -> Iterator[str]:
        """What they wait for, each id once."""
        return iter(dict.fromkeys(task_id for spec in self.specs.values() for task_id in spec.after))

    def check(
        self, seq_of: Mapping[str, int], conflicts: Conflicts, *, tell_all: bool
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """(number, number of what it waits for) of all that can be kept, and the numbers of those that cannot.

        `seq_of` has the known ids. What cannot be kept is told to `conflicts`: a task that waits for an unknown id, or
        in a circle; and what waits for such a one, which is told only with `tell_all`: it is no fault of its own.
        """
        waits_for: dict[int, list[int]] = {}
        lost: list[int] = []
        for seq, spec in self.specs.items():
            waits_for[seq] = [seq_of[task_id] for task_id in spec.after if task_id in seq_of]
            if unknown := [task_id for task_id in spec.after if task_id not in seq_of]:
                conflicts.unknown(spec, unknown)
                lost.append(seq)
        for circle in _circles(waits_for, _stuck(waits_for)):
            conflicts.circle([self.specs[seq] for seq in circle])
            lost += circle
        left_out = _with_dependents(waits_for, lost)
        for seq in sorted(left_out.difference(lost)) if tell_all else ():
            first = next(needed for needed in waits_for[seq] if needed in left_out)
            conflicts.depends(self.specs[seq], self.specs[first].id)
        kept = [(seq, needed) for seq, needs in waits_for.items() if seq not in left_out for needed in needs]
        return kept, sorted(left_out)


def _stuck(waits_for: Mapping[int, Sequence[int]]) -> set[int]:
    """Those that could never begin if all others went well: in a circle, or waiting for one. No recursion: a chain may
    be as long as the file."""
    missing = {seq: sum(needed in waits_for for needed in needs) for seq, needs in waits_for.items()}
    dependents = _turned(waits_for)
    free = deque(seq for seq, number in missing.items() if not number)
    while free:
        seq = free.popleft()
        del missing[seq]
        for dependent in dependents.get(seq, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                free.append(dependent)
    return set(missing)


def _circles(waits_for: Mapping[int, Sequence[int]], stuck: set[int]) -> Iterator[list[int]]:
    """Circles that share no task, each from its first task on; every stuck task is in one or waits for one."""
    seen: set[int] = set()
    for start in sorted(stuck):
        way: dict[int, int] = {}
        seq = start
        while seq not in seen:
            seen.add(seq)
            way[seq] = len(way)
            seq = next(needed for needed in waits_for[seq] if needed in stuck)
        if seq in way:
            circle = list(way)[way[seq] :]
            first = circle.index(min(circle))
            yield circle[first:] + circle[:first]


def _with_dependents(waits_for: Mapping[int, Sequence[int]], lost: Iterable[int]) -> set[int]:
    """The lost ones, and all that wait for them."""
    found = set(lost)
    if not found:
        return found
    dependents = _turned(waits_for)
    ahead = deque(found)
    while ahead:
        for dependent in dependents.get(ahead.popleft(), ()):
            if dependent not in found:
                found.add(dependent)
                ahead.append(dependent)
    return found


def _turned(waits_for: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """By what is waited for: those that wait."""
    found: dict[int, list[int]] = {}
    for seq, needs in waits_for.items():
        for needed in needs:
            found.setdefault(needed, []).append(seq)
    return found
