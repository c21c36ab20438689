"""Tasks that wait for others, from the command line: what is refused, how such a run ends, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, counts

RUN = ("run", "--processor", "cli_functions:echo", "--workers", "2", "--max-attempts", "1")


def write(path: Path, *tasks: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps({"prompt": "fine", **task}) + "\n" for task in tasks))


@pytest.fixture
def held(agentdash: Run, place: Path) -> Path:
    """`bad` failed, and `next` and `last` wait for it."""
    write(
        place / "t.jsonl",
        {"id": "last", "after": ["next", "good"]},
        {"id": "next", "after": "bad"},
        {"id": "bad", "prompt": "please fail", "lock": "db"},
        {"id": "good"},
    )
    done = agentdash(*RUN, "t.jsonl")
    assert done.code == 3
    assert "2 tasks wait for tasks that failed: bad." in done.err
    assert "1 succeeded, 1 failed, 2 held" in done.err
    assert "goes on" not in done.err
    return place


def test_held_tasks_are_told_of_everywhere(agentdash: Run, held: Path) -> None:
    status = agentdash("status", "--json").json()
    assert [status[name] for name in ("total", "pending", "held")] == [4, 2, 2]
    assert "pending 2  held 2" in agentdash("status").out
    assert ": finished" in agentdash("status").out
    rows = {row["id"]: row for row in map(json.loads, agentdash("tasks", "--json").out.splitlines())}
    assert (rows["last"]["after"], rows["last"]["waits_for"], rows["last"]["held_by"]) == (["next", "good"], 1, "bad")
    assert (rows["good"]["after"], rows["good"]["waits_for"], rows["good"]["held_by"]) == ([], 0, None)
    assert agentdash("tasks").out.count("held by bad") == 2


def test_show_lists_what_a_task_waits_for_and_what_waits_for_it(agentdash: Run, held: Path) -> None:
    text = agentdash("show", "next").out
    assert "  held by bad" in text
    assert "waits for\n  bad: failed\n" in text
    assert "needed by\n  last: pending, held\n" in text
    shown = agentdash("show", "next", "--json").json()
    assert shown["waits_on"] == [{"id": "bad", "state": "failed", "held": False}]
    assert shown["needed_by"] == [{"id": "last", "state": "pending", "held": True}]
    assert "lock: [" in agentdash("show", "bad").out


def test_requeued_it_goes_on_and_a_run_of_held_tasks_ends_at_once(agentdash: Run, held: Path) -> None:
    again = agentdash(*RUN)
    assert (again.code, counts(held).held) == (3, 2)
    agentdash("requeue", "bad")
    assert counts(held).held == 0
    assert "waits for bad" in agentdash("tasks", "--state", "pending").out
    agentdash("cancel", "bad")
    cancelled = agentdash(*RUN)
    assert cancelled.code == 3
    assert "2 tasks wait for tasks that were cancelled: bad." in cancelled.err


def test_a_circle_and_an_unknown_id_are_bad_input(agentdash: Run, place: Path) -> None:
    write(
        place / "t.jsonl", {"id": "a", "after": "b"}, {"id": "b", "after": "a"}, {"id": "c", "after": "x"}, {"id": "d"}
    )
    done = agentdash(*RUN, "t.jsonl")
    assert done.code == 2
    assert "t.jsonl:1: after goes in a circle: 'a' → 'b' → 'a'" in done.err
    assert "t.jsonl:3: after names 'x': there is no such task here or in this project" in done.err
    assert counts(place).total == 0
    good = agentdash(*RUN, "t.jsonl", "--skip-bad")
    assert good.code == 0
    assert "Skipped: t.jsonl:3: after names 'x'" in good.err
    assert counts(place).succeeded == 1


def test_tasks_may_wait_for_those_of_another_file(agentdash: Run, place: Path) -> None:
    write(place / "one.jsonl", {"id": "a", "after": "b"})
    write(place / "two.jsonl", {"id": "b"})
    assert agentdash(*RUN, "one.jsonl", "two.jsonl").code == 0
    write(place / "three.jsonl", {"id": "c", "after": ["a", "b"]})
    assert agentdash(*RUN, "three.jsonl").code == 0
    assert counts(place).succeeded == 3


def test_prioritize(agentdash: Run, held: Path) -> None:
    done = agentdash("prioritize", "next", "last", "good", "--to", "7")
    assert (done.code, done.out) == (0, "2 tasks given priority 7.\n")
    assert "good has finished already." in done.err
    rows = {row["id"]: row["priority"] for row in map(json.loads, agentdash("tasks", "--json").out.splitlines())}
    assert rows == {"last": 7, "next": 7, "bad": 0, "good": 0}
    assert agentdash("prioritize", "nobody", "--to", "1").code == 2
    assert agentdash("prioritize", "next", "--to", "1000001").code == 2
    assert agentdash("prioritize", "next").code == 2
