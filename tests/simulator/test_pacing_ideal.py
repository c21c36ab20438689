"""The arithmetic that a run's time is measured against, proved on the simulator's own buckets."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.simulator import (
    FailureRates,
    KeyConfig,
    Limit,
    LimitChange,
    OrganizationConfig,
    SimulatorConfig,
    Storm,
)
from agentdash.simulator.accounts import Organization
from agentdash.simulator.timing import Stopwatch
from benchmarks.pacing import choose, holds, outcome_of
from benchmarks.pacing_ideal import Demand, ideal_seconds, seconds_to_supply
from benchmarks.pacing_scenarios import SCENARIOS, Scenario, served

TWENTY = Limit(1200, 20)


class Moved:
    """A clock moved by assignment."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


def test_the_two_runs_that_matter_most() -> None:
    assert ideal_seconds(served(*[TWENTY] * 4, latency_s=0), 64, Demand(1600)) == (1600 - 4 * 20) / (4 * 20)
    assert ideal_seconds(served(TWENTY, TWENTY, keys=(3, 1), latency_s=0), 64, Demand(800)) == (800 - 40) / 40


def test_the_scarcest_of_requests_and_tokens_counts() -> None:
    server = served(TWENTY, latency_s=0, input_tokens=Limit(6_000, 500), output_tokens=Limit(600, 100))
    assert ideal_seconds(server, 64, Demand(100, 800, 100)) == (100 - 20) / 20
    assert ideal_seconds(server, 64, Demand(100, 2_500, 100)) == (2_500 - 500) / 100
    assert ideal_seconds(server, 64, Demand(100, 2_500, 500)) == (500 - 100) / 10


def test_an_organisation_without_a_key_or_a_limit() -> None:
    keyless = SimulatorConfig(
        (OrganizationConfig("a", TWENTY), OrganizationConfig("b", TWENTY)), (KeyConfig("k", "a"),)
    )
    assert ideal_seconds(keyless, 64, Demand(100)) == 4.0
    free = SimulatorConfig(
        (OrganizationConfig("a", TWENTY), OrganizationConfig("b")), (KeyConfig("k", "a"), KeyConfig("l", "b"))
    )
    assert ideal_seconds(free, 64, Demand(100)) == 0.0


def test_what_fits_in_the_buckets_takes_no_time_and_a_limit_of_nothing_for_ever() -> None:
    assert seconds_to_supply([(TWENTY, ())], 20) == 0.0
    assert seconds_to_supply([(Limit(0, 5), ())], 6) == math.inf


def test_latency_workers_and_storms() -> None:
    assert ideal_seconds(served(TWENTY, latency_s=2), 64, Demand(100)) == 4.0 + 2.0
    assert ideal_seconds(served(TWENTY, latency_s=2), 10, Demand(100)) == 20.0
    storms = FailureRates(storms=(Storm(1, 3), Storm(5, 6), Storm(100, 200)))
    server = SimulatorConfig((OrganizationConfig("o", TWENTY),), (KeyConfig("k", "o"),), failures=storms)
    assert ideal_seconds(server, 64, Demand(100)) == 4.0 + 2.0 + 1.0


@given(
    limits=st.lists(st.builds(Limit, st.floats(60, 6_000), st.floats(4, 100)), min_size=1, max_size=3),
    changes=st.lists(st.builds(LimitChange, st.floats(0.1, 20), st.floats(0.25, 4)), max_size=3),
    tasks=st.integers(1, 400),
)
def test_a_client_that_knows_the_buckets_takes_just_that_long(
    limits: list[Limit], changes: list[LimitChange], tasks: int
) -> None:
    """It asks each of the simulator's own organisations at the very moment there is room."""
    changes.sort(key=lambda change: change.at_s)
    clock = Moved()
    configs = [OrganizationConfig(f"o{n}", limit, schedule=tuple(changes)) for n, limit in enumerate(limits)]
    organizations = [Organization(config, clock, Stopwatch(clock)) for config in configs]
    left = tasks
    while True:
        waits = [change.at_s - clock.time for change in changes if change.at_s > clock.time]
        for organization in organizations:
            while left > 0 and (short := organization.admit(0, 0)) is None:
                left -= 1
            waits += [short[1]] if left > 0 and short else []
        if left == 0:
            break
        clock.time += max(1e-6, min(waits))
    ideal = seconds_to_supply([(limit, changes) for limit in limits], tasks)
    slowest = min(change.factor for change in [*changes, LimitChange(0, 1)]) * sum(limit.per_second for limit in limits)
    parts_left_over = len(limits) * (1 + len(changes))
    assert ideal - 1e-3 <= clock.time <= ideal + parts_left_over / slowest + 1e-3


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_scenario_takes_long_enough_to_tell_and_not_for_ever(scenario: Scenario) -> None:
    low, high = scenario.prompt_tokens
    mean = (high - low) / math.log(high / low) if high > low else low
    demand = Demand(scenario.tasks, int(scenario.tasks * mean))
    assert 15 <= ideal_seconds(scenario.server, scenario.workers, demand) <= 45
    assert scenario.workers % scenario.processes == 0
    assert SimulatorConfig.from_json(scenario.server.to_json()) == scenario.server


def _record(number: int, received_at: float, status: int, took: float | None = 0.5) -> dict[str, Any]:
    finished_at = None if took is None else received_at + took
    prompt = f"Report number {number}. ..."
    return {
        "prompt": prompt,
        "status": status,
        "received_at": received_at,
        "finished_at": finished_at,
        "input_tokens": 10,
        "output_tokens": 5,
    }


def test_the_record_is_what_is_counted() -> None:
    scenario = Scenario("", served(Limit(60, 1), latency_s=0.5), tasks=4, most_time=1.2, most_rejected=0.25)
    records = [_record(0, 10.0, 200), _record(1, 10.2, 429), *(_record(n, 10.0 + n, 200) for n in (1, 2, 3))]
    outcome = outcome_of(scenario, records)
    assert (outcome.seconds, outcome.ideal, outcome.time) == (3.5, 3.5, 1.0)
    assert (outcome.requests, outcome.rejected, outcome.rejected_share, outcome.lost) == (5, 1, 0.2, 0)
    assert holds(scenario, outcome)
    assert not holds(scenario, outcome_of(scenario, records, stopped_at=13.6))
    assert not holds(scenario, outcome_of(scenario, [*records, _record(1, 10.3, 429)]))
    again = outcome_of(scenario, [*records, _record(0, 14.5, 200), _record(3, 14.6, 529, None)])
    assert (again.twice, again.failed, again.seconds) == (1, 1, 5.0)
    assert not holds(scenario, again)
    less = outcome_of(scenario, records[:-1])
    assert less.lost == 1
    assert not holds(scenario, less)


def test_the_demand_of_tasks_without_an_answer_is_reckoned_from_the_others() -> None:
    scenario = Scenario("", served(TWENTY, latency_s=0, input_tokens=Limit(60, 10)), tasks=4)
    whole = outcome_of(scenario, [_record(n, 0.0, 200) for n in range(4)])
    assert whole.ideal == 30.0
    assert outcome_of(scenario, [_record(n, 0.0, 200) for n in range(2)], stopped_at=20.0).ideal == 30.0
    assert outcome_of(scenario, [_record(n % 4, 0.0, 200) for n in range(8)]).ideal == 30.0
    nothing = outcome_of(scenario, [_record(0, 0.0, 529)], stopped_at=20.0)
    assert (nothing.lost, nothing.failed, nothing.seconds) == (4, 1, 20.0)


def test_scenarios_are_chosen_by_part_of_a_name_and_quick_ones_are_smaller() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert [scenario.name for scenario in choose(quick=False, names=["storm"])] == ["a 529 storm of ten seconds"]
    assert choose(quick=False, names=[]) == list(SCENARIOS)
    quick = choose(quick=True, names=[])
    assert [scenario.name for scenario in quick[:2]] == [scenario.name for scenario in SCENARIOS[:2]]
    assert len(quick) == 5
    full = {scenario.name: scenario.tasks for scenario in SCENARIOS}
    assert all(scenario.tasks < full[scenario.name] / 2 for scenario in quick)
    with pytest.raises(SystemExit, match="bucket of 1"):
        choose(quick=False, names=["nothing like it"])
