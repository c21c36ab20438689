"""How many tasks a second a number of workers finishes, so that two numbers can be compared. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FEW = 20
MANY_ROUNDS = 8
"""So many tasks must have ended for each worker where nothing hurries: unequal ones end now more, now less often."""


@dataclass(slots=True)
class Turnover:
    """Counts the tasks that end with one number of workers, from one of their ends to another.

    Looked at after each so many ends as there are workers: those who began together end together. After many it counts
    anew, so that it tells of the last of them.
    """

    began_at: float
    workers: int
    first_at: float | None = None
    number: int = 0
    counted: tuple[int, float] = (0, 0.0)
    before: tuple[int, float] = (0, 0.0)

    def ended(self, now: float, took: float) -> None:
        """A task ended that took so many seconds; one that began with another number of workers says nothing."""
        if self.first_at is None:
            self.first_at = now if now - took >= self.began_at else None
            return
        self.number += 1
        if self.number % self.workers == 0:
            self.counted = (self.number, now - self.first_at)
            if self.number >= 2 * max(FEW, MANY_ROUNDS * self.workers):
                self.before, self.first_at, self.number = self.counted, now, 0

    def per_second(self, rounds: int) -> float | None:
        """Tasks a second; None before so many (and at least `FEW`) have ended for each worker."""
        enough = max(FEW, rounds * self.workers)
        number, seconds = self.counted if self.counted[0] >= enough else self.before
        return number / seconds if number >= enough and seconds > 0 else None
