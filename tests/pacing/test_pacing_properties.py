"""What holds in every world: nothing is lost, nobody waits for ever, and an honest server's limit is kept to.

A world is a few organisations with any limits, some dozens of tasks, and a network; some 400 of them run in a second.
"""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdash.engine.cost import Cost
from agentdash.simulator.bucket import Limit
from tests.pacing.servers import LONG_S, Headers, Org, RetryAfter, Task
from tests.pacing.world import Network, run

_WORLDS = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
_LATE_S = 0.011
"""How much later one request may arrive than another that was sent with it: the network's jitter and spikes."""

_rates = st.floats(0.5, 100).map(lambda rate: round(rate, 2))
_headers: st.SearchStrategy[Headers] = st.sampled_from(["bucket", "minute", "none", "lies"])
_retry_after: st.SearchStrategy[RetryAfter] = st.sampled_from(["seconds", "none"])
_changes = st.lists(st.tuples(st.floats(0.1, 10), st.sampled_from([0.3, 0.5, 2.0, 3.0])), max_size=2).map(
    lambda changes: tuple(sorted(changes))
)


@st.composite
def limits(draw: st.DrawFn, least_burst: int = 1) -> Limit:
    """Half to a hundred requests a second, and a bucket of any size up to 200."""
    return Limit(60 * draw(_rates), draw(st.integers(least_burst, 200)))


@st.composite
def any_org(draw: st.DrawFn) -> Org:
    """Any limits, told or not, truly or not, and changed at any time; with token limits in one of four."""
    requests, headers, retry_after = draw(limits()), draw(_headers), draw(_retry_after)
    tokens: tuple[Limit | None, Limit | None] = (None, None)
    if draw(st.integers(0, 3)) == 0:
        burst = draw(st.integers(2_000, 50_000))
        tokens = (Limit(draw(st.integers(60_000, 2_000_000)), burst), Limit(600_000, 20_000))
    return Org(requests, *tokens, headers, retry_after, draw(_changes))


_tasks = st.builds(
    lambda tokens, error: Task(tokens, 50, Cost(tokens * error, 60)), st.integers(10, 2_000), st.floats(0.7, 1.4)
)
_honest = st.lists(st.builds(Org, limits(least_burst=4)), min_size=1, max_size=5)


@_WORLDS
@given(
    st.lists(any_org(), min_size=1, max_size=5),
    st.lists(_tasks, min_size=1, max_size=80),
    st.integers(1, 200),
    st.sampled_from([0.05, 0.5, 5.0, 30.0]),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_every_task_is_done_and_nobody_waits_for_ever(
    orgs: list[Org], tasks: list[Task], workers: int, answer: float, processes: int, seed: int
) -> None:
    """However the server behaves. `run` fails by itself if a task is lost or nothing happens any more."""
    network = Network(answer=answer)
    at_work = math.ceil(len(tasks) / max(1, workers // processes)) * (answer + 0.1)
    report = run(orgs, tasks, workers=workers, network=network, processes=processes, seed=seed, most_s=50_000)
    assert report.requests == len(tasks) + report.rejected
    assert sum(len(server.admitted_at) for server in report.servers) == len(tasks)
    assert report.seconds <= at_work + 10 * report.ideal + (report.rejected + 2) * LONG_S


@_WORLDS
@given(_honest, st.integers(1, 150), st.sampled_from([0.05, 0.3, 1.0]), st.integers(0, 9))
def test_an_honest_server_is_used_to_the_full_and_asked_for_no_more(
    orgs: list[Org], tasks: int, answer: float, seed: int
) -> None:
    report = run(orgs, tasks, workers=200, network=Network(answer=answer), seed=seed)
    slowest = min(org.requests.per_second for org in orgs if org.requests is not None)
    # The first answer, the seconds in which the speed grows to what a large bucket takes, and at the end one request
    # whose refill takes long, with the one that is left in the bucket for safety.
    assert report.seconds <= 1.15 * report.ideal + 3 * answer + 3 + 2 / slowest, report
    assert report.rejected <= 0.02 * report.requests + 1, report
    assert max(report.waits) <= 1 / slowest + 1, "the head of the line waits for one request's refill"


@_WORLDS
@given(_honest, st.integers(20, 150), st.integers(1, 3), st.integers(0, 9))
def test_never_more_is_sent_than_the_bucket_and_its_refill(
    orgs: list[Org], tasks: int, processes: int, seed: int
) -> None:
    """In no window of time: nobody can be rejected for what we sent."""
    report = run(orgs, tasks, workers=200, processes=processes, seed=seed)
    for server in report.servers:
        limit = server.org.requests
        assert limit is not None
        times = [at for at, to in report.sent if to is server]
        # Each process has a part of the limit, and a request of its own that the others do not know of yet.
        assert most_over(times, limit.per_second) <= limit.capacity + limit.per_second * _LATE_S + processes - 1


@_WORLDS
@given(limits(least_burst=4), st.sampled_from([0.3, 0.5, 2.0]), st.floats(0.5, 5), st.integers(0, 9))
def test_a_changed_limit_is_kept_to_within_seconds(limit: Limit, factor: float, after: float, seed: int) -> None:
    tasks = math.ceil(limit.capacity + limit.per_second * 12)
    report = run([Org(limit, changes=((after, factor),))], min(tasks, 600), workers=200, seed=seed)
    shrunk = limit.capacity * max(0.0, 1 - factor)  # what a smaller bucket cannot hold any more is lost to everybody
    assert report.seconds <= 1.15 * report.ideal + 3 + shrunk / (limit.per_second * factor), report
    assert report.rejected <= 0.02 * report.requests + 2, report


def most_over(times: list[float], rate: float) -> float:
    """The most that was sent in any window beyond `rate` times its length."""
    most, best = 0.0, -math.inf
    for number, at in enumerate(times):
        best = max(best, rate * at - number)
        most = max(most, number + 1 - rate * at + best)
    return most


def test_most_over_looks_at_every_window() -> None:
    times = [0.0, 1.0, 1.0, 1.0, 1.5, 9.0, 9.1]
    windows = [
        (last - first + 1) - 2 * (times[last] - times[first])
        for first in range(len(times))
        for last in range(first, len(times))
    ]
    assert most_over(times, 2.0) == max(windows) == 3
    assert all(a <= b for a, b in pairwise(times))
