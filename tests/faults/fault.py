"""What a fault is: something that happens to a round, and what it excuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.stage import Stage


@dataclass(frozen=True, slots=True)
class Excuses:
    """What may come of a fault. All else is trouble: a lost task, a second result and a hang are never excused.

    `codes`: exit codes a process may end with beside 0. `repeats`: a task whose answer came may be asked again, as the
    answer could not be used or kept. `overlaps`: two requests for one task may be open at once. `fails`: tasks may end
    as failed; they are requeued when all is well again. `busy`: more CPU than a healthy run needs. `tracebacks`: the
    interpreter itself may write some, where it has no memory left to do anything else.
    """

    codes: frozenset[int] = field(default_factory=frozenset)
    repeats: bool = False
    overlaps: bool = False
    fails: bool = False
    busy: bool = False
    tracebacks: bool = False

    def __or__(self, other: Excuses) -> Excuses:
        return Excuses(
            self.codes | other.codes,
            self.repeats or other.repeats,
            self.overlaps or other.overlaps,
            self.fails or other.fails,
            self.busy or other.busy,
            self.tracebacks or other.tracebacks,
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by name. Subclasses say what it does; one object serves all rounds, so it keeps nothing of its own
    (`stage.notes` is the place for that).

    `excludes`: groups of faults of which a round has one at most. `strikes`: how often in a round, from and to.
    `lasts_s`: how long until it is healed. `spares_programs`: whether tasks may be programs of their own in its rounds.
    """

    name: str
    excuses: Excuses = Excuses()
    excludes: frozenset[str] = frozenset()
    strikes: tuple[int, int] = (1, 3)
    lasts_s: tuple[float, float] = (0.0, 0.0)
    spares_programs: bool = True

    def unusable(self) -> str | None:
        """Why this machine cannot have it; None: it can."""
        return None

    def prepare(self, stage: Stage) -> None:
        """Before anything runs: the server's configuration, limits of the processes, the place of the project."""

    def strike(self, stage: Stage) -> None:
        """At a moment drawn at random, while the program runs. May block for a few milliseconds only."""

    def heal(self, stage: Stage) -> None:
        """After `lasts_s`: all is well again. Called once more at the end of the round, whatever happened."""


REGISTRY: dict[str, Fault] = {}


def register(*faults: Fault) -> None:
    """Make faults known to the campaign."""
    for fault in faults:
        if fault.name in REGISTRY:
            raise ValueError(f"two faults are named {fault.name!r}")
        REGISTRY[fault.name] = fault
