"""How close to its limits a run comes, and how much is rejected: the real command beside the loop a user would write.

Each contender is a process of its own against a fresh simulator (`benchmarks/pacing_scenarios.py` says which), and what
is counted is the simulator's record alone: seconds from the first request received to the last answer finished.
The plain loop is asyncio workers, keys in turn, a default `AsyncAnthropic` with its own retries.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.pacing_ideal import Demand, ideal_seconds
from benchmarks.pacing_scenarios import SCENARIOS, Scenario
from benchmarks.support import simulator

CONTENDERS = ("agentdash", "plain")
_STOPPED_AT = 5
"""A contender that has taken so many times the ideal, and some time for its start, is stopped."""
_START_S = 20.0
_MODEL = "claude-haiku-5-5"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the simulator saw of one contender. `cpu`: its share of one core; `server_cpu`: the simulator's."""

    seconds: float
    ideal: float
    requests: int
    rejected: int
    failed: int
    lost: int
    twice: int
    stopped: bool
    cpu: float
    server_cpu: float

    @property
    def time(self) -> float:
        return self.seconds / self.ideal

    @property
    def rejected_share(self) -> float:
        return self.rejected / self.requests if self.requests else 0.0


def run(*, quick: bool = False, scenarios: Sequence[str] = (), alone: bool = False) -> dict[str, Any]:
    """The figures by scenario and contender. `scenarios`: parts of names; `alone`: agentdash without the loop."""
    figures: dict[str, Any] = {}
    chosen = choose(quick=quick, names=scenarios)
    for number, scenario in enumerate(chosen, start=1):
        row: dict[str, Any] = {"most_time": scenario.most_time, "most_rejected": scenario.most_rejected}
        for contender in CONTENDERS[:1] if alone else CONTENDERS:
            outcome = measure(scenario, contender)
            row[contender] = asdict(outcome) | {"time": outcome.time, "rejected_share": outcome.rejected_share}
            if contender == "agentdash":
                row["held"] = holds(scenario, outcome)
        figures[scenario.name] = row
        sys.stderr.write(f"{number}/{len(chosen)} {_line(scenario.name, row)}\n")
    return figures


def choose(*, quick: bool, names: Sequence[str]) -> list[Scenario]:
    """The scenarios whose name holds one of `names`, or else all, or else with `quick` a few with fewer tasks."""
    chosen = [scenario for scenario in SCENARIOS if not names or any(name in scenario.name for name in names)]
    if not chosen:
        raise SystemExit("no such scenario; there are:\n" + "\n".join(scenario.name for scenario in SCENARIOS))
    if not quick:
        return chosen
    return [
        replace(scenario, tasks=scenario.quick_tasks or scenario.tasks)
        for scenario in chosen
        if names or scenario.quick_tasks
    ]


def holds(scenario: Scenario, outcome: Outcome) -> bool:
    """Whether the bounds were kept, with every task answered, and paid for once."""
    return (
        not (outcome.stopped or outcome.lost or outcome.twice)
        and outcome.time <= scenario.most_time
        and outcome.rejected_share <= scenario.most_rejected
    )


def measure(scenario: Scenario, contender: str) -> Outcome:
    """One contender against one fresh server."""
    config = json.loads(scenario.server.to_json())
    with tempfile.TemporaryDirectory() as folder:
        tasks = _write_tasks(Path(folder, "tasks.jsonl"), scenario)
        before = os.times()
        with simulator(**config) as base_url:
            started = time.perf_counter()
            guess = ideal_seconds(scenario.server, scenario.workers, Demand(scenario.tasks, tasks.stat().st_size // 4))
            commands = _commands(scenario, contender, tasks, base_url)
            environment = _environment(scenario, base_url, folder)
            stopped_at = _finish(commands, environment, _START_S + _STOPPED_AT * guess, Path(folder, "output"))
            elapsed = time.perf_counter() - started
            contended = os.times()
            records = _records(base_url)
        after = os.times()
    return outcome_of(
        scenario,
        records,
        stopped_at=stopped_at,
        cpu=_cpu(before, contended) / elapsed,
        server_cpu=_cpu(contended, after) / elapsed,
    )


def outcome_of(
    scenario: Scenario,
    records: list[dict[str, Any]],
    *,
    stopped_at: float | None = None,
    cpu: float = 0.0,
    server_cpu: float = 0.0,
) -> Outcome:
    """The figures that the simulator's records (as its page has them) give.

    `stopped_at`: by the same clock, which all processes of a machine share.
    """
    answered = [record for record in records if record["status"] == 200 and record["finished_at"] is not None]
    names = {record["prompt"].split(".")[0] for record in answered}
    share = scenario.tasks / max(1, len(answered))  # not 1: tasks without an answer, or with two
    demand = Demand(
        scenario.tasks,
        int(share * sum(record["input_tokens"] for record in answered)),
        int(share * sum(record["output_tokens"] for record in answered)),
    )
    end = stopped_at or max((record["finished_at"] for record in answered), default=math.inf)
    return Outcome(
        seconds=end - records[0]["received_at"] if records else math.inf,
        ideal=ideal_seconds(scenario.server, scenario.workers, demand),
        requests=len(records),
        rejected=sum(record["status"] == 429 for record in records),
        failed=sum(record["status"] not in (200, 429) for record in records),
        lost=scenario.tasks - len(names),
        twice=len(answered) - len(names),
        stopped=stopped_at is not None,
        cpu=cpu,
        server_cpu=server_cpu,
    )


def _write_tasks(path: Path, scenario: Scenario) -> Path:
    """Prompts that begin with a sentence of their own, by which the record knows them."""
    low, high = (math.log(tokens) for tokens in scenario.prompt_tokens)
    lengths = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(scenario.tasks):
            start = f"Report number {number}. "
            prompt = start.ljust(4 * int(math.exp(lengths.uniform(low, high))), ".")
            file.write(json.dumps({"id": f"t{number}", "prompt": prompt, "max_tokens": 64}) + "\n")
    return path


def _commands(scenario: Scenario, contender: str, tasks: Path, base_url: str) -> list[list[str]]:
    workers = str(scenario.workers // scenario.processes)
    if contender == "agentdash":
        project = ["--project", str(tasks.parent / "project"), "--workers", workers]
        command = [sys.executable, "-m", "agentdash", "run", str(tasks), *project, "--headless", "--json"]
        return [command] * scenario.processes
    start = [sys.executable, "-W", "ignore", "-m", "benchmarks.pacing", str(tasks), base_url, workers]
    keys = [key.key for key in scenario.server.keys]
    return [[*start, f"{part}/{scenario.processes}", *keys] for part in range(scenario.processes)]


def _environment(scenario: Scenario, base_url: str, folder: str) -> dict[str, str]:
    """This process's, with the scenario's keys, and without the user's own keys and settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "AGENTDASH_"))}
    keys = {f"ANTHROPIC_API_KEY_{number}": key.key for number, key in enumerate(scenario.server.keys, start=1)}
    return kept | keys | {"ANTHROPIC_BASE_URL": base_url, "XDG_CONFIG_HOME": folder, "HOME": folder}


def _finish(commands: list[list[str]], environment: dict[str, str], within_s: float, output: Path) -> float | None:
    """Run them at once; None, or when (monotonic) they had to be stopped."""
    deadline = time.monotonic() + within_s
    stopped_at: float | None = None
    with output.open("wb") as written:
        processes = [
            subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=written, stderr=written)
            for command in commands
        ]
        try:
            for process in processes:
                process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            stopped_at = time.monotonic()
        finally:
            for process in processes:
                process.kill()
                process.wait()
    if stopped_at is None and any(process.returncode for process in processes):
        sys.stderr.write(output.read_text("utf-8", "replace")[-2_000:])
    return stopped_at


def _records(base_url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{base_url}/_simulator/records") as response:  # loopback, our own server
        return [json.loads(line) for line in response]


def _cpu(before: os.times_result, after: os.times_result) -> float:
    """Seconds of CPU of the child processes that ended in between."""
    return after.children_user + after.children_system - before.children_user - before.children_system


def table(figures: dict[str, Any]) -> str:
    """One line a scenario: of each contender time ÷ ideal, 429s of all requests, tasks lost (`open`: it was stopped
    before), requests that `failed` otherwise, and its share of a core; then whether agentdash kept the bound."""
    return "\n".join(_line(name, row) for name, row in figures.items())


def _line(name: str, row: dict[str, Any]) -> str:
    parts = [f"{name:<42}"]
    for contender in CONTENDERS:
        if contender in row:
            seen = row[contender]
            ratio = f"{'>' if seen['stopped'] else ''}{seen['time']:.3f}"
            rejected = f"{seen['rejected']} of {seen['requests']} ({seen['rejected_share']:.1%})"
            counts = [f"{'open' if seen['stopped'] else 'lost'} {seen['lost']}"]
            counts += [f"{what} {seen[what]}" for what in ("failed", "twice") if seen[what]]
            parts.append(f"{contender} {ratio:>6}  {rejected:>20}  {'  '.join(counts)}  cpu {seen['cpu']:.0%}")
    bound = f"{row['most_time']:.2f}, {row['most_rejected']:.1%}"
    return "  |  ".join([*parts, f"bound {bound}: {'held' if row['held'] else 'NOT HELD'}"])


async def plain_loop(prompts: Sequence[str], base_url: str, workers: int, keys: Sequence[str]) -> None:
    """The loop a user would write."""
    import anthropic

    waiting = iter(enumerate(prompts))
    clients = [anthropic.AsyncAnthropic(api_key=key, base_url=base_url, max_retries=10_000) for key in keys]

    async def work() -> None:
        for number, prompt in waiting:
            client = clients[number % len(clients)]
            messages: list[Any] = [{"role": "user", "content": prompt}]
            await client.messages.create(model=_MODEL, max_tokens=64, messages=messages)

    await asyncio.gather(*(work() for _ in range(workers)))


def main(tasks: str, base_url: str, workers: str, part: str, *keys: str) -> None:
    """The plain loop as a process. `part`: `0/2` is every second task."""
    first, step = map(int, part.split("/"))
    lines = Path(tasks).read_text(encoding="utf-8").splitlines()[first::step]
    asyncio.run(plain_loop([json.loads(line)["prompt"] for line in lines], base_url, int(workers), keys))


if __name__ == "__main__":
    main(*sys.argv[1:])
