"""The status of a project as plain data: what `status --json` prints, for a live run and for one that has stopped."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from agentdash.engine.store import CredentialRecord, ProcessRecord, TaskStore
from agentdash.model import Counts, CredentialView, LockView, Totals, WorkerView

_FRESH_S = 5.0
LIMITS = (
    "max_cost_usd",
    "cost_left_usd",
    "max_task_cost_usd",
    "max_duration_s",
    "duration_left_s",
    "stop_after",
    "reached",
    "reason",
)
"""What the object says of limits."""


def report(
    counts: Counts,
    totals: Totals,
    *,
    paused: bool,
    tasks_per_s: float,
    eta_s: float | None,
    workers: Sequence[Mapping[str, Any]],
    credentials: Sequence[Mapping[str, Any]],
    locks: Sequence[LockView],
    limits: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """The object of `status --json` and of the last line of `run --headless --json`."""
    return {
        "total": counts.total,
        "pending": counts.pending,
        "running": counts.running,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "held": counts.held,
        "paused": paused,
        "requests": totals.requests,
        "rate_limited": totals.rate_limited,
        "retries": totals.retries,
        "recoveries": totals.recoveries,
        "rotations": totals.rotations,
        "elapsed_s": round(totals.elapsed_s, 3),
        "tasks_per_s": round(tasks_per_s, 3),
        "eta_s": None if eta_s is None else round(eta_s, 1),
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "cost_usd": round(totals.cost_usd, 6),
        "limits": dict(limits),
        "workers": list(workers),
        "credentials": list(credentials),
        "locks": [lock_dict(lock, now) for lock in locks],
    }


def worker_dict(worker: WorkerView, monotonic: float) -> dict[str, Any]:
    """One worker of the report."""
    backoff = max(0.0, worker.backoff_until - monotonic) if worker.backoff_until is not None else 0.0
    return {
        "id": worker.id,
        "state": worker.state,
        "task": worker.task,
        "consecutive_failures": worker.consecutive_failures,
        "recoveries": worker.recoveries,
        "backoff_s": round(backoff, 3),
    }


def credential_dict(credential: CredentialView, now: float) -> dict[str, Any]:
    """One credential of the report, from a live run."""
    cooldown = max(0.0, credential.cooldown_until - now) if credential.cooldown_until is not None else 0.0
    return {
        "name": credential.name,
        "organization": credential.organization,
        "state": credential.state,
        "active": credential.active,
        "cooldown_s": round(cooldown, 3),
        "requests": credential.requests,
        "rate_limited": credential.rate_limited,
        "last_error": credential.last_error,
    }


def stored_credential_dict(record: CredentialRecord, active: str | None, now: float) -> dict[str, Any]:
    """One credential of the report, as the store remembers it."""
    exhausted = record.state == "exhausted" and not 0 < record.exhausted_until <= now
    until = record.exhausted_until if exhausted else record.cooldown_until
    state = record.state
    if state != "invalid":
        state = "exhausted" if exhausted else "cooling" if record.cooldown_until > now else "ready"
    return {
        "name": record.name,
        "organization": record.organization,
        "state": state,
        "active": record.fingerprint == active,
        "cooldown_s": round(max(0.0, until - now), 3),
        "requests": record.requests,
        "rate_limited": record.rate_limited,
        "last_error": record.last_error,
    }


def lock_dict(lock: LockView, now: float) -> dict[str, Any]:
    """One lock of the report."""
    return {
        "task_id": lock.task_id,
        "holder_id": lock.holder_id,
        "pid": lock.pid,
        "age_s": round(max(0.0, now - lock.acquired_at), 3),
        "state": lock.state,
    }


def project_status(store: TaskStore, locks: Sequence[LockView], now: float) -> dict[str, Any]:
    """The status of a project read from outside: what its live processes last reported, and what the store knows."""
    live: list[dict[str, Any]] = [json.loads(process.report) for process in live_processes(store, now)]
    several = len(live) > 1
    workers = [
        worker | ({"id": f"{worker['id']}@{one['pid']}"} if several else {})
        for one in live
        for worker in one["workers"]
    ]
    counts, totals = store.counts(), store.totals()
    rate = sum(one["tasks_per_s"] for one in live) / max(1, len(live))
    ends = [end for one in live if (end := one.get("done_at")) is not None]
    eta = max(0.0, min(ends) - now) if ends else None
    active = store.active_credential()
    return report(
        counts,
        totals,
        paused=bool(live) and all(one["paused"] for one in live),
        tasks_per_s=rate,
        eta_s=eta if counts.open else 0.0 if live else None,
        workers=workers,
        credentials=[stored_credential_dict(record, active, now) for record in store.credentials()],
        locks=locks,
        limits=_nearest([one.get("limits") or {} for one in live]),
        now=now,
    )


def _nearest(limits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the limits of several processes that one of each kind which is reached first; without a process there are
    none, as each session has its own."""
    found: dict[str, Any] = dict.fromkeys(LIMITS)
    for name in LIMITS:
        values = [one[name] for one in limits if one.get(name) is not None]
        found[name] = min(values, default=None)
    return found


def live_processes(store: TaskStore, now: float) -> list[ProcessRecord]:
    """The processes at work on the project now: those that reported lately and, on this host, still exist."""
    return [p for p in store.processes() if now - p.seen_at < _FRESH_S and not _is_gone(p)]


def _is_gone(process: ProcessRecord) -> bool:
    if process.host != socket.gethostname() or not hasattr(os, "getuid"):
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
