"""What the issue asks to be shown, at a size that fits a test; `python -m tests.scenarios.full` does the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios import scenarios


async def test_rate_limits_cost_no_task_its_life(tmp_path: Path) -> None:
    await scenarios.rate_limits(tmp_path, tasks=320, burst=10)


async def test_dead_keys_are_hardly_asked_and_the_good_one_does_the_work(tmp_path: Path) -> None:
    await scenarios.dead_keys(tmp_path, tasks=600)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_bad_service_costs_time_and_nothing_else(tmp_path: Path, stream: bool) -> None:
    await scenarios.bad_service(tmp_path, tasks=500, stream=stream)


async def test_bad_tasks_fail_alone(tmp_path: Path) -> None:
    await scenarios.bad_tasks(tmp_path, tasks=1000)


async def test_an_unreachable_server_stalls_the_run_and_loses_nothing(tmp_path: Path) -> None:
    await scenarios.unreachable(tmp_path, tasks=100)


async def test_a_server_that_comes_up_in_time_finishes_the_run(tmp_path: Path) -> None:
    await scenarios.comes_up(tmp_path, tasks=100)


@pytest.mark.process
@pytest.mark.parametrize("kill", [False, True], ids=["both live", "one killed"])
async def test_two_processes_share_the_work(tmp_path: Path, kill: bool) -> None:
    await scenarios.two_processes(tmp_path, tasks=200, kill=kill)


@pytest.mark.parametrize("how", scenarios.ALL_EXHAUSTED)
async def test_without_a_usable_key_the_run_stalls_at_once(tmp_path: Path, how: str) -> None:
    await scenarios.all_exhausted(tmp_path, tasks=100, how=how)


async def test_a_long_cooldown_holds_no_task_and_stalls_the_run(tmp_path: Path) -> None:
    await scenarios.long_cooldown(tmp_path, tasks=100)


@pytest.mark.process
async def test_a_limit_is_its_organisations_here_and_in_other_processes(tmp_path: Path) -> None:
    await scenarios.siblings_cool(tmp_path, tasks=200)
