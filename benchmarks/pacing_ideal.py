"""The shortest time in which limits could be used: what `benchmarks/pacing.py` measures against."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentdash.simulator import Limit, LimitChange, SimulatorConfig

Supply = Sequence[tuple[Limit, Sequence[LimitChange]]]


@dataclass(frozen=True, slots=True)
class Demand:
    """What all tasks together take."""

    requests: int
    input_tokens: int = 0
    output_tokens: int = 0


def ideal_seconds(config: SimulatorConfig, workers: int, demand: Demand) -> float:
    """Seconds from the first request to the last answer, were every limit known and every bucket used up at all times.

    The largest over requests, input and output tokens of (demand - buckets) ÷ refill, and one answer's latency, as the
    last one to be let in takes that; never less than the workers need for all answers; and the storms in between (what
    the buckets regain in one is not reckoned with).
    """
    latency_s = config.latency.first_token_s
    used = {key.organization for key in config.keys}
    organizations = [organization for organization in config.organizations if organization.name in used]
    limited_s = 0.0
    for name in ("requests", "input_tokens", "output_tokens"):
        limits = [getattr(organization, name) for organization in organizations]
        if all(limit is not None for limit in limits):  # one without a limit could serve all of it at once
            supply = [(limit, item.schedule) for limit, item in zip(limits, organizations, strict=True)]
            limited_s = max(limited_s, seconds_to_supply(supply, getattr(demand, name)))
    answers_s = math.ceil(demand.requests / workers) * latency_s
    seconds = max(limited_s + latency_s, answers_s)
    for storm in sorted(config.failures.storms, key=lambda storm: storm.start):
        if storm.start < seconds:
            seconds += storm.end - storm.start
    return seconds


def seconds_to_supply(supply: Supply, amount: float) -> float:
    """Seconds until buckets, full at first, have together let `amount` through; `inf` if never."""
    left = amount - sum(limit.capacity for limit, _ in supply)
    if left <= 0:
        return 0.0
    now = 0.0
    for change in _moments(supply):
        rate = _rate(supply, now)
        if left <= rate * (change - now):
            return now + left / rate
        left -= rate * (change - now)
        now = change
    rate = _rate(supply, now)
    return now + left / rate if rate > 0 else math.inf


def _moments(supply: Supply) -> Iterable[float]:
    return sorted({change.at_s for _, schedule in supply for change in schedule})


def _rate(supply: Supply, now: float) -> float:
    """Units a second, refilled in all buckets together from `now` on."""
    total = 0.0
    for limit, schedule in supply:
        factors = [change.factor for change in schedule if change.at_s <= now]
        total += limit.per_second * (factors[-1] if factors else 1.0)
    return total
