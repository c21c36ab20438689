"""The real Claude Code, run as tasks against the simulator over loopback: `make test-agents` installs it.

Without it these are skipped. What they show is that the program behaves as the recordings beside this file say.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.children.guardian import MARK

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".agents" / "claude_agent_sdk" / "_bundled" / "claude"
GOOD, OTHER = "sk-ant-real-claude-test-aaaa1111", "sk-ant-real-claude-test-bbbb2222"
EDITS: dict[str, Any] = {
    "pattern": r"Fix (?P<file>\S+)",
    "kind": "tool_use",
    "calls": [
        {"name": "Write", "input": {"file_path": "{file}", "content": "one\n"}},
        {"name": "Edit", "input": {"file_path": "{file}", "old_string": "one", "new_string": "two"}},
    ],
}
HOLDS: dict[str, Any] = {
    "pattern": "Hold",
    "kind": "tool_use",
    "calls": [
        {"name": "Write", "input": {"file_path": "held.txt", "content": "held\n"}},
        {"name": "Bash", "input": {"command": "echo $$ > shell.pid; exec sleep 1000", "description": "Wait"}},
    ],
}
SHELL = ("--args", "--allowedTools Bash")

pytestmark = [
    pytest.mark.agents,
    pytest.mark.process,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not PROGRAM.exists(), reason="the real agents are not installed: make test-agents"),
]


class Place:
    """A project, a simulated API with two keys of two organisations, and `agentdash run --processor claude` on them."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.project = folder / "project"
        self.home = folder / "home"
        self.project.mkdir()
        self.home.mkdir()
        keys = [{"key": GOOD, "organization": "a"}, {"key": OTHER, "organization": "b"}]
        given = {"organizations": [{"name": "a"}, {"name": "b"}], "keys": keys, "rules": [EDITS], **config}
        self.server = subprocess.Popen(
            [sys.executable, "-m", "agentdash.simulator", "--exit-with-parent", "--config", json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.server.stdout is not None
        self.base_url = json.loads(self.server.stdout.readline())["base_url"]
        self.runs: list[subprocess.Popen[str]] = []

    def tasks(self, *prompts: str) -> None:
        lines = [json.dumps({"id": f"t{n}", "prompt": prompt}) for n, prompt in enumerate(prompts)]
        (self.project / "tasks.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def start(self, *flags: str, keys: tuple[str, ...] = (GOOD, OTHER)) -> subprocess.Popen[str]:
        environment = {n: v for n, v in os.environ.items() if not n.startswith(("ANTHROPIC_", "AGENTDASH_", "CLAUDE"))}
        environment |= {f"ANTHROPIC_API_KEY_{n}": key for n, key in enumerate(keys, 1)}
        environment |= {"ANTHROPIC_BASE_URL": self.base_url, "HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        environment["PATH"] = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
        run = subprocess.Popen(
            [sys.executable, "-m", "agentdash", "run", "tasks.jsonl", "--processor", "claude", "--headless", *flags],
            cwd=self.project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.runs.append(run)
        return run

    def run(self, *flags: str, keys: tuple[str, ...] = (GOOD, OTHER)) -> tuple[int, str]:
        run = self.start(*flags, keys=keys)
        output, _ = run.communicate(timeout=150)
        return run.returncode, output

    def results(self) -> dict[str, dict[str, Any]]:
        lines = [json.loads(line) for line in (self.project / "results.jsonl").read_text().splitlines()]
        found = {line["custom_id"]: line["agentdash"] for line in lines}
        assert len(found) == len(lines)
        return found

    def records(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.base_url}/_simulator/records", timeout=10) as response:
            return [json.loads(line) for line in response]

    def left(self) -> list[int]:
        """Processes that still carry the mark of a task of this project."""
        wanted, found = str(self.home).encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if any(v.startswith(MARK.encode()) for v in variables) and b"HOME=" + wanted in variables:
                found.append(int(path.parent.name))
        return found

    def close(self) -> None:
        for run in self.runs:
            if run.poll() is None:
                run.kill()
                run.communicate()
        self.server.kill()
        self.server.communicate()


def until(condition: Callable[[], object], within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def place(**config: Any) -> Place:
        made.append(Place(tmp_path, **config))
        return made[-1]

    yield place
    for one in made:
        one.close()


def test_it_edits_files_in_the_tasks_folder(make: Callable[..., Place]) -> None:
    place = make()
    place.tasks("Fix a.txt", "Fix b.txt", "Say hello")
    code, output = place.run("--workers", "2")
    assert code == 0, output
    assert (place.project / "a.txt").read_text() == (place.project / "b.txt").read_text() == "two\n"
    results = place.results()
    assert all(result["cost_usd"] > 0 and result["usage"]["output_tokens"] > 0 for result in results.values())
    assert results["t2"]["value"]["turns"] == 1
    assert place.left() == []


def test_limits_overloads_and_drops_cost_no_task_its_life(make: Callable[..., Place]) -> None:
    failures = {"rate_limited": 0.1, "overloaded": 0.1, "api_error": 0.05, "drop_stream": 0.1}
    place = make(failures=failures)
    place.tasks(*(f"Fix {n}.txt" for n in range(8)))
    code, output = place.run("--workers", "4")
    assert code == 0, output
    # Not what is in the files: where a session is begun again in the middle, the simulator's script may be further.
    assert {result["state"] for result in place.results().values()} == {"succeeded"}
    assert len(place.results()) == 8
    assert any(record["kind"] != "answer" for record in place.records())


def test_a_refused_key_is_asked_once_and_another_does_the_work(make: Callable[..., Place]) -> None:
    place = make()
    place.tasks("Fix a.txt", "Fix b.txt")
    code, output = place.run("--workers", "1", keys=("sk-ant-nobody-knows-this-one-0000", GOOD))
    assert code == 0, output
    assert {result["credential"] for result in place.results().values()} == {"key-2"}
    assert sum(record["status"] == 401 for record in place.records()) <= 2


def test_after_a_kill_the_session_goes_on_and_nothing_is_left(make: Callable[..., Place]) -> None:
    place = make(rules=[{"pattern": "go on with the task", "kind": "answer"}, HOLDS])
    place.tasks("Hold")
    run = place.start(*SHELL)
    until(lambda: (place.project / "shell.pid").exists() and (place.project / "shell.pid").read_text().strip())
    shell = int((place.project / "shell.pid").read_text())
    sessions = [json.loads(path.read_bytes()) for path in place.project.rglob("session.json")]
    run.kill()
    run.communicate()
    until(lambda: not Path(f"/proc/{shell}").exists() and not place.left())
    code, output = place.run()
    assert code == 0, output
    (result,) = place.results().values()
    assert [result["value"]["session_id"]] == [session["id"] for session in sessions]
    assert (place.project / "held.txt").read_text() == "held\n"


def test_who_is_told_to_stop_has_ended_its_sessions(make: Callable[..., Place]) -> None:
    place = make(rules=[HOLDS])
    place.tasks("Hold")
    run = place.start(*SHELL)
    until((place.project / "shell.pid").exists)
    run.send_signal(signal.SIGINT)
    assert run.stdout is not None
    while "running tasks may finish" not in run.stdout.readline():
        pass
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 130
    assert place.left() == []


def test_a_task_that_is_cancelled_has_its_session_ended(make: Callable[..., Place]) -> None:
    place = make(rules=[HOLDS, EDITS])
    place.tasks("Hold", "Fix a.txt")
    run = place.start(*SHELL, "--workers", "1")
    until((place.project / "shell.pid").exists)
    cancel = [sys.executable, "-m", "agentdash", "cancel", "t0", "--project", str(place.project)]
    subprocess.run(cancel, check=True, capture_output=True, cwd=ROOT)
    output, _ = run.communicate(timeout=120)
    assert {task: result["state"] for task, result in place.results().items()} == {
        "t0": "cancelled",
        "t1": "succeeded",
    }, output
    assert place.left() == []


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_twenty_tasks_in_a_repository_get_twenty_branches_though_the_run_is_killed(make: Callable[..., Place]) -> None:
    place = make(failures={"rate_limited": 0.04, "overloaded": 0.04})
    repository, numbers = place.project, range(20)
    git(repository, "init", "-q", "-b", "main")
    for number in numbers:
        (repository / f"{number}.txt").write_text("old\n")
    (repository / ".gitignore").write_text("/tasks.jsonl\n/results.jsonl\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "first")
    (repository / "0.txt").write_text("the user is at work here\n")
    before = git(repository, "status", "--porcelain"), git(repository, "rev-parse", "HEAD")
    place.tasks(*(f"Fix {number}.txt" for number in numbers))
    run = place.start("--worktree", "--workers", "4")
    until(lambda: (repository / "results.jsonl").exists() and len(place.results()) >= 5)
    run.kill()
    run.communicate()
    code, output = place.run("--worktree", "--workers", "4")
    assert code == 0, output
    assert {task: result["value"]["worktree"]["branch"] for task, result in place.results().items()} == {
        f"t{number}": f"agentdash/t{number}" for number in numbers
    }
    for number in numbers:
        assert git(repository, "show", f"agentdash/t{number}:{number}.txt") == "two\n"
        assert git(repository, "diff", "--name-only", f"main..agentdash/t{number}").split() == [f"{number}.txt"]
    assert (git(repository, "status", "--porcelain"), git(repository, "rev-parse", "HEAD")) == before
    assert place.left() == []
