"""The verdict on a round, from the outside only: results file, store, locks, the simulator's record, every byte."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agentdash.engine.store import SqliteTaskStore
from agentdash.model import TaskState
from tests.faults.actors import Actor
from tests.faults.hostile import foreign_sequences
from tests.faults.secrets import leaks
from tests.faults.stage import CANARY, Stage

if TYPE_CHECKING:
    from tests.faults.rounds import Outcome

SETTLED_WITHIN_S = 1.5
"""An answer is durable so soon after it came; what was paid for before a death and lost lies within this time."""
_PROGRAM_ENDS_WITHIN_S = 5.0
"""The same where the answer is a program's, which has to end first."""
_CLOSES_WITHIN_S = 0.3
"""The server sees so late that a dead client's connection is gone."""
_CPU_START_S = 4.0
_CPU_SHARE = 0.6
_REQUESTS_A_TASK = 12
_MOST_LOG = 1 << 20
_MOST_RSS = 640 << 20
"""With eight workers that all get more than they can take; a healthy run has a fifth of it."""
_INTERPRETER_STARTS_S = 0.5


def judge(stage: Stage, outcome: Outcome) -> None:
    """Add to the outcome's trouble whatever is not as it must be."""
    wanted = {f"t{n}" for n in range(stage.tasks)}
    _judge_results(stage, outcome, wanted)
    _judge_store(stage, outcome, wanted)
    _judge_requests(stage, outcome)
    _judge_processes(stage, outcome)
    _judge_files(stage, outcome)
    _judge_programs(stage, outcome)


def _judge_results(stage: Stage, outcome: Outcome, wanted: set[str]) -> None:
    ids: Counter[str] = Counter()
    data = stage.results()
    if data and not data.endswith(b"\n"):
        outcome.trouble.append("results.jsonl ends within a line")
    for line in data.splitlines():
        try:
            result = json.loads(line)
        except ValueError:
            outcome.trouble.append("a line of results.jsonl is not JSON")
            continue
        if result["agentdash"]["state"] == "succeeded" or not stage.excuses.fails:
            ids[result["custom_id"]] += 1
        if result["agentdash"]["state"] != "succeeded" and not stage.excuses.fails:
            outcome.trouble.append(f"{result['custom_id']}: {str(result['result'].get('error'))[:200]}")
    outcome.lost = len(wanted - set(ids))
    outcome.twice = sum(number - 1 for number in ids.values())
    if outcome.lost or outcome.twice or set(ids) - wanted:
        unknown = len(set(ids) - wanted)
        outcome.trouble.append(f"results.jsonl: {outcome.lost} lost, {outcome.twice} twice, {unknown} unknown")


def _judge_store(stage: Stage, outcome: Outcome, wanted: set[str]) -> None:
    store = SqliteTaskStore(stage.project)
    try:
        counts = store.counts()
        if (counts.succeeded, counts.total) != (stage.tasks, stage.tasks):
            outcome.trouble.append(f"counts: {counts}")
        tasks = list(store.tasks())
        ends_of_processes = len(stage.deaths) + sum(actor.code not in (0, 3) for actor in stage.actors)
        if {task.id for task in tasks} != wanted or any(task.state is not TaskState.SUCCEEDED for task in tasks):
            outcome.trouble.append(f"rows: {dict(Counter(task.state for task in tasks))}")
        for task in tasks:
            ends = Counter(attempt.outcome for attempt in store.attempts(task.id))
            if ends["succeeded"] != 1 or task.crashes > ends_of_processes:
                outcome.trouble.append(f"{task.id}: ended {dict(ends)}, {task.crashes} crashes")
        if store.running() or store.processes():
            outcome.trouble.append("the store still names running tasks or processes")
    finally:
        store.close_and_wait()


def _judge_requests(stage: Stage, outcome: Outcome) -> None:
    """A prompt is asked again, or while an earlier request is open, only where that one's process died, or as excused.

    The server sees a dead client's connection end a moment later, so the two may overlap for that moment. And an answer
    that came just before the end and was not yet settled has to be asked for again.
    """
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in stage.records():
        by_prompt[record["prompt"]].append(record)
    for prompt, asked in by_prompt.items():
        if len(asked) > _REQUESTS_A_TASK + 2 * len(stage.deaths):
            outcome.trouble.append(f"{prompt}: asked {len(asked)} times")
        for earlier, later in pairwise(asked):
            ended = earlier["finished_at"]
            if ended is None or later["received_at"] < ended:
                if not stage.excuses.overlaps and not _died(stage, earlier["received_at"], later["received_at"]):
                    outcome.trouble.append(f"{prompt}: two requests at once")
            elif earlier["kind"] == "answer":
                outcome.repeated += 1
                settled_s = _PROGRAM_ENDS_WITHIN_S if stage.as_commands else SETTLED_WITHIN_S
                until = min(later["received_at"], ended + settled_s)
                if not stage.excuses.repeats and not _died(stage, earlier["received_at"], until):
                    outcome.trouble.append(f"{prompt}: answered twice")


def _died(stage: Stage, since: float, until: float) -> bool:
    return any(since - _CLOSES_WITHIN_S <= at <= until for at in stage.deaths)


def _judge_processes(stage: Stage, outcome: Outcome) -> None:
    """Every end is one that the round explains, none was busy without need, and no terminal was told anything odd."""
    for actor in stage.actors:
        signals = {number for _, number in actor.signalled}
        allowed = {0, *stage.excuses.codes} | ({3} if stage.excuses.fails else set())
        allowed |= {-number for number in signals} | ({130, 1} if signals else set())
        if actor.code not in allowed and not (signals and actor.code is not None and actor.code - 128 in signals):
            outcome.trouble.append(f"exit code {actor.code} of {actor.output.name}")
        lived = (actor.ended or actor.started) - actor.started
        if actor.cpu_s > _CPU_START_S + _CPU_SHARE * lived and not stage.excuses.busy:
            outcome.trouble.append(f"{actor.cpu_s:.1f} s of CPU in {lived:.1f} s: {actor.output.name}")
        if actor.max_rss > _MOST_RSS:
            outcome.trouble.append(f"{actor.max_rss >> 20} MiB of memory: {actor.output.name}")
        output = actor.output.read_bytes() if actor.output.exists() else b""
        if b"Traceback (most recent call last)" in output and not (stage.excuses.tracebacks or _was_starting(actor)):
            outcome.trouble.append(f"a traceback in {actor.output.name}")
        if b"Internal error" in output:
            outcome.trouble.append(f"an internal error in {actor.output.name}")
        if foreign := foreign_sequences(output):
            outcome.escaped += len(foreign)
            outcome.trouble.append(f"escapes in {actor.output.name}: {foreign[:3]}")
    outcome.kills = sum(actor.code == -9 for actor in stage.actors)


def _was_starting(actor: Actor) -> bool:
    """Whether a signal met the interpreter itself, before any code of ours could do something about it."""
    return actor.by_exec and any(at - actor.started < _INTERPRETER_STARTS_S for at, _ in actor.signalled)


def _judge_programs(stage: Stage, outcome: Outcome) -> None:
    """Nothing that a task started is left when the last run has ended."""
    if left := stage.programs():
        outcome.trouble.append(f"{len(left)} programs of tasks are left: {left[:5]}")
    children = stage.project / ".agentdash" / "children"
    if children.is_dir() and (registers := sorted(path.name for path in children.iterdir())):
        outcome.trouble.append(f"left in .agentdash/children: {registers[:3]}")


def _judge_files(stage: Stage, outcome: Outcome) -> None:
    locks = stage.project / ".locks"
    left = sorted(path.name for path in locks.iterdir()) if locks.is_dir() else []
    if left not in ([], [".gitignore"]):
        outcome.trouble.append(f"left in .locks: {left[:3]}")
    if temporary := [path.name for path in stage.project.rglob("*.tmp")]:
        outcome.trouble.append(f"left behind: {temporary[:3]}")
    for log in stage.project.rglob("agentdash.log*"):
        if log.stat().st_size > _MOST_LOG:
            outcome.trouble.append(f"{log.name} has {log.stat().st_size} bytes")
    if found := leaks([stage.folder], {}, [CANARY]):
        outcome.leaked = len(found)
        outcome.trouble.append(f"the key is in {found[:3]}")
