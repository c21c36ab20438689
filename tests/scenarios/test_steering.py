"""What is asked of a run while it runs: requeue, cancel, a limit, another rotation; and what a fault of a duty does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agentdash.engine.facade import End, Engine
from agentdash.engine.store.results_file import ResultsFile
from agentdash.simulator import Kind, Latency, Limit, OrganizationConfig, Rule, Simulator, SimulatorConfig
from tests.scenarios.running import check_finished, check_no_locks, check_once, check_results, check_totals, run, until


async def test_failed_tasks_requeued_during_the_run_are_run_again(tmp_path: Path) -> None:
    rule = Rule(r"Task \d*5 of", Kind.INVALID_REQUEST, times=1, per_prompt=True)
    config = SimulatorConfig.simple(1, rules=(rule,), latency=Latency(first_token_s=0.05))
    async with Simulator(config) as simulator:
        requeued: list[int] = []

        async def requeue(engine: Engine) -> None:
            await simulator.records.wait_until(lambda records: records.total >= 60)
            await until(lambda: engine.store.counts().failed >= 3)
            requeued.append(await engine.requeue())

        outcome = await run(tmp_path, simulator.base_url, config.keys, tasks=100, workers=8, during=requeue)
        assert outcome.end is End.FINISHED
        assert requeued[0] >= 3
        assert outcome.counts.failed == 10 - requeued[0]
        assert outcome.counts.succeeded == 90 + requeued[0]
        assert len(outcome.results) == 100
        check_results(tmp_path, outcome.results, outcome.counts)
        check_totals(outcome, simulator)
        again = await run(tmp_path, simulator.base_url, config.keys)
        assert again.counts == outcome.counts
        assert sorted(line["custom_id"] for line in again.results) == sorted(
            line["custom_id"] for line in outcome.results
        )


async def test_a_running_and_a_pending_task_are_cancelled_and_the_others_go_on(tmp_path: Path) -> None:
    config = SimulatorConfig.simple(1, rules=(Rule("Task 0 of", Kind.HANG),), latency=Latency(first_token_s=0.05))
    async with Simulator(config) as simulator:
        done: list[tuple[int, int]] = []

        async def cancel(engine: Engine) -> None:
            await simulator.records.wait_until(lambda records: any("Task 0 " in r.prompt for r in records))
            done.append(await engine.cancel(["t00000", "t00049", "no such task"]))
            await simulator.records.wait_until(lambda records: any(r.kind is Kind.DISCONNECTED for r in records))

        outcome = await run(tmp_path, simulator.base_url, config.keys, tasks=50, workers=4, during=cancel)
        assert done == [(1, 1)]
        assert outcome.end is End.FINISHED
        assert (outcome.counts.succeeded, outcome.counts.cancelled) == (48, 2)
        cancelled = {line["custom_id"]: line for line in outcome.results if line["result"]["type"] == "canceled"}
        assert set(cancelled) == {"t00000", "t00049"}
        check_results(tmp_path, outcome.results, outcome.counts)
        check_once(simulator, 48)
        check_no_locks(tmp_path)
        assert not any("Task 49 " in record.prompt for record in simulator.records)
        # A cancelled request was sent all the same, and may have to be paid for: it counts.
        assert outcome.totals.requests == simulator.records.total


async def test_a_limit_is_kept_and_the_next_session_does_the_rest(tmp_path: Path) -> None:
    config = SimulatorConfig.simple(1, latency=Latency(first_token_s=0.01))
    async with Simulator(config) as simulator:
        first = await run(tmp_path, simulator.base_url, config.keys, tasks=60, workers=8, limit=25)
        assert first.counts.succeeded == 25
        assert first.counts.pending == 35
        assert simulator.records.total == 25
        assert len(first.results) == 25
        assert {line["custom_id"] for line in first.results} == {f"t{n:05}" for n in range(25)}, "in order"
        second = await run(tmp_path, simulator.base_url, config.keys, workers=8)
        check_finished(second, tmp_path, simulator, 60)


async def test_a_limit_counts_tasks_not_tries(tmp_path: Path) -> None:
    rule = Rule("Task", Kind.API_ERROR, times=1, per_prompt=True)
    config = SimulatorConfig.simple(1, rules=(rule,))
    async with Simulator(config) as simulator:
        outcome = await run(tmp_path, simulator.base_url, config.keys, tasks=20, workers=1, limit=3)
        assert outcome.counts.succeeded == 3
        assert simulator.records.total == 6


async def test_pausing_holds_new_tasks_and_resuming_goes_on(tmp_path: Path) -> None:
    config = SimulatorConfig.simple(1, latency=Latency(first_token_s=0.05))
    async with Simulator(config) as simulator:
        held: list[tuple[int, int]] = []

        async def pause(engine: Engine) -> None:
            await simulator.records.wait_until(lambda records: records.total >= 10)
            engine.pause()
            await simulator.records.wait_until(lambda records: records.active == 0)
            await until(lambda: engine.store.counts().running == 0)
            before = simulator.records.total
            await asyncio.sleep(0.3)  # in which nothing may happen
            held.append((before, simulator.records.total))
            engine.resume()

        outcome = await run(tmp_path, simulator.base_url, config.keys, tasks=60, workers=4, during=pause)
        assert held[0][0] == held[0][1] < 60
        check_finished(outcome, tmp_path, simulator, 60)


async def test_draining_ends_the_run_and_gives_nothing_up(tmp_path: Path) -> None:
    config = SimulatorConfig.simple(1, latency=Latency(first_token_s=0.05))
    async with Simulator(config) as simulator:

        async def drain(engine: Engine) -> None:
            await simulator.records.wait_until(lambda records: records.total >= 10)
            engine.drain()

        outcome = await run(tmp_path, simulator.base_url, config.keys, tasks=60, workers=4, during=drain)
        assert outcome.end is End.DRAINED
        assert outcome.counts.running == 0
        assert 10 <= outcome.counts.succeeded < 30
        assert outcome.counts.succeeded == simulator.records.total, "what was asked was waited for"
        check_results(tmp_path, outcome.results, outcome.counts)
        check_totals(outcome, simulator)
        check_no_locks(tmp_path)


async def test_stopping_at_once_gives_running_tasks_back(tmp_path: Path) -> None:
    config = SimulatorConfig.simple(1, rules=(Rule("Task", Kind.HANG),))
    async with Simulator(config) as simulator:

        async def stop(engine: Engine) -> None:
            # Until its first answer a key gets one request.
            await simulator.records.wait_until(lambda records: records.active >= 1)
            engine.abort()

        outcome = await run(tmp_path, simulator.base_url, config.keys, tasks=20, workers=4, during=stop)
        assert outcome.end is End.DRAINED
        assert outcome.seconds < 30
        assert outcome.counts.pending == 20
        check_results(tmp_path, outcome.results, outcome.counts)
        check_no_locks(tmp_path)


async def test_more_workers_on_the_way(tmp_path: Path) -> None:
    config = SimulatorConfig.simple(1, latency=Latency(first_token_s=0.1))
    async with Simulator(config) as simulator:

        async def grow(engine: Engine) -> None:
            await simulator.records.wait_until(lambda records: records.total >= 5)
            engine.resize(20)
            await simulator.records.wait_until(lambda records: records.max_active >= 15)
            engine.resize(10)

        # Nothing tells of limits here, so the pace grows from a few a second.
        outcome = await run(tmp_path, simulator.base_url, config.keys, tasks=400, workers=2, during=grow)
        check_finished(outcome, tmp_path, simulator, 400)
        assert simulator.records.max_active >= 15


async def test_rotating_by_hand_moves_new_requests_and_loses_none(tmp_path: Path) -> None:
    wide = tuple(OrganizationConfig(name, requests=Limit(60_000, burst=1000)) for name in ("org-a", "org-b"))
    config = SimulatorConfig.simple(2, organizations=2, latency=Latency(first_token_s=0.05))
    async with Simulator(replace(config, organizations=wide)) as simulator:
        moved: list[int] = []

        async def rotate(engine: Engine) -> None:
            await simulator.records.wait_until(lambda records: records.total >= 20)
            assert engine.rotate() == ("key-1", "key-2")
            moved.append(simulator.records.total)

        outcome = await run(tmp_path, simulator.base_url, config.keys, tasks=80, workers=4, during=rotate)
        check_finished(outcome, tmp_path, simulator, 80)
        before = {record.key for record in simulator.records if record.index < moved[0] - 5}
        # Requests under way finish on the old key, and a new key's first answer is awaited before more go there.
        after = [record.key for record in simulator.records if record.index > moved[0] + 10]
        assert "key-1" in before
        assert set(after) == {"key-2"}
        assert outcome.totals.rotations == 1


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), RuntimeError("a fault of ours")])
async def test_a_duty_that_fails_ends_the_run_instead_of_leaving_it_without_heartbeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Without its heartbeats, sweeps and stall watch a run must not go on, whatever the error was."""
    config = SimulatorConfig.simple(1, latency=Latency(first_token_s=0.1))

    def broken(self: ResultsFile) -> int:
        raise fault

    async with Simulator(config) as simulator:
        monkeypatch.setattr(ResultsFile, "sync", broken)
        with pytest.raises(type(fault)):
            await asyncio.wait_for(run(tmp_path, simulator.base_url, config.keys, tasks=500, workers=4), 20)
        assert simulator.records.total < 200
        monkeypatch.undo()
        outcome = await run(tmp_path, simulator.base_url, config.keys, workers=50)
        assert outcome.counts.succeeded == 500
        check_results(tmp_path, outcome.results, outcome.counts)
