"""Adding a stream of tasks to the in-memory store: all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable

from agentdash.engine.store.conflicts import Conflicts
from agentdash.engine.store.links import Links
from agentdash.engine.store.memory_links import MemoryLinks
from agentdash.engine.store.memory_tasks import MemoryTasks
from agentdash.engine.store.records import AddReport
from agentdash.model import TaskSpec


def add_specs(tasks: MemoryTasks, links: MemoryLinks, specs: Iterable[TaskSpec], *, skip_conflicts: bool) -> AddReport:
    """Add them with what they wait for. Raises `BadInputError` for duplicates, changed tasks and those that wait for
    what cannot be, unless they are to be left out."""
    conflicts = Conflicts()
    new, known = _sort_out(tasks, specs, conflicts)
    if not skip_conflicts:
        conflicts.raise_if_any()
    new_links, first = Links(), len(tasks.rows) + 1
    new_links.note(first, list(new.values()))
    seq_of = tasks.seqs | {task_id: seq for seq, task_id in enumerate(new, first)} if new_links.specs else {}
    kept, left_out = new_links.check(seq_of, conflicts, tell_all=skip_conflicts)
    if not skip_conflicts:
        conflicts.raise_if_any()
    taken_out = {new_links.specs[seq].id for seq in left_out}
    for spec in new.values():
        if spec.id not in taken_out:
            payload = json.loads(spec.body)
            tasks.add(spec.id, payload, priority=spec.priority, body_hash=spec.body_hash, locks=spec.locks)
    # Where some are taken out, those behind them get other numbers than they were checked by.
    ids = {seq: task_id for task_id, seq in seq_of.items()}
    links.add([(tasks.seqs[ids[seq]], tasks.seqs[ids[needed]]) for seq, needed in kept])
    return AddReport(len(new) - len(left_out), known, conflicts.count, tuple(conflicts.lines))


def _sort_out(tasks: MemoryTasks, specs: Iterable[TaskSpec], conflicts: Conflicts) -> tuple[dict[str, TaskSpec], int]:
    """The new ones by id, and how many are known with the same content; what is neither is a conflict."""
    new: dict[str, TaskSpec] = {}
    seen: set[str] = set()
    for original in specs:
        spec = original
        while original.auto_id and (spec.id in new or spec.id in seen):
            spec = conflicts.rename(original)
        known = tasks.find(spec.id)
        if spec.id in new or spec.id in seen:
            conflicts.duplicate(spec)
        elif known is None:
            new[spec.id] = spec
        elif known.body_hash != spec.body_hash:
            conflicts.changed(spec)
        else:
            seen.add(spec.id)
    return new, len(seen)
