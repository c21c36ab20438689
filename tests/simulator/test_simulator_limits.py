"""What a server says of its limits: hidden bursts, lies, a wrong clock, limits that change, workspaces."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from agentdash.simulator import (
    FailureRates,
    KeyConfig,
    Limit,
    LimitChange,
    OrganizationConfig,
    Simulator,
    SimulatorConfig,
    Storm,
)

Body = Callable[..., dict[str, Any]]
Ask = Callable[..., Any]
KEY, OTHER_KEY = "sim-key-1-0000", "sim-key-2-0000"
REQUESTS = "anthropic-ratelimit-requests"


def serving(**fields: Any) -> SimulatorConfig:
    organization = OrganizationConfig("o", **{"requests": Limit(60, 2), **fields})
    return SimulatorConfig((organization,), (KeyConfig(KEY, "o"),))


@pytest.fixture
def ask(http: aiohttp.ClientSession, body: Body) -> Ask:
    async def ask(simulator: Simulator, key: str = KEY, prompt: str = "Summarise") -> tuple[int, Any]:
        url, headers = f"{simulator.base_url}/v1/messages", {"x-api-key": key}
        async with http.post(url, json=body(prompt), headers=headers) as response:
            return response.status, response.headers

    return ask


def reset_in(headers: Any, name: str = REQUESTS) -> float:
    """Seconds from the answer's own date to the reset."""
    reset = datetime.fromisoformat(headers[f"{name}-reset"]).timestamp()
    return reset - parsedate_to_datetime(headers["date"]).timestamp()


async def test_what_is_left_of_the_minute_hides_the_bucket(ask: Ask, clock: Any) -> None:
    config = serving(remaining="minute", input_tokens=Limit(9_000, 600))
    async with Simulator(config, clock=clock) as simulator:
        seen = [await ask(simulator) for _ in range(3)]
        assert [status for status, _ in seen] == [200, 200, 429]
        assert [headers[f"{REQUESTS}-remaining"] for _, headers in seen] == ["59", "58", "58"]
        tokens = simulator.records[0].input_tokens
        name = "anthropic-ratelimit-input-tokens"
        assert [int(headers[f"{name}-remaining"]) for _, headers in seen] == [9_000 - n * tokens for n in (1, 2, 2)]
        clock.time += 30
        _, headers = await ask(simulator)
        assert (headers[f"{REQUESTS}-remaining"], reset_in(headers)) == ("57", 60)
        clock.time += 30
        status, headers = await ask(simulator)  # the first two were admitted a minute ago
        assert (status, headers[f"{REQUESTS}-remaining"], headers[f"{name}-remaining"]) == (
            200,
            "58",
            f"{9_000 - 2 * tokens}",
        )


async def test_lies_promise_all_of_it_and_a_reset_that_has_passed(ask: Ask, clock: Any) -> None:
    async with Simulator(serving(remaining="lies"), clock=clock) as simulator:
        seen = [await ask(simulator) for _ in range(8)]
    assert [status for status, _ in seen] == [200, 200, *[429] * 6]
    assert {headers[f"{REQUESTS}-remaining"] for _, headers in seen} == {"60"}
    resets = [reset_in(headers) for _, headers in seen]
    assert all(-60 <= reset <= 0 for reset in resets)
    assert any(later < earlier for earlier, later in pairwise(resets))
    assert min(resets) < -30 < max(resets)
    assert seen[-1][1]["retry-after"] == "1"


@pytest.mark.parametrize("offset_s", [300.0, -300.0])
async def test_a_wrong_clock_shows_in_every_date_and_in_no_duration(ask: Ask, clock: Any, offset_s: float) -> None:
    organization = OrganizationConfig("o", Limit(6, 1), retry_after="date")
    config = SimulatorConfig((organization,), (KeyConfig(KEY, "o"),), clock_offset_s=offset_s)
    async with Simulator(config, clock=clock) as simulator:
        await ask(simulator)
        status, headers = await ask(simulator)
        servers_now = clock.now() + offset_s
        assert status == 429
        assert parsedate_to_datetime(headers["date"]).timestamp() == servers_now
        assert parsedate_to_datetime(headers["retry-after"]).timestamp() == servers_now + 10
        assert datetime.fromisoformat(headers[f"{REQUESTS}-reset"]).timestamp() == servers_now + 10
        assert simulator.records[1].received_at == clock.monotonic()
        clock.time += 10
        assert (await ask(simulator))[0] == 200


async def test_limits_change_at_their_second_exactly(ask: Ask, clock: Any) -> None:
    config = serving(schedule=(LimitChange(10, 0.5), LimitChange(20, 2)))
    async with Simulator(config, clock=clock) as simulator:
        assert [(await ask(simulator))[0] for _ in range(3)] == [200, 200, 429]
        clock.time += 9.75
        assert [(await ask(simulator))[0] for _ in range(2)] == [200, 200]
        clock.time += 1.0  # a quarter of a second at 1 a second, three at half of it: 0.625
        status, headers = await ask(simulator)
        assert (status, headers[f"{REQUESTS}-limit"]) == (429, "30")
        clock.time += 0.75
        assert [(await ask(simulator))[0] for _ in range(2)] == [200, 429]
        clock.time += 9.5  # the twentieth second was a second ago: full at size 1 by then, then 2 a second
        seen = [await ask(simulator) for _ in range(4)]
        assert [status for status, _ in seen] == [200, 200, 200, 429]
        assert seen[0][1][f"{REQUESTS}-limit"] == "120"


async def test_a_schedule_counts_from_new_limits_too(ask: Ask, clock: Any) -> None:
    async with Simulator(serving(schedule=(LimitChange(10, 0.5),)), clock=clock) as simulator:
        simulator.update(organizations={"o": {"requests": {"per_minute": 600, "burst": 20}}})
        assert (await ask(simulator))[1][f"{REQUESTS}-limit"] == "600"
        clock.time += 10
        assert (await ask(simulator))[1][f"{REQUESTS}-limit"] == "300"
        simulator.update(organizations={"o": {"requests": {"per_minute": 120, "burst": 20}}})
        assert (await ask(simulator))[1][f"{REQUESTS}-limit"] == "60"


async def test_times_may_count_from_the_first_request(ask: Ask, clock: Any) -> None:
    organization = OrganizationConfig("o", Limit(60, 10), schedule=(LimitChange(5, 0.5),))
    config = SimulatorConfig(
        (organization,),
        (KeyConfig(KEY, "o"),),
        failures=FailureRates(storms=(Storm(10, 20),)),
        timed_from="first_request",
    )
    async with Simulator(config, clock=clock) as simulator:
        clock.time += 15
        status, headers = await ask(simulator)
        assert (status, headers[f"{REQUESTS}-limit"]) == (200, "60")
        clock.time += 5
        assert (await ask(simulator))[1][f"{REQUESTS}-limit"] == "30"
        seen = []
        for _ in range(3):
            clock.time += 5
            seen.append((await ask(simulator))[0])
        assert seen == [529, 529, 200]


async def test_two_workspaces_of_one_organisation_have_limits_of_their_own(ask: Ask, clock: Any) -> None:
    config = SimulatorConfig(
        (
            OrganizationConfig("large", Limit(600, 10), id="org_1", workspace_id="wrk_1"),
            OrganizationConfig("small", Limit(60, 1), id="org_1", workspace_id="wrk_2"),
        ),
        (KeyConfig(KEY, "large"), KeyConfig(OTHER_KEY, "small")),
    )
    async with Simulator(config, clock=clock) as simulator:
        seen = [await ask(simulator, key) for key in (KEY, OTHER_KEY, OTHER_KEY, KEY)]
    assert [status for status, _ in seen] == [200, 200, 429, 200]
    assert {headers["anthropic-organization-id"] for _, headers in seen} == {"org_1"}
    shown = [(headers["anthropic-workspace-id"], headers[f"{REQUESTS}-limit"]) for _, headers in seen]
    assert shown == [("wrk_1", "600"), ("wrk_2", "60"), ("wrk_2", "60"), ("wrk_1", "600")]
    assert (seen[2][1]["retry-after"], seen[2][1][f"{REQUESTS}-remaining"]) == ("1", "0")
