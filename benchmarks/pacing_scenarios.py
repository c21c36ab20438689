"""The situations in which `benchmarks/pacing.py` measures: servers, tasks, and the bounds that must hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentdash.simulator import (
    FailureRates,
    KeyConfig,
    Latency,
    Limit,
    LimitChange,
    OrganizationConfig,
    SimulatorConfig,
    Storm,
)

_ANSWER_TOKENS = 8
_LATENCY_S = 0.05
"""Of every scenario that names no other."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One server and what is asked of it. `workers` are those of all `processes` together.

    `prompt_tokens`: of a task, from and to; spread evenly over their logarithm. `quick_tasks`: so many with `--quick`,
    where a scenario without is left out.
    """

    name: str
    server: SimulatorConfig
    tasks: int
    workers: int = 64
    processes: int = 1
    prompt_tokens: tuple[int, int] = (20, 20)
    most_time: float = 1.10
    most_rejected: float = 0.02
    quick_tasks: int = 0


def served(
    *limits: Limit,
    keys: Sequence[int] = (),
    latency_s: float = _LATENCY_S,
    storms: tuple[Storm, ...] = (),
    clock_offset_s: float = 0.0,
    **organization: Any,
) -> SimulatorConfig:
    """One organisation for each of `limits` (requests a minute), with `keys` so many keys (default one each)."""
    names = [f"org-{letter}" for letter, _ in zip("abcdefgh", limits, strict=False)]
    owners = [name for name, number in zip(names, keys or [1] * len(names), strict=True) for _ in range(number)]
    return SimulatorConfig(
        organizations=tuple(
            OrganizationConfig(name, limit, **organization) for name, limit in zip(names, limits, strict=True)
        ),
        keys=tuple(KeyConfig(f"sim-key-{number}-0000", name) for number, name in enumerate(owners, start=1)),
        failures=FailureRates(storms=storms),
        latency=Latency(first_token_s=latency_s),
        answer_tokens=_ANSWER_TOKENS,
        clock_offset_s=clock_offset_s,
        timed_from="first_request",
    )


_TWENTY = Limit(1200, 20)
_TEN = Limit(600, 10)
_TWO, _FOUR = (_TWENTY,) * 2, (_TWENTY,) * 4

SCENARIOS = (
    Scenario("4 keys, 4 organisations", served(*_FOUR), 1600, most_time=1.04, most_rejected=0.005, quick_tasks=560),
    Scenario(
        "4 keys, 2 organisations (3+1)",
        served(*_TWO, keys=(3, 1)),
        800,
        most_time=1.06,
        most_rejected=0.01,
        quick_tasks=280,
    ),
    Scenario("bucket of 1", served(*[Limit(1200, 1)] * 4), 1600, quick_tasks=560),
    Scenario("limits 100 times apart", served(Limit(2400, 40), Limit(24, 1)), 800),
    Scenario("a limit that halves", served(*_FOUR, schedule=(LimitChange(8, 0.5),)), 1200),
    Scenario("a limit that doubles", served(*[_TEN] * 4, schedule=(LimitChange(8, 2),)), 1320),
    Scenario(
        "input tokens, prompts of 100 to 20,000",
        served(*_FOUR, input_tokens=Limit(1_500_000, 30_000)),
        600,
        prompt_tokens=(100, 20_000),
        quick_tasks=260,
    ),
    Scenario("no rate-limit headers (identity)", served(*_TWO, headers="identity"), 800),
    Scenario("no headers at all (none)", served(*_TWO, headers="none"), 800),
    Scenario("retry-after absent", served(*_TWO, retry_after="none"), 800),
    Scenario("retry-after as a date", served(*_TWO, retry_after="date"), 800),
    Scenario("retry-after far too long", served(*_TWO, retry_after="long", retry_after_long_s=3600), 800),
    Scenario("latency 1 s", served(*_TWO, latency_s=1.0), 800),
    Scenario("latency 30 s", served(*[Limit(300, 5)] * 2, latency_s=30.0), 150, workers=150),
    Scenario("two processes on one folder", served(*_FOUR), 1600, processes=2),
    Scenario("a 529 storm of ten seconds", served(*_TWO, storms=(Storm(5, 15),)), 400),
    Scenario("one organisation, 4 keys", served(_TWENTY, keys=(4,)), 400, quick_tasks=160),
    Scenario("remaining tells the minute", served(*_TWO, remaining="minute"), 800),
    Scenario("remaining lies", served(*_TWO, remaining="lies"), 800),
    Scenario("clock 300 s ahead", served(*_TWO, clock_offset_s=300, retry_after="date"), 800),
    Scenario("clock 300 s behind", served(*_TWO, clock_offset_s=-300, retry_after="date"), 800),
)
