"""The writes of a running task, set-based: each takes a whole batch through a few statements.

The rows travel as one JSON text and are unfolded by `json_each`, so SQLite does the work without the interpreter lock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from agentdash.engine.store.codes import CODE_OF, PENDING, RUNNING, storable
from agentdash.engine.store.dependencies import have_ended
from agentdash.engine.store.records import Claim, Settlement
from agentdash.engine.store.writer import Transaction
from agentdash.model import TaskState

_MAX_ATTEMPTS_KEPT = 50

_UNCHANGED = """
SELECT json_group_array(json_array(t.seq, t.fence)) FROM json_each(?1) AS j CROSS JOIN tasks AS t
WHERE t.seq = json_extract(j.value, '$[0]') AND t.fence = json_extract(j.value, '$[1]') AND t.state = ?2
    AND t.waits_for = 0
"""
_CLAIM = """
UPDATE tasks SET state = 1, fence = fence + 1, cancel_requested = 0, worker = json_extract(j.value, '$[2]'),
    owner = json_extract(j.value, '$[3]'), claimed_at = json_extract(j.value, '$[4]')
FROM json_each(?1) AS j WHERE tasks.seq = json_extract(j.value, '$[0]')
"""
_SETTLE = """
UPDATE tasks SET state = json_extract(j.value, '$[2]'), available_at = json_extract(j.value, '$[3]'),
    attempts = json_extract(j.value, '$[4]'), service_failures = json_extract(j.value, '$[5]'),
    crashes = json_extract(j.value, '$[6]'), error_type = json_extract(j.value, '$[7]'),
    error_message = json_extract(j.value, '$[8]'), finished_at = json_extract(j.value, '$[9]'),
    worker = json_extract(j.value, '$[10]'), cost_usd = cost_usd + json_extract(j.value, '$[11]'), owner = NULL,
    cancel_requested = 0
FROM json_each(?1) AS j WHERE tasks.seq = json_extract(j.value, '$[0]')
"""
_ATTEMPTS = """
INSERT OR REPLACE INTO attempts SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
    json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'), json_extract(value, '$[9]'),
    json_extract(value, '$[10]')
FROM json_each(?1)
"""
_RESULT = "INSERT INTO results (seq, line) VALUES (?, ?)"
_RESULTS = """
INSERT INTO results (seq, line) SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?1)
"""
_LONG_LINE = 100_000
"""Characters from which a results line is bound by itself: escaping it once more would cost more than it saves."""


class ClaimRequest(NamedTuple):
    """pending → running for the task that was loaded at this fence."""

    seq: int
    fence: int
    worker: str
    owner: str
    now: float


class SettleRequest(NamedTuple):
    """The end of the claim that holds this fence."""

    seq: int
    fence: int
    settlement: Settlement

    @classmethod
    def of(cls, claim: Claim, settlement: Settlement) -> SettleRequest:
        return cls(claim.task.seq, claim.task.fence, settlement)


def claim_batch(transaction: Transaction, requests: Sequence[ClaimRequest]) -> list[bool]:
    """Claim each task whose fence is unchanged and that waits for no other; of two claims of one the first has it."""
    valid = _unchanged(transaction.connection, requests, PENDING)
    granted: list[ClaimRequest] = []
    answers: list[bool] = []
    for request in requests:
        if won := (request.seq, request.fence) in valid:
            valid.discard((request.seq, request.fence))
            granted.append(request)
        answers.append(won)
    if granted:
        transaction.connection.execute(_CLAIM, (json.dumps(granted),))
        transaction.move(TaskState.PENDING, TaskState.RUNNING, len(granted))
    return answers


def settle_batch(transaction: Transaction, requests: Sequence[SettleRequest]) -> list[bool]:
    """Settle each claim whose fence still holds; the others have a successor and are left alone."""
    connection = transaction.connection
    valid = _unchanged(connection, [(r.seq, r.fence) for r in requests], RUNNING)
    rows: list[tuple[object, ...]] = []
    ended: dict[TaskState, list[int]] = {state: [] for state in TaskState}
    attempts: list[tuple[object, ...]] = []
    results: list[tuple[int, str]] = []
    answers: list[bool] = []
    for seq, fence, settlement in requests:
        if (seq, fence) not in valid:
            answers.append(False)
            continue
        valid.discard((seq, fence))
        answers.append(True)
        rows.append(_task_row(seq, fence, settlement))
        ended[settlement.state].append(seq)
        attempts.append(attempt_row(seq, settlement))
        if settlement.result is not None:
            results.append((seq, settlement.result))
        transaction.move(TaskState.RUNNING, settlement.state)
        transaction.spend(settlement.totals)
    if rows:
        connection.execute(_SETTLE, (json.dumps(rows),))
        connection.execute(_ATTEMPTS, (json.dumps(attempts),))
        _forget_old_attempts(connection, requests)
        have_ended(transaction, ended[TaskState.SUCCEEDED], ended[TaskState.FAILED] + ended[TaskState.CANCELLED])
    short = [row for row in results if len(row[1]) < _LONG_LINE]
    if short:
        connection.execute(_RESULTS, (json.dumps(short),))
    if len(short) < len(results):
        connection.executemany(_RESULT, [row for row in results if len(row[1]) >= _LONG_LINE])
    return answers


def attempt_row(seq: int, settlement: Settlement) -> tuple[object, ...]:
    """The columns of `attempts`, in their order."""
    a = settlement.attempt
    times = (a.started_at, a.finished_at)
    error = (a.outcome, _text(a.error_type), _text(a.error_message), _text(a.request_id))
    return (seq, a.fence, a.worker, a.credential, a.organization, *times, *error)


def _task_row(seq: int, fence: int, settlement: Settlement) -> tuple[object, ...]:
    failure = settlement.failure
    finished = settlement.attempt.finished_at if settlement.state is not TaskState.PENDING else None
    return (
        seq,
        fence,
        CODE_OF[settlement.state],
        settlement.available_at,
        settlement.attempts,
        settlement.service_failures,
        settlement.crashes,
        _text(failure.error_type) if failure else None,
        _text(failure.message) if failure else None,
        finished,
        settlement.attempt.worker,
        settlement.totals.cost_usd,
    )


def _text(value: str | None) -> str | None:
    return value if value is None else storable(value)


def _unchanged(connection: sqlite3.Connection, rows: Sequence[Sequence[object]], state: int) -> set[tuple[int, int]]:
    """The (seq, fence) pairs that still hold: a batch may carry a stale fence beside its successor's."""
    pairs = [(row[0], row[1]) for row in rows]
    found: str = connection.execute(_UNCHANGED, (json.dumps(pairs), state)).fetchone()[0]
    return {(seq, fence) for seq, fence in json.loads(found)}


def _forget_old_attempts(connection: sqlite3.Connection, requests: Sequence[SettleRequest]) -> None:
    """Keep the newest attempts only: a task that meets ten thousand rate limits must not fill the disk."""
    old = [(r.seq, r.fence - _MAX_ATTEMPTS_KEPT) for r in requests if r.fence > _MAX_ATTEMPTS_KEPT]
    if old:
        connection.executemany("DELETE FROM attempts WHERE seq = ? AND fence <= ?", old)
