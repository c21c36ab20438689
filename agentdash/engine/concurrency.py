"""How many workers a run needs: as many as fill the limits, and no more. Pure: every time is passed in.

Little's law says how many are busy at once: requests a second, times the seconds that one takes. Where no limit is
known nothing says how many a second there could be; there more workers stay only if they have brought more.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from agentdash.engine.turnover import FEW, MANY_ROUNDS, Turnover
from agentdash.figures import count

FIRST_WORKERS = 4
_STEP_S = 0.1
"""Between two steps of the slow start, once answers tell how long a request takes; `_BLIND_STEP_S` before that."""
_BLIND_STEP_S = 1.0
_CALM_S = 2.0
"""How long all must have been busy before there are more, when the slow start is over."""
_FILLED_S = 5.0
"""How long some must have waited before there are fewer; twice the time a request takes, if that is longer."""
_ALMOST = 0.9
"""Of that time, as it is not looked at in every moment."""
_SMALLEST = 2
_SMALLEST_SHARE = 0.1
_SURPLUS = 3
_SURPLUS_SHARE = 0.2
"""A surplus below this is left: what is found again a moment later must not be taken away."""
_GROWTH = 1.5
_MOST_CUT = 0.75
_AHEAD_S = 0.1
"""The reserve: requests for so many seconds stand ready, so that a slow disk does not make the line run dry."""
_ROUNDS = 3
"""How many tasks must have ended for each worker in the slow start; later it is `MANY_ROUNDS`."""
_NOT_WORTH = 0.05
_MANY = 40
_SHORT = 0.75
"""Of so many requests that were allowed this share at least is sent, or there are too few workers."""
_GAIN_SHARE = 0.3
"""Half as many workers more must bring 15 % more: this share of what they would bring if nothing held them up."""
_LOOK_AGAIN_S = 60.0
_MOST_PATIENCE_S = 600.0
"""After each try in vain the next one waits twice as long, up to this."""
_OVERLOAD_CUT = 2 / 3
_OVERLOAD_S = 10.0
_AFTER_OVERLOAD_S = 3.0
_BELOW_OVERLOAD = 0.9


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen at one moment. `now` is monotonic.

    `waiting`: workers that wait for nothing but the pace of the limits. `pending`: tasks that may be begun. `rate`:
    requests a second that the limits allow, infinite if unknown. `is_held`: nothing may be sent by anybody now (a
    pause, a cooldown, a key on trial). `outage`: why all workers wait for the server, None if they do not.
    """

    now: float
    workers: int
    waiting: int
    pending: int
    rate: float = math.inf
    is_held: bool = False
    outage: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """So many workers from now on, and why, in plain words."""

    workers: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Trial:
    """More workers are tried: how many there were, and how many tasks a second those finished."""

    workers: int
    per_second: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """What matters of one look: who waited, how many requests had been sent by then, how many workers would do."""

    now: float
    waiting: int
    sent: int
    target: float


class Concurrency:
    """Decides about the number of workers of one run: between 1 and `most`, and `first` to begin with.

    It is told of each task that `ended`, and looks about ten times a second (`decide`). `learns_limits`: limits
    may become known with the first answer; until then it grows as long as all are busy, as the pacing lets more and
    more unanswered requests go.
    """

    def __init__(self, now: float, *, most: int, first: int = FIRST_WORKERS, learns_limits: bool = True) -> None:
        self.most = max(1, most)
        self.first = max(1, min(first, self.most))
        self.took: float | None = None
        """Seconds for which a task keeps a worker busy, waiting for its turn not counted; None until one has ended."""
        self._learns_limits = learns_limits
        self._ended = 0
        self._workers = self.first
        self._changed_at = now
        self._turnover = Turnover(now, self.first)
        self._samples: deque[_Sample] = deque()
        self._trial: _Trial | None = None
        self._gain: str | None = None
        self._is_starting = True
        self._stay_until = -math.inf
        self._patience_s = _LOOK_AGAIN_S
        self._cut_at = -math.inf
        self._ceiling = math.inf
        self._ceiling_until = -math.inf

    def ended(self, now: float, took: float) -> None:
        """A task has ended that kept its worker busy for `took` seconds until `now`."""
        took = max(0.0, took)
        self._ended += 1
        weight = 1 / min(self._ended, 2 * max(FEW, self._workers))
        self.took = took if self.took is None else self.took + (took - self.took) * weight
        self._turnover.ended(now, took)

    def decide(self, seen: Observation) -> Change | None:
        """The change to make now, if any; it is taken as made."""
        self._workers = seen.workers
        change = self._overloaded(seen) if seen.outage is not None else None
        if seen.outage is not None or seen.is_held or not seen.pending:
            self._samples.clear()  # who waits now, and what ends, says nothing
            self._turnover = Turnover(seen.now, seen.workers)
        else:
            target = self._needed(seen.rate)
            self._sample(seen, target)
            self._is_starting = self._is_starting and seen.workers < target
            change = self._step_back(seen) or self._cut(seen) or self._grow(seen, target)
        if change is not None:
            self._changed_at, self._workers = seen.now, change.workers
            self._turnover = Turnover(seen.now, change.workers)
            self._samples.clear()
        return change

    # -- what is known -----------------------------------------------------------------------------------------------
    def _needed(self, rate: float) -> float:
        """How many workers fill the limits, with a reserve; infinite while that is unknown."""
        if self.took is None or rate == math.inf:
            return math.inf
        busy = rate * self.took
        return math.ceil(busy + max(_SMALLEST, _SMALLEST_SHARE * busy, rate * _AHEAD_S))

    def _sample(self, seen: Observation, target: float) -> None:
        sent = self._ended + seen.workers - seen.waiting
        self._samples.append(_Sample(seen.now, seen.waiting, sent, target))
        while seen.now - self._samples[0].now > self._filled_s:
            self._samples.popleft()

    @property
    def _filled_s(self) -> float:
        return max(_FILLED_S, 2 * (self.took or 0.0))

    def _mean_waiting(self) -> float:
        return sum(sample.waiting for sample in self._samples) / len(self._samples)

    def _per_second(self) -> float | None:
        """Tasks finished a second with this number of workers; None before that is known."""
        return self._turnover.per_second(_ROUNDS if self._is_starting else MANY_ROUNDS)

    def _is_saturated(self, seen: Observation) -> bool:
        """Whether all are busy: now, in the slow start; later, for some time, as a moment says little then."""
        if self._is_starting:
            return seen.waiting == 0
        return seen.now - self._samples[0].now >= _CALM_S and self._mean_waiting() < 1

    # -- fewer -------------------------------------------------------------------------------------------------------
    def _overloaded(self, seen: Observation) -> Change | None:
        """A server that has too much to do gets a third less at once, and for a minute no more than it could bear."""
        self._stay_until = max(self._stay_until, seen.now + _AFTER_OVERLOAD_S)
        self._is_starting, self._trial = False, None
        wanted = max(self.first, math.floor(seen.workers * _OVERLOAD_CUT))
        if seen.now - self._cut_at < _OVERLOAD_S or seen.workers - wanted < _SMALLEST:
            return None
        if seen.now >= self._ceiling_until:
            self._ceiling = max(self.first, math.floor(_BELOW_OVERLOAD * seen.workers))
        self._cut_at, self._ceiling_until = seen.now, seen.now + _LOOK_AGAIN_S
        return Change(wanted, f"the server asks for less ({seen.outage})")

    def _cut(self, seen: Observation) -> Change | None:
        """Workers that have waited all the time are not needed; slowly, and as the highest of the last targets says."""
        since, target = self._samples[0].now, max(sample.target for sample in self._samples)
        if seen.now - since < _ALMOST * self._filled_s or seen.workers - target < max(
            _SURPLUS, _SURPLUS_SHARE * seen.workers
        ):
            return None
        wanted = max(int(target), math.ceil(_MOST_CUT * seen.workers))
        if self._mean_waiting() < seen.workers - wanted:
            return None
        self._is_starting, self._trial = False, None
        return Change(wanted, f"{_limits(seen.rate)}, for which {int(target):,} are enough{self._takes()}")

    def _step_back(self, seen: Observation) -> Change | None:
        """See what the workers have brought that were added last; without a gain they go again."""
        trial, per_second = self._trial, self._per_second()
        if trial is None or per_second is None:
            return None
        more, gain = seen.workers / trial.workers, per_second / trial.per_second
        self._trial = None
        if gain - 1 >= _GAIN_SHARE * (more - 1) or not self._is_saturated(seen):
            self._patience_s = _LOOK_AGAIN_S
            self._gain = f"{seen.workers - trial.workers:,} more brought {_percent(gain)} more"
            return None
        patience, self._patience_s = self._patience_s, min(_MOST_PATIENCE_S, 2 * self._patience_s)
        self._is_starting, self._stay_until, self._gain = False, seen.now + patience, None
        wanted = max(trial.workers, math.ceil(trial.workers * (gain + _NOT_WORTH)))
        if gain - 1 < 2 * _NOT_WORTH and more <= 2:
            wanted = trial.workers
        if seen.workers - wanted < max(_SMALLEST, _SMALLEST_SHARE * seen.workers):
            return None
        brought = f"only {_percent(gain)} more" if gain > 1 + _NOT_WORTH else "nothing"
        again = count(round(patience / 60), "minute")
        return Change(wanted, f"{seen.workers - trial.workers:,} more brought {brought}; the next try in {again}")

    # -- more --------------------------------------------------------------------------------------------------------
    def _falls_short(self, rate: float) -> bool:
        """Whether far less is sent than the limits allow. The short answers come first: at the beginning, and when they
        have become longer, `took` says too little."""
        first, last = self._samples[0], self._samples[-1]
        allowed = rate * (last.now - first.now)
        return _MANY <= allowed < math.inf and last.sent - first.sent < _SHORT * allowed

    def _grow(self, seen: Observation, target: float) -> Change | None:
        if seen.now < self._stay_until or not self._is_saturated(seen) or not self._may_step(seen):
            return None
        ceiling = self._ceiling if seen.now < self._ceiling_until else math.inf
        growth = 2.0 if self._is_starting else _GROWTH
        if self._falls_short(seen.rate):
            target = math.inf
        most = min(self.most, ceiling, target, seen.workers + seen.pending)
        wanted = int(min(most, math.ceil(growth * seen.workers)))
        if wanted - seen.workers < max(_SMALLEST, _SMALLEST_SHARE * seen.workers):
            return None
        if (per_second := self._per_second()) is not None:
            self._trial = _Trial(seen.workers, per_second)
        gain, self._gain = self._gain, None
        if seen.rate < math.inf:
            return Change(wanted, f"all busy, {_limits(seen.rate)}{self._takes()}")
        if self.took is None:
            return Change(wanted, "all busy, and no answer has told of a limit yet")
        return Change(wanted, f"all busy, {gain or 'no limit is known'}")

    def _may_step(self, seen: Observation) -> bool:
        """Whether enough is known of the last step for another one."""
        since = seen.now - self._changed_at
        if self.took is None:
            return self._learns_limits and since >= _BLIND_STEP_S
        if seen.rate < math.inf:
            return since >= (_STEP_S if self._is_starting else _CALM_S)
        return since >= _BLIND_STEP_S and self._trial is None and self._per_second() is not None

    def _takes(self) -> str:
        if self.took is None:
            return ""
        return f" at {self.took:,.0f} s a request" if self.took >= 10 else f" at {self.took:.2g} s a request"


def _limits(rate: float) -> str:
    text = f"{rate:,.0f} a second" if rate >= 1 else f"{60 * rate:,.0f} a minute"
    return f"the limits allow {text}"


def _percent(gain: float) -> str:
    return f"{100 * (gain - 1):.0f} %"
