"""Thousands of small worlds a second: what a start, a burst and an empty bucket can look like, drawn at random."""

from __future__ import annotations

import random
import time

import pytest

from agentdash.simulator.bucket import Limit
from tests.pacing.servers import Headers, Org
from tests.pacing.test_pacing_properties import most_over
from tests.pacing.world import CALM, Network, run

_WORLDS = 1_500
_HEADERS: tuple[Headers, ...] = ("bucket", "bucket", "minute", "none", "lies")


@pytest.mark.parametrize("seed", range(2))
def test_small_worlds(seed: int) -> None:
    rng = random.Random(seed)
    for number in range(_WORLDS):
        limit = Limit(60 * rng.uniform(0.5, 100), rng.randint(1, 30))
        org = Org(limit, headers=rng.choice(_HEADERS))
        tasks, answer = rng.randint(1, 12), rng.choice((0.05, 0.5, 5.0))
        report = run([org], tasks, workers=rng.randint(1, 64), network=Network(answer=answer), seed=number, most_s=9000)
        assert sum(len(server.admitted_at) for server in report.servers) == tasks, (seed, number)
        if org.headers == "bucket" and answer < 0.5:  # else more goes out before anything is known
            times = [at for at, _ in report.sent]
            assert report.rejected <= 1, (seed, number)
            assert most_over(times, limit.per_second) <= limit.capacity + limit.per_second * 0.011, (seed, number)


def worlds_a_second(seconds: float = 3.0) -> float:
    """How many worlds of six requests run in a second here: `python -m tests.pacing.test_pacing_fuzz`."""
    rng, begun, worlds = random.Random(0), time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        run([Org(Limit(60 * rng.uniform(0.5, 100), 4))], 6, workers=8, network=CALM, seed=worlds)
        worlds += 1
    return worlds / (time.perf_counter() - begun)


if __name__ == "__main__":
    print(f"{worlds_a_second():,.0f} worlds a second")
