"""Limits from the command line: how a run that reaches one ends, and what other terminals are told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, counts, wait_until, write_tasks

COSTLY = """
import asyncio
from pathlib import Path

from agentdash.engine.failures import StatedFailureError
from agentdash.model import Answer, FailureClass

async def paid(task, worker_id):
    return Answer("done", cost_usd=0.1)

async def slowly(task, worker_id):
    await asyncio.sleep(0.05)
    return Answer("done", cost_usd=0.1)

async def unpriced(task, worker_id):
    return Answer("done", {"type": "message", "model": "some-model"})

async def fails_first(task, worker_id):
    "The first try of each task costs something and fails, the second one waits for the file `go`."
    mark = Path("tried-" + task["id"])
    if not mark.exists():
        mark.touch()
        raise StatedFailureError(FailureClass.TASK, "not yet", cost_usd=0.25)
    Path("again-" + task["id"]).touch()
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return Answer("done", cost_usd=0.5)
"""
PAID = ("run", "--processor", "costly:paid", "--workers", "2")

process = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(autouse=True)
def costly(place: Path) -> None:
    """The module of these tests' functions."""
    (place / "costly.py").write_text(COSTLY)


def status_of(agentdash: Run) -> dict[str, Any]:
    report: dict[str, Any] = agentdash("status", "--json").json()
    return report


def test_a_run_that_reaches_its_limit_says_so_and_how_to_go_on(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 20)
    done = agentdash(*PAID, "t.jsonl", "--max-cost", "1", "--json")
    assert done.code == 4
    assert "Paused after" in done.err
    assert "Reason: the limit of $1.00 is reached ($1.00 spent).\n" in done.err
    assert "Nothing is lost: `agentdash run --max-cost 2` goes on.\n" in done.err
    report = done.json()
    assert (report["succeeded"], report["pending"], report["paused"]) == (10, 10, True)
    assert report["limits"] == {
        "max_cost_usd": 1.0,
        "cost_left_usd": 0.0,
        "max_task_cost_usd": None,
        "max_duration_s": None,
        "duration_left_s": None,
        "stop_after": None,
        "reached": "max_cost",
        "reason": "the limit of $1.00 is reached ($1.00 spent)",
    }
    assert agentdash(*PAID, "--max-cost", "2").code == 0
    assert counts(place).succeeded == 20


def test_a_moment_that_has_passed(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 3)
    done = agentdash(*PAID, "t.jsonl", "--stop-after", "2020-01-02T03:04Z")
    assert done.code == 4
    assert "Reason: the time to stop, 2020-01-02 " in done.err
    assert "Nothing is lost: `agentdash run` goes on.\n" in done.err
    assert counts(place).pending == 3


def test_an_unknown_price_is_told_once(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 5)
    done = agentdash("run", "--processor", "costly:unpriced", "t.jsonl", "--max-cost", "1")
    assert done.code == 0
    said = "the price of some-model is not known: they count as $0.00 towards the limit"
    assert done.err.count(said) == 1
    assert said not in agentdash("run", "--processor", "costly:unpriced").err


def test_settings_and_variables_hold_limits_too(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 20)
    (place / "agentdash.toml").write_text('max_duration = "9h"\nstop_after = 2099-01-01T00:00:00Z\nmax_cost = 25\n')
    monkeypatch.setenv("AGENTDASH_MAX_COST", "0.5")
    done = agentdash(*PAID, "t.jsonl", "--json")
    assert done.code == 4
    assert "($0.50 spent)" in done.err
    limits = done.json()["limits"]
    assert (limits["max_duration_s"], limits["stop_after"]) == (32_400.0, "2099-01-01T00:00:00.000Z")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max-cost", "-1"], "max_cost must be an amount of US dollars above 0, not -1.0."),
        (["--max-cost", "x"], "Invalid value for '--max-cost'"),
        (["--max-cost", "nan"], "max_cost must be an amount of US dollars above 0, not nan."),
        (["--max-cost", "0"], "max_cost must be an amount of US dollars above 0, not 0.0."),
        (["--max-task-cost", "inf"], "max_task_cost must be an amount of US dollars above 0, not inf."),
        (["--max-duration", "0"], "max_duration must be a time such as 30s, 45m or 2h30m"),
        (["--max-duration", "soon"], "max_duration must be a time such as 30s, 45m or 2h30m"),
        (["--stop-after", "25:00"], "stop_after must be a time such as 07:30 or 2026-11-22T07:30"),
    ],
)
def test_limits_that_are_none(agentdash: Run, place: Path, flags: list[str], said: str) -> None:
    write_tasks(place / "t.jsonl", ["x"])
    done = agentdash(*PAID, "t.jsonl", *flags)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not (place / ".agentdash").exists()


@process
def test_other_terminals_see_what_is_left(
    agentdash: Run, spawn: Callable[..., subprocess.Popen[str]], place: Path
) -> None:
    write_tasks(place / "t.jsonl", ["x"])
    flags = ("--max-cost", "25", "--max-task-cost", "1", "--max-duration", "2h", "--stop-after", "2099-01-01T00:00Z")
    run = spawn("run", "t.jsonl", "--processor", "cli_functions:hold", *flags)
    wait_until((place / "started-t0").exists, run)
    wait_until(lambda: status_of(agentdash)["limits"]["max_cost_usd"] == 25.0, run)
    limits = status_of(agentdash)["limits"]
    assert (limits["cost_left_usd"], limits["max_task_cost_usd"], limits["reached"]) == (25.0, 1.0, None)
    assert 7000 < limits["duration_left_s"] <= limits["max_duration_s"] == 7200
    shown = agentdash("status").out
    assert "  limits: $25.00 left of $25.00, $1.00 a task, " in shown
    assert " left of 2:00:00, stops after 20" in shown
    (place / "go").touch()
    assert run.wait(30) == 0
    assert status_of(agentdash)["limits"]["max_cost_usd"] is None, "each session has its own"


@process
def test_the_cost_of_a_failed_try_is_counted_once_though_its_run_was_killed(
    agentdash: Run, spawn: Callable[..., subprocess.Popen[str]], place: Path
) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 3)
    command = ("run", "t.jsonl", "--processor", "costly:fails_first", "--workers", "3")
    for _ in range(2):
        run = spawn(*command)
        wait_until(lambda: all((place / f"again-t{n}").exists() for n in range(3)), run)
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        for mark in place.glob("again-*"):
            mark.unlink()
    (place / "go").touch()
    done = agentdash(*command, "--json")
    assert done.code == 0
    assert done.json()["cost_usd"] == 3 * 0.75
    results = [json.loads(line) for line in (place / "results.jsonl").read_text().splitlines()]
    assert [line["agentdash"]["cost_usd"] for line in results] == [0.75] * 3


@process
def test_two_runs_on_one_folder_share_what_it_may_cost(
    spawn: Callable[..., subprocess.Popen[str]], place: Path
) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 200)
    command = ("run", "t.jsonl", "--processor", "costly:slowly", "--workers", "4", "--max-cost", "5", "--json")
    runs = [spawn(*command) for _ in range(2)]
    ends = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [4, 4], ends
    spent = max(json.loads(out.splitlines()[-1])["cost_usd"] for out, _ in ends)
    assert 4.9 <= spent <= 5 + 8 * 0.1, "at most what both began in one moment more"
    done = counts(place)
    assert (done.succeeded, done.running) == (round(spent / 0.1), 0)
    assert len((place / "results.jsonl").read_text().splitlines()) == done.succeeded
