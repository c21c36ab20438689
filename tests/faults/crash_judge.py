"""What a crash left behind, and what must hold when everything has been run to its end: seen from outside only."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

SUCCEEDED, RUNNING = 2, 1
"""Task states as the database has them."""


@dataclass(frozen=True)
class Left:
    """A project as a death left it: the tasks whose answers are durable, the claims that were open (task, fence), and
    the tasks of whose success the results file tells in a whole line. `without_result`: durable, and yet no answer."""

    durable: frozenset[str] = frozenset()
    open: frozenset[tuple[str, int]] = frozenset()
    told: tuple[str, ...] = ()
    without_result: frozenset[str] = frozenset()


def look(project: Path, scratch: Path) -> Left:
    """Read a copy: opening the database itself would already mend what the next process has to find."""
    shutil.rmtree(scratch, ignore_errors=True)
    state = project / ".agentdash"
    lines = [json.loads(line) for line in _whole_lines(project / "results.jsonl")]
    told = tuple(str(line["custom_id"]) for line in lines if line["agentdash"]["state"] == "succeeded")
    if not (state / "state.db").exists():
        return Left(told=told)
    scratch.mkdir()
    for path in state.glob("state.db*"):
        if not path.name.endswith("-shm"):
            shutil.copyfile(path, scratch / path.name)
    with closing(sqlite3.connect(scratch / "state.db")) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'tasks'").fetchall():
            return Left(told=told)
        rows = database.execute("SELECT id, state, fence FROM tasks").fetchall()
        results = {row[0] for row in database.execute("SELECT id FROM results JOIN tasks USING (seq)")}
    durable = frozenset(task for task, state, _ in rows if state == SUCCEEDED)
    still_open = frozenset((task, fence) for task, state, fence in rows if state == RUNNING)
    return Left(durable, still_open, told, durable - results)


def judge_death(left: Left) -> Iterable[str]:
    """What must hold at the moment of a death."""
    if left.without_result:
        yield f"succeeded without a result: {sorted(left.without_result)}"
    if early := set(left.told) - left.durable:
        yield f"in the results file before they were durable: {sorted(early)}"
    if twice := [task for task, number in Counter(left.told).items() if number > 1]:
        yield f"twice in the results file: {twice}"


def judge_end(project: Path, tasks: frozenset[str], deaths: Iterable[Left]) -> Iterable[str]:
    """What must hold when the last run has ended."""
    results = project / "results.jsonl"
    if not results.exists() or (results.read_bytes() or b"\n")[-1:] != b"\n":
        yield "results.jsonl is missing, or ends within a line"
    lines = [json.loads(line) for line in _whole_lines(results)]
    if Counter(line["custom_id"] for line in lines) != Counter(tasks):
        yield f"results.jsonl holds {sorted(line['custom_id'] for line in lines)}"
    if any(line["result"]["type"] != "succeeded" or line["agentdash"]["attempts"] != 1 for line in lines):
        yield "a line of results.jsonl tells of no success at the first attempt"
    yield from _judge_store(project, tasks, {claim for left in deaths for claim in left.open})
    if (left := {path.name for path in (project / ".locks").iterdir()}) != {".gitignore"}:
        yield f"left in .locks: {sorted(left)}"
    if (left := {path.name for path in (project / ".agentdash").iterdir()}) - {
        "state.db", "results.lock", "agentdash.log"
    }:  # fmt: skip
        yield f"left in .agentdash: {sorted(left)}"
    if (left := {path.name for path in project.iterdir()}) != {".agentdash", ".locks", "results.jsonl", "tasks.jsonl"}:
        yield f"left in the project: {sorted(left)}"


def _judge_store(project: Path, tasks: frozenset[str], lost_claims: set[tuple[str, int]]) -> Iterable[str]:
    crashes = Counter(task for task, _ in lost_claims)
    with closing(sqlite3.connect(project / ".agentdash" / "state.db")) as database:
        if (verdict := database.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            yield f"the database: {verdict}"
        rows = database.execute("SELECT id, state, attempts, crashes, seq FROM tasks").fetchall()
        ends = database.execute("SELECT seq, outcome FROM attempts").fetchall()
        counts = database.execute("SELECT pending, running, succeeded, failed, cancelled FROM totals").fetchone()
        processes = database.execute("SELECT count(*) FROM processes").fetchone()[0]
    wanted = {task: (SUCCEEDED, 1, crashes[task]) for task in tasks}
    if {task: found for task, *found, _ in rows} != {task: list(want) for task, want in wanted.items()}:
        yield f"rows (state, attempts, crashes): {rows}, and {dict(crashes)} had crashed"
    for task, _, _, _, seq in rows:
        outcomes = Counter(outcome for at, outcome in ends if at == seq)
        if outcomes["succeeded"] != 1 or outcomes["crashed"] != crashes[task]:
            yield f"{task}: its attempts ended {dict(outcomes)}"
    if counts != (0, 0, len(tasks), 0, 0):
        yield f"the counts that are kept: {counts}"
    if processes:
        yield f"{processes} processes are still written down"


def judge_calls(tasks: frozenset[str], calls: list[Counter[str]], deaths: list[Left]) -> Iterable[str]:
    """Each life's calls (or requests), from the first to the last, which ended well: a task is asked for once in a
    life, and never again when its answer was durable."""
    done: frozenset[str] = frozenset()
    for life, asked in enumerate(calls):
        if again := sorted(asked.keys() & done):
            yield f"asked again though the answer was durable: {again}"
        if twice := [task for task, number in asked.items() if number > 1]:
            yield f"asked twice in one life: {twice}"
        if life == len(calls) - 1 and asked.keys() != tasks - done:
            yield f"the last life asked for {sorted(asked)}, and {sorted(tasks - done)} were left"
        if life < len(deaths):
            done = deaths[life].durable


def _whole_lines(path: Path) -> list[bytes]:
    """The lines that have their end."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
