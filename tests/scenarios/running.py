"""A whole run in one call: a project folder, an engine, a simulator, and what must hold after every one of them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentdash.config import Settings
from agentdash.engine.credentials import APICredential
from agentdash.engine.facade import End, Engine
from agentdash.engine.store import SqliteTaskStore
from agentdash.model import Counts, TaskState, Totals, WorkerView
from agentdash.secret import Secret
from agentdash.simulator import KeyConfig, Kind, RequestRecord, Simulator

ROOT = Path(__file__).resolve().parents[2]
During = Callable[[Engine], Coroutine[None, None, None]]


@dataclass(slots=True)
class Run:
    """How a run ended, and what the simulator saw of it."""

    end: End
    seconds: float
    counts: Counts
    totals: Totals
    workers: tuple[WorkerView, ...]
    events: list[str]
    stall_reason: str | None
    results: list[dict[str, Any]]
    most_parked: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the table that `full.py` prints."""

    name: str
    tasks: int
    seconds: float
    requests: int
    limited: int
    note: str = ""


def write_tasks(project: Path, number: int, *, prompts: Callable[[int], str] = "Task {} of the report".format) -> Path:
    project.mkdir(parents=True, exist_ok=True)
    path = project / "tasks.jsonl"
    lines = (json.dumps({"id": f"t{n:05}", "prompt": prompts(n), "max_tokens": 200}) for n in range(number))
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def credentials(keys: Sequence[KeyConfig], base_url: str) -> list[APICredential]:
    return [APICredential(Secret(key.key), base_url=base_url, name=key.name) for key in keys]


async def run(
    project: Path,
    base_url: str,
    keys: Sequence[KeyConfig],
    *,
    tasks: int = 0,
    during: During | None = None,
    **settings: Any,
) -> Run:
    """Run a project in this process. `during` is run beside it once the engine is open."""
    sources = [str(write_tasks(project, tasks))] if tasks else []
    chosen = Settings(project=project, model="claude-sonnet-5-5", **settings)
    async with Engine(chosen, credentials=credentials(keys, base_url)) as engine:
        await engine.add(sources)
        views: list[tuple[WorkerView, ...]] = [()]
        watch = asyncio.create_task(_watch(engine, views))
        beside = asyncio.create_task(during(engine)) if during is not None else None
        started = time.monotonic()
        try:
            end = await engine.run()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        seconds = time.monotonic() - started
        if beside is not None:
            await beside
        return Run(
            end,
            seconds,
            engine.store.counts(),
            engine.store.totals(),
            views[-1],
            [f"{event.kind}: {event.text}" for event in engine.events_since(0)],
            engine.stall_reason,
            read_results(project),
            max(sum(worker.state == "parked" for worker in view) for view in views),
        )


async def _watch(engine: Engine, views: list[tuple[WorkerView, ...]]) -> None:
    """Look at the workers as the dashboard would."""
    while True:
        views.append(engine.snapshot().workers)
        await asyncio.sleep(0.1)


def read_results(project: Path) -> list[dict[str, Any]]:
    path = project / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def check_results(project: Path, results: Sequence[dict[str, Any]], counts: Counts) -> None:
    """Exactly one line for each finished task, and each says what the store says."""
    lines = Counter(line["custom_id"] for line in results)
    twice = [task_id for task_id, number in lines.items() if number > 1]
    assert not twice, f"more than one line: {twice[:5]}"
    store = SqliteTaskStore(project)
    try:
        states = {record.id: record.state for record in store.tasks()}
    finally:
        store.close_and_wait()
    finished = {task_id for task_id, state in states.items() if state not in (TaskState.PENDING, TaskState.RUNNING)}
    assert set(lines) == finished, f"lines and finished tasks differ: {sorted(set(lines) ^ finished)[:5]}"
    assert all(line["agentdash"]["state"] == states[line["custom_id"]] for line in results)
    tally = Counter(states.values())
    assert tuple(tally[state] for state in TaskState) == (
        counts.pending,
        counts.running,
        counts.succeeded,
        counts.failed,
        counts.cancelled,
    ), "the counts drifted from the rows"


def check_totals(outcome: Run, simulator: Simulator) -> None:
    """What the run says it used is what the server saw."""
    records = [record for record in simulator.records if record.endpoint == "messages"]
    assert outcome.totals.requests == len(records), (outcome.totals.requests, len(records))
    limited = sum(record.kind is Kind.RATE_LIMITED for record in records)
    assert outcome.totals.rate_limited == limited, (outcome.totals.rate_limited, limited)
    answered = [record for record in records if record.kind in (Kind.ANSWER, Kind.SLOW, Kind.LONG)]
    # A stream that broke off counts as far as it said what it used, if that arrived.
    breaks = (Kind.DROP_STREAM, Kind.RESET_STREAM, Kind.CUT_STREAM, Kind.HANG_STREAM)
    broken = [record for record in records if record.kind in breaks]
    least, most = (sum(record.input_tokens for record in some) for some in (answered, [*answered, *broken]))
    assert least <= outcome.totals.input_tokens <= most, (least, outcome.totals.input_tokens, most)
    output = sum(record.output_tokens for record in answered)
    assert output <= outcome.totals.output_tokens <= output + sum(max(1, record.output_tokens) for record in broken)
    assert outcome.totals.cost_usd > 0 or not answered


def check_once(simulator: Simulator, tasks: int, *, repeated: int = 0) -> None:
    """Every prompt was answered once, and never two requests for one prompt at a time.

    `repeated`: so many answers may have been paid for and lost with a killed owner.
    """
    answers = Counter(record.prompt for record in simulator.records if record.kind is Kind.ANSWER)
    assert len(answers) == tasks, (len(answers), tasks)
    assert sum(answers.values()) - len(answers) <= repeated, answers.most_common(3)
    overlapping = simulator.stats()["overlapping_prompts"]
    assert overlapping <= repeated, f"{overlapping} overlapping requests"


def check_no_locks(project: Path) -> None:
    left = sorted(path.name for path in (project / ".locks").iterdir())
    assert left == [".gitignore"], left


def check_finished(outcome: Run, project: Path, simulator: Simulator, tasks: int, *, failed: int = 0) -> None:
    """Everything finished, nothing lost, nothing twice, all figures right."""
    assert outcome.end is End.FINISHED, (outcome.end, outcome.stall_reason, outcome.events[-5:])
    assert (outcome.counts.succeeded, outcome.counts.failed) == (tasks - failed, failed), outcome.counts
    assert len(outcome.results) == tasks
    check_results(project, outcome.results, outcome.counts)
    check_totals(outcome, simulator)
    check_once(simulator, tasks - failed)
    check_no_locks(project)


async def until(condition: Callable[[], bool], within: float = 30.0) -> None:
    """Look now and then until the condition holds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for lies in the engine, which tells nobody
            await asyncio.sleep(0.01)


def limited(records: Sequence[RequestRecord] | Any) -> int:
    return sum(record.kind is Kind.RATE_LIMITED for record in records)


# -- other processes -------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Command:
    """`agentdash run --headless` as a process of its own."""

    process: asyncio.subprocess.Process
    output: bytes = field(default=b"")

    @property
    def pid(self) -> int:
        return self.process.pid

    async def end(self) -> int:
        self.output, _ = await self.process.communicate()
        code = self.process.returncode
        assert code is not None
        return code


async def command(project: Path, base_url: str, keys: Sequence[KeyConfig], *arguments: str, workers: int) -> Command:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    environment |= {f"ANTHROPIC_API_KEY_{n}": key.key for n, key in enumerate(keys, 1)}
    environment |= {"ANTHROPIC_BASE_URL": base_url, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agentdash", "run", *arguments, "--project", str(project), "--headless",
        "--workers", str(workers), "--model", "claude-sonnet-5-5", "--stall-timeout", "60",
        env=environment, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    return Command(process)
