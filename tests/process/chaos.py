"""kill -9 at random moments, two processes on one project: every task must finish exactly once all the same.

    python -m tests.process.chaos --kills 300         the whole of it, 15 to 25 minutes
    python -m tests.process.chaos --short             about a minute

Each round is a fresh project of a few dozen tasks, two `agentdash run --headless` on it, and one to four kills, also
while they start. What was killed is started again, or left to the other. When all is done the round is judged: results
file, store, locks and the simulator's own record of every request. A round that fails keeps its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from agentdash.engine.store import SqliteTaskStore
from agentdash.model import TaskState

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("sim-key-chaos-0001", "sim-key-chaos-0002")
SIMULATOR = {
    "organizations": [{"name": "org-a"}, {"name": "org-b"}],
    "keys": [{"key": KEYS[0], "organization": "org-a"}, {"key": KEYS[1], "organization": "org-b"}],
    "latency": {"distribution": "uniform", "first_token_s": 0.02, "high_s": 0.2},
    "failures": {"api_error": 0.01, "drop_stream": 0.005},
    "answer_tokens": 20,
}
SETTLED_WITHIN_S = 1.5
"""An answer is durable so soon after it came; what was paid for before a kill and lost lies within this time."""
ROUND_LIMIT_S = 120.0


@dataclass(slots=True)
class Round:
    """One round's plan and course. Kill times are monotonic seconds, as the simulator's are."""

    number: int
    project: Path
    tasks: int
    workers: int
    kills: list[float] = field(default_factory=list)
    starts: int = 0
    trouble: list[str] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    repeated: int = 0
    seconds: float = 0.0

    @property
    def source(self) -> Path:
        return self.project / "tasks.jsonl"


@dataclass(slots=True)
class Summary:
    """What came of all rounds."""

    rounds: int = 0
    kills: int = 0
    tasks: int = 0
    lost: int = 0
    twice: int = 0
    repeated: int = 0
    bad_rounds: int = 0
    kept: list[Path] = field(default_factory=list)

    def add(self, one: Round) -> None:
        self.rounds += 1
        self.kills += len(one.kills)
        self.tasks += one.tasks
        self.lost += one.lost
        self.twice += one.twice
        self.repeated += one.repeated
        if one.trouble:
            self.bad_rounds += 1
            self.kept.append(one.project)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.process.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="stop after so many (default 300)")
    parser.add_argument("--runs", type=int, default=1000, help="stop after so many rounds at the latest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="about a minute: 20 kills")
    options = parser.parse_args(arguments)
    summary = run_chaos(kills=20 if options.short else options.kills, runs=options.runs, seed=options.seed)
    print(
        f"{summary.kills} kills in {summary.rounds} rounds, {summary.tasks} tasks: {summary.lost} lost, "
        f"{summary.twice} twice; {summary.repeated} answers paid for twice after a kill"
    )
    for path in summary.kept:
        print(f"kept for inspection: {path}")
    return 1 if summary.bad_rounds else 0


def run_chaos(*, kills: int, runs: int, seed: int, tasks: tuple[int, int] = (40, 150)) -> Summary:
    """Rounds until so many kills are done; prints a line for each."""
    chance = random.Random(seed)
    summary = Summary()
    folder = Path(tempfile.mkdtemp(prefix="agentdash-chaos-"))
    with _simulator() as base_url:
        while summary.kills < kills and summary.rounds < runs:
            number = summary.rounds
            one = Round(number, folder / f"round-{number:03}", chance.randint(*tasks), chance.randint(2, 12))
            _play(one, base_url, chance, most_kills=kills - summary.kills)
            _judge(one, _records(base_url, number))
            summary.add(one)
            verdict = "ok" if not one.trouble else "; ".join(one.trouble)
            print(
                f"round {number}: {one.tasks} tasks, 2x{one.workers} workers, {len(one.kills)} kills, "
                f"{one.starts} starts, {one.seconds:.1f} s, {one.repeated} asked again: {verdict}",
                flush=True,
            )
            if not one.trouble:
                shutil.rmtree(one.project)
    if not summary.kept:
        shutil.rmtree(folder)
    return summary


# -- playing ---------------------------------------------------------------------------------------------------------
@contextmanager
def _simulator() -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "agentdash.simulator", "--config", json.dumps(SIMULATOR), "--exit-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["base_url"]
    finally:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.close()
        server.wait(10)
        server.stdout.close()


def _records(base_url: str, number: int) -> list[dict[str, Any]]:
    """What the simulator saw of one round, once it has nothing left to serve."""
    deadline = time.monotonic() + 10
    while True:
        with urllib.request.urlopen(f"{base_url}/_simulator/stats") as response:
            if json.load(response)["active"] == 0 or time.monotonic() > deadline:
                break
        time.sleep(0.05)
    with urllib.request.urlopen(f"{base_url}/_simulator/records") as response:
        records = [json.loads(line) for line in response]
    return [record for record in records if record["prompt"].startswith(f"Round {number}, ")]


def _start(one: Round, base_url: str) -> subprocess.Popen[bytes]:
    one.starts += 1
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("ANTHROPIC_", "AGENTDASH_"))}
    environment |= {f"ANTHROPIC_API_KEY_{n}": key for n, key in enumerate(KEYS, 1)}
    environment |= {"ANTHROPIC_BASE_URL": base_url}
    with (one.project / f"output-{one.starts}.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "agentdash", "run", str(one.source), "--project", str(one.project), "--headless",
             "--workers", str(one.workers), "--stall-timeout", "60"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kill:
    """When to kill (seconds after the start), whom, and what then. `in_sync`: when the results file is next seen to
    grow, so between its growing and the note of how far it has come."""

    at: float
    both: bool
    again: bool
    in_sync: bool


class _Players:
    """The processes of a round, and the kills that are still to come."""

    def __init__(self, one: Round, base_url: str, chance: random.Random, most_kills: int) -> None:
        self.one = one
        self.base_url = base_url
        self.chance = chance
        self.most_kills = most_kills
        self.running = [_start(one, base_url), _start(one, base_url)]
        self.plan = sorted((_plan(chance) for _ in range(min(most_kills, chance.randint(1, 4)))), key=lambda k: k.at)
        self._size = 0

    def look(self, now: float) -> None:
        """Kill whom it is time for, and note who ended."""
        if self.plan and now >= self.plan[0].at and (self._has_grown() or not self.plan[0].in_sync):
            self._strike(self.plan.pop(0))
        for process in list(self.running):
            code = process.poll()
            if code is not None:
                self.running.remove(process)
                if code != 0:
                    self.one.trouble.append(f"exit code {code}")

    def _has_grown(self) -> bool:
        try:
            size = (self.one.project / "results.jsonl").stat().st_size
        except FileNotFoundError:
            size = 0
        before, self._size = self._size, size
        return size > before > 0

    def _strike(self, kill: _Kill) -> None:
        self.chance.shuffle(self.running)
        victims = list(self.running) if kill.both else self.running[:1]
        for victim in victims[: self.most_kills - len(self.one.kills)]:
            victim.send_signal(signal.SIGKILL)
            if victim.wait() == -signal.SIGKILL:  # else it had ended by itself
                self.one.kills.append(time.monotonic())
                self.running.remove(victim)
        while not self.running or (kill.again and len(self.running) < 2):
            self.running.append(_start(self.one, self.base_url))


def _plan(chance: random.Random) -> _Kill:
    """A quarter falls into the start, when the folder and the database are made; the others into the work."""
    at = chance.uniform(0.05, 1.0) if chance.random() < 0.25 else chance.uniform(0.8, 4.0)
    return _Kill(at, chance.random() < 0.25, chance.random() < 0.7, chance.random() < 0.3)


def _play(one: Round, base_url: str, chance: random.Random, *, most_kills: int) -> None:
    one.project.mkdir(parents=True)
    lines = (json.dumps({"id": f"t{n}", "prompt": f"Round {one.number}, task {n}"}) for n in range(one.tasks))
    one.source.write_text("".join(f"{line}\n" for line in lines))
    started = time.monotonic()
    players = _Players(one, base_url, chance, most_kills)
    while players.running and time.monotonic() - started < ROUND_LIMIT_S:
        players.look(time.monotonic() - started)
        time.sleep(0.002)
    for process in players.running:
        one.trouble.append("the round did not end")
        process.kill()
        process.wait()
    # Once more, alone: it completes what a kill at the very end left undone, and must find nothing else to do.
    last = _start(one, base_url)
    try:
        if (code := last.wait(ROUND_LIMIT_S)) != 0:
            one.trouble.append(f"exit code {code} at the end")
    except subprocess.TimeoutExpired:
        last.kill()
        last.wait()
        one.trouble.append("the last run did not end")
    one.seconds = time.monotonic() - started


# -- judging ---------------------------------------------------------------------------------------------------------
def _judge(one: Round, records: list[dict[str, Any]]) -> None:
    """Add to `trouble` whatever is not as it must be."""
    wanted = {f"t{n}" for n in range(one.tasks)}
    _judge_results(one, wanted)
    _judge_store(one, wanted)
    _judge_requests(one, records)
    left = sorted(path.name for path in (one.project / ".locks").iterdir())
    if left != [".gitignore"]:
        one.trouble.append(f"left in .locks: {left[:3]}")
    if temporary := [path.name for path in one.project.rglob("*.tmp")]:
        one.trouble.append(f"left behind: {temporary[:3]}")


def _judge_results(one: Round, wanted: set[str]) -> None:
    ids: Counter[str] = Counter()
    path = one.project / "results.jsonl"
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        one.trouble.append("results.jsonl ends within a line")
    for line in data.splitlines():
        try:
            result = json.loads(line)
        except ValueError:
            one.trouble.append("a line of results.jsonl is not JSON")
            continue
        ids[result["custom_id"]] += 1
        if result["agentdash"]["state"] != "succeeded":
            one.trouble.append(f"{result['custom_id']} {result['agentdash']['state']}: {result['result'].get('error')}")
    one.lost = len(wanted - set(ids))
    one.twice = sum(number - 1 for number in ids.values())
    if one.lost or one.twice or set(ids) - wanted:
        one.trouble.append(f"results.jsonl: {one.lost} lost, {one.twice} twice, {len(set(ids) - wanted)} unknown")


def _judge_store(one: Round, wanted: set[str]) -> None:
    store = SqliteTaskStore(one.project)
    try:
        counts = store.counts()
        tasks = list(store.tasks())
        if (counts.succeeded, counts.total) != (one.tasks, one.tasks):
            one.trouble.append(f"counts: {counts}")
        states = Counter(task.state for task in tasks)
        if states != {TaskState.SUCCEEDED: one.tasks} or {task.id for task in tasks} != wanted:
            one.trouble.append(f"rows: {dict(states)}")
        for task in tasks:
            if task.attempts != 1 or task.crashes > len(one.kills):
                one.trouble.append(f"{task.id}: {task.attempts} attempts, {task.crashes} crashes")
            ends = Counter(attempt.outcome for attempt in store.attempts(task.id))
            if ends["succeeded"] != 1 or ends["crashed"] != task.crashes:
                one.trouble.append(f"{task.id}: ended {dict(ends)}")
        if store.running() or store.processes():
            one.trouble.append("the store still names running tasks or processes")
    finally:
        store.close_and_wait()


def _judge_requests(one: Round, records: list[dict[str, Any]]) -> None:
    """A prompt may be asked again, or while an earlier request is still open, only where that one's owner was killed.

    The server sees a dead client's connection end a moment later, so the two may overlap for that moment. And an answer
    that came just before the kill was paid for and not yet settled: it has to be asked for again.
    """
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        by_prompt[record["prompt"]].append(record)
    for prompt, asked in by_prompt.items():
        for earlier, later in pairwise(asked):
            ended = earlier["finished_at"]
            if ended is None or later["received_at"] < ended:
                if not _killed(one, earlier["received_at"], later["received_at"]):
                    one.trouble.append(f"{prompt}: two requests at once")
            elif earlier["kind"] == "answer":
                one.repeated += 1
                if not _killed(one, earlier["received_at"], min(later["received_at"], ended + SETTLED_WITHIN_S)):
                    one.trouble.append(f"{prompt}: answered twice")
        if not any(record["kind"] == "answer" for record in asked):
            one.trouble.append(f"{prompt}: never answered")


def _killed(one: Round, since: float, until: float) -> bool:
    return any(since <= at <= until for at in one.kills)


if __name__ == "__main__":
    sys.exit(main())
