"""What the issue asks to be shown, each as one function that runs it, checks all that must hold, and gives figures.

`test_scenarios.py` runs them at the size that fits a test; `full.py` at the size the issue names.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

from agentdash.engine.facade import End, Engine
from agentdash.simulator import (
    FailureRates,
    KeyBehaviour,
    KeyConfig,
    Kind,
    Latency,
    Limit,
    OrganizationConfig,
    Rule,
    Simulator,
    SimulatorConfig,
)
from tests.scenarios.running import (
    Figures,
    Run,
    check_finished,
    check_no_locks,
    check_once,
    check_results,
    check_totals,
    command,
    limited,
    read_results,
    run,
    until,
    write_tasks,
)

FAR_AWAY = "2037-01-01 at 00:00 UTC"


def _keys(number: int, organizations: int) -> tuple[KeyConfig, ...]:
    return tuple(
        KeyConfig(f"sim-key-{n}-000{n}", f"org-{n % organizations}", name=f"key-{n + 1}") for n in range(number)
    )


def _figures(name: str, tasks: int, outcome: Run, simulator: Simulator, note: str = "") -> Figures:
    return Figures(name, tasks, outcome.seconds, simulator.records.total, limited(simulator.records), note)


async def rate_limits(project: Path, *, tasks: int, workers: int = 64, burst: float | None = None) -> Figures:
    """4 keys of 4 organisations at 20 requests a second each: all succeed, with 429s on the way.

    The limits are not told: those that are told are kept to, without a 429 (`benchmarks/pacing.py`).
    """
    keys = _keys(4, 4)
    organizations = tuple(
        OrganizationConfig(f"org-{n}", requests=Limit(1200, burst), headers="identity") for n in range(4)
    )
    config = SimulatorConfig(organizations=organizations, keys=keys, latency=Latency(first_token_s=0.02))
    async with Simulator(config) as simulator:
        outcome = await run(project, simulator.base_url, keys, tasks=tasks, workers=workers)
        check_finished(outcome, project, simulator, tasks)
        met = limited(simulator.records)
        assert met > 0, "without a single 429 nothing was shown"
        early = _sent_while_cooling(simulator)
        assert early <= tasks / 10, f"{early} requests while their organisation cooled"
        used = {record.key for record in simulator.records if record.kind is Kind.ANSWER}
        assert used == {key.name for key in keys}, "every pool is used when needed"
        assert outcome.most_parked == 0
        return _figures("rate limits", tasks, outcome, simulator, f"{early} sent while cooling")


def _sent_while_cooling(simulator: Simulator) -> int:
    """Requests that came long after a 429 of their organisation was sent, and well before the second it asked for was
    over. Those that were on their way then come sooner."""
    limits: dict[str, list[float]] = {}
    number = 0
    for record in simulator.records:
        ended = limits.setdefault(record.organization, [])
        number += any(0.5 < record.received_at - at < 0.95 for at in ended[-100:])
        if record.kind is Kind.RATE_LIMITED:
            ended.append(record.finished_at or record.received_at)
    return number


async def dead_keys(project: Path, *, tasks: int, quota: int = 100) -> Figures:
    """One key 401, one 403, one with a daily quota, one good: all succeed, the dead keys are hardly asked."""
    keys = (
        KeyConfig("sim-key-dead-401", "org-0", KeyBehaviour("invalid"), name="key-1"),
        KeyConfig("sim-key-dead-403", "org-1", KeyBehaviour("forbidden"), name="key-2"),
        KeyConfig("sim-key-quota", "org-2", KeyBehaviour("quota", daily_requests=quota), name="key-3"),
        KeyConfig("sim-key-good", "org-3", name="key-4"),
    )
    organizations = tuple(OrganizationConfig(f"org-{n}") for n in range(4))
    async with Simulator(SimulatorConfig(organizations, keys, latency=Latency(first_token_s=0.02))) as simulator:
        outcome = await run(project, simulator.base_url, keys, tasks=tasks, workers=32)
        check_finished(outcome, project, simulator, tasks)
        asked = simulator.stats()["by_key"]
        assert asked["key-1"] <= 3, asked
        assert asked["key-2"] <= 3, asked
        assert quota <= asked["key-3"] <= quota + 32, asked
        spoken = {line["agentdash"]["credential"] for line in outcome.results}
        assert spoken == {"key-3", "key-4"}
        note = ", ".join(f"{name} asked {number}" for name, number in sorted(asked.items()))
        return _figures("dead keys", tasks, outcome, simulator, note)


async def bad_service(project: Path, *, tasks: int, stream: bool = True, seed: int = 1) -> Figures:
    """5 % 529, 3 % 500, 2 % dropped, 1 % cut: all succeed and no worker is parked."""
    failures = FailureRates(overloaded=0.05, api_error=0.03, drop_stream=0.02, cut_stream=0.01)
    config = SimulatorConfig.simple(2, failures=failures, seed=seed, latency=Latency(first_token_s=0.02))
    async with Simulator(config) as simulator:
        outcome = await run(project, simulator.base_url, config.keys, tasks=tasks, workers=32, stream=stream)
        check_finished(outcome, project, simulator, tasks)
        assert outcome.most_parked == 0, outcome.events
        broken = simulator.records.total - tasks
        assert broken > tasks * 0.05
        assert outcome.totals.retries == broken
        assert outcome.totals.rotations == 0, "another key would meet the same service"
        return _figures("bad service", tasks, outcome, simulator, f"{broken} broken answers")


async def bad_tasks(project: Path, *, tasks: int, bad: int = 10) -> Figures:
    """Ten bad tasks among many: exactly those fail, with their reason; no worker is parked for it."""
    rule = Rule(r"Task \d*77 of", Kind.INVALID_REQUEST, message="messages: the seventy-seventh is refused")
    expected = [n for n in range(tasks) if n % 100 == 77]
    assert len(expected) == bad
    config = SimulatorConfig.simple(1, rules=(rule,), latency=Latency(first_token_s=0.01))
    async with Simulator(config) as simulator:
        outcome = await run(project, simulator.base_url, config.keys, tasks=tasks, workers=32)
        check_finished(outcome, project, simulator, tasks, failed=bad)
        assert simulator.records.total == tasks, "a refused task is not asked again"
        failed = [line for line in outcome.results if line["agentdash"]["state"] == "failed"]
        assert {line["custom_id"] for line in failed} == {f"t{n:05}" for n in expected}
        for line in failed:
            error = line["result"]["error"]
            assert error["type"] == "invalid_request_error"
            assert "the seventy-seventh is refused" in error["message"]
        assert outcome.most_parked == 0
        assert all(worker.consecutive_failures == 0 for worker in outcome.workers)
        return _figures("bad tasks", tasks, outcome, simulator, f"{len(failed)} failed")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def unreachable(project: Path, *, tasks: int) -> Figures:
    """Nobody listens: the run stalls after its time, and nothing is lost."""
    keys = _keys(2, 1)
    outcome = await run(project, f"http://127.0.0.1:{_free_port()}", keys, tasks=tasks, workers=16, stall_timeout_s=2.0)
    assert outcome.end is End.STALLED, outcome.end
    assert 2.0 <= outcome.seconds < 30.0, outcome.seconds
    assert outcome.counts.pending == tasks
    assert outcome.results == []
    assert "Connect" in (outcome.stall_reason or ""), outcome.stall_reason
    check_results(project, outcome.results, outcome.counts)
    check_no_locks(project)
    return Figures("unreachable", tasks, outcome.seconds, 0, 0, outcome.stall_reason or "")


async def comes_up(project: Path, *, tasks: int) -> Figures:
    """Nobody listens at first, then the server comes up: the run finishes."""
    port = _free_port()
    config = SimulatorConfig.simple(2)
    simulator = Simulator(config, port=port)

    async def bring_up(engine: Engine) -> None:
        await until(lambda: any(event.kind == "backoff" for event in engine.events_since(0)))
        await asyncio.sleep(1.0)  # the outage's length: nothing is waited for
        await simulator.__aenter__()

    try:
        outcome = await run(
            project,
            f"http://127.0.0.1:{port}",
            config.keys,
            tasks=tasks,
            workers=16,
            stall_timeout_s=40.0,
            during=bring_up,
        )
        assert outcome.end is End.FINISHED, outcome.events
        assert outcome.counts.succeeded == tasks
        check_results(project, outcome.results, outcome.counts)
        check_once(simulator, tasks)
        assert outcome.seconds < 30.0, "one wave of failures counts once: the wait after it is short"
        assert outcome.most_parked == 0
        return _figures("comes up late", tasks, outcome, simulator, f"{outcome.totals.recoveries} recoveries")
    finally:
        await simulator.__aexit__(None, None, None)


async def two_processes(project: Path, *, tasks: int, kill: bool, workers: int = 8) -> Figures:
    """Two processes on one folder: both work, nothing runs twice; with `kill` one dies and the other finishes."""
    # Slow until both are at work: the second one needs its time to start.
    config = SimulatorConfig.simple(2, latency=Latency("fixed", 1.0))
    source = write_tasks(project, tasks)
    async with Simulator(config) as simulator:
        started = time.monotonic()
        first = await command(project, simulator.base_url, config.keys, str(source), workers=workers)
        # The second one joins as soon as there is something to join.
        await simulator.records.wait_until(lambda records: records.total >= 2, timeout=30)
        second = await command(project, simulator.base_url, config.keys, workers=workers)
        await simulator.records.wait_until(lambda records: records.max_active > workers, timeout=30)
        simulator.update(latency=Latency("uniform", 0.05, 0.15))
        if kill:
            os.kill(first.pid, signal.SIGKILL)
        codes = list(await asyncio.gather(first.end(), second.end()))
        seconds = time.monotonic() - started
        assert codes == [-signal.SIGKILL if kill else 0, 0], (codes, first.output, second.output)
        check_once(simulator, tasks, repeated=workers if kill else 0)
        results = read_results(project)
        assert len(results) == tasks
        assert all(line["agentdash"]["state"] == "succeeded" for line in results)
        check_no_locks(project)
        again = await run(project, simulator.base_url, config.keys)
        assert again.end is End.FINISHED
        check_results(project, results, again.counts)
        if not kill:
            assert again.totals.requests == simulator.records.total
        name = "two processes, one killed" if kill else "two processes"
        return Figures(name, tasks, seconds, simulator.records.total, 0, f"exit codes {codes}")


async def all_exhausted(project: Path, *, tasks: int, how: str) -> Figures:
    """No key can be used any more: the run stalls at once instead of waiting ten minutes."""
    behaviours = {
        "invalid": KeyBehaviour("invalid"),
        "forbidden": KeyBehaviour("forbidden", after=5),
        "credit": KeyBehaviour("credit", after=3),
        "quota": KeyBehaviour("quota", daily_requests=4, regain_at=FAR_AWAY),
    }
    keys = tuple(KeyConfig(f"sim-key-{n}-000{n}", f"org-{n}", behaviours[how], name=f"key-{n + 1}") for n in range(3))
    organizations = tuple(OrganizationConfig(f"org-{n}") for n in range(3))
    async with Simulator(SimulatorConfig(organizations, keys, latency=Latency(first_token_s=0.05))) as simulator:
        outcome = await run(project, simulator.base_url, keys, tasks=tasks, workers=16, stall_timeout_s=600.0)
        assert outcome.end is End.STALLED, outcome.end
        assert outcome.seconds < 60.0, outcome.seconds
        assert outcome.counts.failed == 0
        assert outcome.counts.running == 0
        assert outcome.counts.pending + outcome.counts.succeeded == tasks
        assert "key-1" in (outcome.stall_reason or ""), outcome.stall_reason
        check_results(project, outcome.results, outcome.counts)
        check_no_locks(project)
        served = {"invalid": 0, "forbidden": 15, "credit": 9, "quota": 12}[how]
        assert outcome.counts.succeeded == served, outcome.counts
        return _figures(f"all keys {how}", tasks, outcome, simulator, f"{served} served before")


async def long_cooldown(project: Path, *, tasks: int) -> Figures:
    """The only limit cools for an hour: no task is held for that, the run stalls after its time."""
    keys = _keys(2, 1)
    small = OrganizationConfig(
        "org-0", requests=Limit(1, burst=20), headers="identity", retry_after="long", retry_after_long_s=3600
    )
    async with Simulator(SimulatorConfig((small,), keys, latency=Latency(first_token_s=0.05))) as simulator:
        outcome = await run(project, simulator.base_url, keys, tasks=tasks, workers=16, stall_timeout_s=2.0)
        assert outcome.end is End.STALLED
        assert outcome.seconds < 60.0, outcome.seconds
        assert "rate limit" in (outcome.stall_reason or ""), outcome.stall_reason
        assert (outcome.counts.succeeded, outcome.counts.pending) == (20, tasks - 20), outcome.counts
        check_results(project, outcome.results, outcome.counts)
        check_totals(outcome, simulator)
        check_no_locks(project)
        return _figures("long cooldown", tasks, outcome, simulator)


async def siblings_cool(project: Path, *, tasks: int) -> Figures:
    """Two keys of one organisation: a 429 on one cools the other too, here and in a second process."""
    keys = (
        KeyConfig("sim-key-1-0001", "org-0", name="key-1"),
        KeyConfig("sim-key-2-0002", "org-0", name="key-2"),
        KeyConfig("sim-key-3-0003", "org-1", name="key-3"),
    )
    small = OrganizationConfig(  # its limit is not told: one that is told is kept to
        "org-0", requests=Limit(1, burst=30), headers="identity", retry_after="long", retry_after_long_s=120
    )
    config = SimulatorConfig((small, OrganizationConfig("org-1")), keys, latency=Latency(first_token_s=0.05))
    async with Simulator(config) as simulator:
        seen_by_second: list[int] = []

        async def second(engine: Engine) -> None:
            await simulator.records.wait_until(lambda _: limited(simulator.records) > 0, timeout=30)
            await until(lambda: any(record.cooldown_until for record in engine.store.credentials()))
            seen_by_second.append(simulator.records.total)
            other = await command(project, simulator.base_url, keys, workers=4)
            code = await other.end()
            assert code == 0, other.output

        outcome = await run(project, simulator.base_url, keys, tasks=tasks, workers=8, during=second)
        assert outcome.counts.succeeded == tasks, outcome.counts
        check_results(project, read_results(project), outcome.counts)
        check_once(simulator, tasks)
        met = [record for record in simulator.records if record.kind is Kind.RATE_LIMITED]
        # Requests that were on their way when the first 429 came may meet it too; none leaves after it was read.
        assert 1 <= len(met) <= 8, len(met)
        late = [r for r in simulator.records.since(seen_by_second[0]) if r.organization == "org-0"]
        assert not late, f"{len(late)} requests on keys that cool"
        return _figures("siblings cool", tasks, outcome, simulator, f"{len(met)} requests met the limit")


ALL_EXHAUSTED = ("invalid", "forbidden", "credit", "quota")
