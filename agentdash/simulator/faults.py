"""Which request fails, and how: drawn from the seed in the order in which requests arrive, so a run can be repeated."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

from agentdash.simulator.config import FailureRates, Latency, Storm
from agentdash.simulator.kinds import Kind
from agentdash.simulator.rules import Rule
from agentdash.simulator.timing import Stopwatch
from agentdash.simulator.validation import ParsedRequest

_MAX_COUNTED_PROMPTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance has in store for one request. `fraction` says where a stream breaks."""

    kind: Kind
    fraction: float
    first_token_s: float


class Faults:
    """Draws, rules and storms. Every request takes the same number of draws, whatever becomes of it."""

    def __init__(
        self, seed: int, rates: FailureRates, latency: Latency, rules: tuple[Rule, ...], stopwatch: Stopwatch
    ) -> None:
        self._random = random.Random(seed)
        self._latency_random = random.Random(f"latency-{seed}")
        self._stopwatch = stopwatch
        self._used: Counter[tuple[int, str]] = Counter()
        self.rules = rules
        self.latency = latency
        self.rates = rates
        self.change_rates(rates)

    def change_rates(self, rates: FailureRates) -> None:
        self.rates = rates
        present = [(Kind(name), rate) for name, rate in rates.rates() if rate > 0]
        self._kinds = [kind for kind, _ in present]
        self._thresholds = list(accumulate(rate for _, rate in present))

    def change_rules(self, rules: tuple[Rule, ...]) -> None:
        """New rules, none of them used yet."""
        self.rules = rules
        self._used.clear()

    def draw(self) -> Draw:
        value, fraction = self._random.random(), self._random.random()
        place = bisect_right(self._thresholds, value)
        kind = self._kinds[place] if place < len(self._kinds) else Kind.ANSWER
        return Draw(kind, fraction, self._first_token_s())

    def _first_token_s(self) -> float:
        latency = self.latency
        match latency.distribution:
            case "fixed":
                return latency.first_token_s
            case "uniform":
                return self._latency_random.uniform(latency.first_token_s, latency.high_s)
            case "lognormal":
                value = latency.first_token_s * self._latency_random.lognormvariate(0.0, latency.sigma)
                return min(value, latency.high_s) if latency.high_s else value

    def storm(self, storms: tuple[Storm, ...]) -> Kind | None:
        """What a storm does to a request now, if one blows: the server's own, or one of `storms` (a key's)."""
        if not storms and not self.rates.storms:
            return None
        age = self._stopwatch.age()
        for storm in (*self.rates.storms, *storms):
            if storm.start <= age < storm.end:
                return storm.kind
        return None

    def rule_for(self, request: ParsedRequest) -> Rule | None:
        """The rule that would apply now; `use` it once the request is let through."""
        for number, rule in enumerate(self.rules):
            text, times = _text(rule, request), _times(rule, request)
            if times is not None and self._used[self._place(number, rule, text)] >= times:
                continue
            if rule.regex.search(text):
                return rule
        return None

    def use(self, rule: Rule, request: ParsedRequest) -> None:
        if _times(rule, request) is not None and len(self._used) < _MAX_COUNTED_PROMPTS:
            self._used[self._place(self._number(rule), rule, _text(rule, request))] += 1

    def _number(self, rule: Rule) -> int:
        return next(number for number, known in enumerate(self.rules) if known is rule)

    @staticmethod
    def _place(number: int, rule: Rule, prompt: str) -> tuple[int, str]:
        return number, prompt if rule.per_prompt else ""


def _text(rule: Rule, request: ParsedRequest) -> str:
    """What the rule's pattern is looked for in."""
    return request.task if rule.calls else request.prompt


def _times(rule: Rule, request: ParsedRequest) -> int | None:
    """How often the rule may apply. A session that has begun goes on, however many there were."""
    return None if rule.calls and request.has_tool_result else rule.times
