"""What is run to be killed: a few small projects and the commands that work on them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.crash_hooks import Point
from tests.faults.crash_work import BAD

ROOT = Path(__file__).resolve().parents[2]
KEY = "sim-key-crash-0001"
SIMULATOR = {
    "organizations": [{"name": "org-a"}],
    "keys": [{"key": KEY, "organization": "org-a"}],
    "latency": {"distribution": "fixed", "first_token_s": 0.005, "chunk_s": 0.002},
    "answer_tokens": 5,
}


@dataclass(frozen=True)
class Command:
    """A command line (`PROJECT` stands for the folder), how it ends, and where it is killed, if it is."""

    arguments: tuple[str, ...]
    code: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    death: Point | None = None


@dataclass(frozen=True)
class Scenario:
    """`command` is killed at each of its points, and `after` is run then. `before` made the project what it is at the
    start. In the short form its points are those that `wants` takes, from the first whose label begins with `begin`:
    other scenarios have the rest."""

    name: str
    tasks: tuple[str, ...]
    command: Command
    after: tuple[Command, ...]
    before: tuple[Command, ...] = ()
    uses_server: bool = False
    wants: Callable[[str], bool] = lambda label: True
    begin: str = ""

    def write_tasks(self, path: Path, lane: str) -> None:
        """The task file, with prompts that tell one lane's requests from another's."""
        lines = (json.dumps({"id": task, "prompt": f"{lane}: {task}"}) for task in self.tasks)
        path.write_text("".join(f"{line}\n" for line in lines))


def _run(*more: str, code: int = 0, bad: str = "", death: Point | None = None) -> Command:
    arguments = ("run", "PROJECT/tasks.jsonl", "--project", "PROJECT", "--headless", "--workers", "2", *more)
    return Command(arguments, code, {BAD: bad} if bad else {}, death)


_FUNCTION = ("--processor", "tests.faults.crash_work:work", "--max-attempts", "1")
_FEW = ("t0", "t1", "t2")
_SOME = (*_FEW, "t3", "t4", "t5")
_MANY = tuple(f"t{number}" for number in range(40))
_WORK = _run(*_FUNCTION)
_ASK = _run()
_REQUEUE = Command(("requeue", "--failed", "--project", "PROJECT"))
_BOTH_AT_WORK = Point("answer: return", 1)
_LINE_TORN = Point("results: pwrite results.jsonl", 1, half=True)
_SOME_BAD = _run(*_FUNCTION, "--limit", "2", code=3, bad="t1")
_NOT_WRITTEN = _run(*_FUNCTION, death=Point("results: pwrite results.jsonl", 1))

SCENARIOS = (
    Scenario("function", _FEW, _WORK, (_WORK,)),
    Scenario("messages", _FEW, _ASK, (_ASK,), uses_server=True, begin="lock: open task"),
    Scenario("recovery", _FEW, _WORK, (_WORK,), before=(_run(*_FUNCTION, death=_BOTH_AT_WORK),), begin="lock: "),
    Scenario("torn line", _FEW, _WORK, (_WORK,), before=(_run(*_FUNCTION, death=_LINE_TORN),), begin="results: "),
    Scenario("requeue", _FEW, _REQUEUE, (_REQUEUE, _WORK), before=(_run(*_FUNCTION, code=3, bad="t1"),)),
    # The new results file is the beginning of the old one, and then one that is longer than the old one.
    Scenario(
        "requeue last", _FEW, _REQUEUE, (_REQUEUE, _WORK), before=(_run(*_FUNCTION, code=3, bad="t2"),), begin="results"
    ),
    Scenario("requeue behind", _SOME, _REQUEUE, (_REQUEUE, _WORK), before=(_SOME_BAD, _NOT_WRITTEN), begin="results"),
    Scenario("spare locks", _MANY, _WORK, (_WORK,), wants=lambda label: "spare" in label or "task-t39" in label),
)


class Server:
    """The simulator of all rounds."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.environment = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": base_url}

    def when_idle(self) -> float:
        """Wait until it has nothing left to serve; the moment (monotonic)."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self.base_url}/_simulator/stats") as response:
                if json.load(response)["active"] == 0:
                    return time.monotonic()
            time.sleep(0.005)
        raise AssertionError("the simulator does not come to rest")

    def asked(self, lane: str, since: float) -> Counter[str]:
        """The tasks of a lane that were asked for since then."""
        with urllib.request.urlopen(f"{self.base_url}/_simulator/records") as response:
            records: list[dict[str, Any]] = [json.loads(line) for line in response]
        found = (r["prompt"].rpartition(": ") for r in records if r["received_at"] >= since)
        return Counter(task for name, _, task in found if name == lane)


@contextmanager
def simulator() -> Iterator[Server]:
    """A simulator that ends with this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agentdash.simulator", "--config", json.dumps(SIMULATOR), "--exit-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(json.loads(process.stdout.readline())["base_url"])
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
