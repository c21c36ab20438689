"""The short form of `crashpoints.py`: death before every operation that leaves a trace, and all is well in the end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]

MUST_HAVE = {
    "function": {
        "store: open state.db", "store: CREATE TABLE tasks", "store: INSERT INTO tasks", "store: BEGIN IMMEDIATE",
        "store: UPDATE tasks SET state", "store: INSERT INTO results", "store: COMMIT", "store: close",
        "lock: mkdir .locks", "lock: pwrite .gitignore", "lock: open task.lock", "lock: flock task.lock",
        "lock: pwrite task.lock", "lock: unlink task.lock", "lock: unlock task.lock", "lock: close task.lock",
        "request: call", "answer: return",
        "results: open results.lock", "results: flock results.lock", "results: open results.jsonl",
        "results: pwrite results.jsonl", "results: fsync results.jsonl", "results: close results.lock",
    },
    "messages": {"request: connect", "request: send", "answer: receive", "store: INSERT INTO credentials"},
    "recovery": {"lock: flock task.lock", "lock: unlink task.lock", "store: INSERT OR REPLACE INTO attempts SELECT",
                 "log: open agentdash.log", "log: line"},
    "torn line": {"results: ftruncate results.jsonl", "results: pwrite results.jsonl"},
    "requeue": {"store: DELETE FROM results WHERE seq IN", "results: open .results.jsonl.agentdash.tmp",
                "results: pwrite .results.jsonl.agentdash.tmp", "results: fsync .results.jsonl.agentdash.tmp",
                "results: replace results.jsonl", "project: fsync ."},
    "requeue last": {"results: pwrite .results.jsonl.agentdash.tmp", "results: replace results.jsonl"},
    "requeue behind": {"results: pwrite .results.jsonl.agentdash.tmp", "results: replace results.jsonl"},
    "spare locks": {"lock: rename .spare", "lock: link task.lock", "lock: unlink task.lock", "lock: unlink .spare",
                    "lock: unlock .spare"},
}  # fmt: skip
"""Points without which a scenario would not be what it says: a hook that no longer catches anything shows here."""


@pytest.fixture(scope="module")
def reports() -> Iterator[dict[str, dict[str, Any]]]:
    """What each scenario came to."""
    command = [sys.executable, "-m", "tests.faults.crashpoints", "--short", "--json"]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=850, check=False)
    assert child.stdout, child.stderr
    yield {report["scenario"]: report for report in map(json.loads, child.stdout.splitlines())}
    assert child.returncode == 0, child.stderr


_OF_THE_MACHINE = re.compile(r"answer: receive|'request: connect(?:ion closed)?', (?!1,)")


@pytest.mark.parametrize("scenario", MUST_HAVE)
def test_a_death_at_any_point_loses_nothing_and_does_nothing_twice(
    reports: dict[str, dict[str, Any]], scenario: str
) -> None:
    report = reports[scenario]
    assert report["trouble"] == []
    assert report["uncovered"] == []  # no trace is left that is not a point
    assert MUST_HAVE[scenario] - set(report["kinds"]) == set()
    assert report["never_hit"] == []
    # How many pieces an answer comes in, and over how many connections, is the machine's affair; and with threads any
    # point may come once more or less in a run, so one in fifty may be missed, several times over.
    missed = [point for point in report["missed"] if not _OF_THE_MACHINE.search(point)]
    assert len(missed) <= 0.02 * report["aimed"], missed
    assert report["killed"] >= 0.9 * report["aimed"], report["missed"]
    assert report["aimed"] >= 15
