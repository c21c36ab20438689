"""Point 4: what a lock file says, and that hostile content is only ever 'not ours'."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.locks import TaskLock
from agentdash.engine.locks.record import decode, encode, this_process

FIELDS = {"task_id", "holder_id", "pid", "process_start", "boot_id", "host", "acquired_at", "timeout"}


def test_the_file_holds_every_field_and_a_time_with_its_zone(locks: TaskLock, project: Path) -> None:
    locks.acquire("t1", "worker-3", timeout=12.5)
    found = json.loads((project / ".locks/task-t1.lock").read_text())
    assert set(found) == FIELDS
    assert (found["task_id"], found["holder_id"], found["timeout"]) == ("t1", "worker-3", 12.5)
    assert (found["pid"], found["host"]) == (os.getpid(), this_process().host)
    acquired_at = datetime.fromisoformat(found["acquired_at"])
    assert acquired_at.utcoffset() == timedelta(0)
    assert acquired_at.timestamp() == 1_700_000_000.125


def test_a_shorter_record_replaces_a_longer_one_whole(locks: TaskLock, project: Path) -> None:
    path = project / ".locks/task-t1.lock"
    path.write_text("x" * 5000)
    assert locks.acquire("t1")
    assert decode(path.read_bytes()) is not None
    assert path.read_bytes().count(b"\n") == 1
    assert b"x" * 50 not in path.read_bytes()


def test_the_rest_of_an_older_record_does_not_disturb_a_reader() -> None:
    record = decode(encode("t1", "w", 1.5, None) + b'rest"}\n')
    assert record is not None
    assert (record.task_id, record.acquired_at, record.timeout) == ("t1", 1.5, None)
    assert record.is_local()


texts = st.text(max_size=20)


@given(texts, texts, st.integers(0, 4_000_000_000_000), st.none() | st.floats(0, 1e12))
def test_records_survive_the_round_trip(task_id: str, holder_id: str, ms: int, timeout: float | None) -> None:
    record = decode(encode(task_id, holder_id, ms / 1000, timeout))
    assert record is not None
    assert (record.task_id, record.holder_id) == (task_id, holder_id)
    assert abs(record.acquired_at - ms / 1000) < 0.002
    assert record.timeout == (timeout if timeout is None else pytest.approx(timeout))


GOOD = json.loads(encode("t1", "w", 1.5, 300))


@pytest.mark.parametrize(
    "change",
    [
        {"pid": True}, {"pid": -1}, {"pid": "1"}, {"pid": 1e9}, {"acquired_at": "2026-11-21T02:41:00"},
        {"acquired_at": "yesterday"}, {"acquired_at": 5}, {"timeout": "300"}, {"timeout": float("nan")},
        {"timeout": True}, {"host": None}, {"task_id": ["t1"]}, {"boot_id": 1},
    ],
)  # fmt: skip
def test_a_record_with_a_wrong_field_is_not_ours(change: dict[str, object]) -> None:
    assert decode(json.dumps(GOOD).encode()) is not None
    assert decode(json.dumps({**GOOD, **change}).encode()) is None


@given(st.binary(max_size=200) | st.sampled_from([b"", b"[]", b"{}", b"[" * 8000, b"9" * 5000, b"\xff", b"null"]))
def test_other_bytes_are_not_ours(data: bytes) -> None:
    assert decode(data) is None


def test_timeouts_that_cannot_be_written_are_refused(locks: TaskLock) -> None:
    for timeout in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout"):
            locks.acquire("t1", timeout=timeout)
    assert not locks.held()
