"""Tasks as commands, through the real `agentdash run`: their results, their ends, and none of them left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agentdash.engine.children.guardian import begun_at
from tests.cli.conftest import Run, counts, wait_until, write_tasks

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")]
Spawn = Callable[..., "subprocess.Popen[str]"]
HOLD = (
    "echo $$ > pid-{id}; (setsid sleep 1000 & echo $! >> pid-{id}; wait) & "
    "until [ -e go ]; do sleep 0.02; done; echo {id}"
)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ANTHROPIC_"):
            monkeypatch.delenv(name)


def results(place: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for line in (place / "results.jsonl").read_text().splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def pids(place: Path) -> list[int]:
    return [int(pid) for path in place.glob("pid-*") for pid in path.read_text().split()]


def test_each_task_is_a_command(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["one", "two words", "$HOME"])
    done = agentdash("run", "t.jsonl", "--command", "printf %s {prompt}", "--headless")
    assert done.code == 0, done.err
    outputs = {task: line["agentdash"]["output"] for task, line in results(place).items()}  # type: ignore[index]
    assert outputs == {"t0": "one", "t1": "two words", "t2": "$HOME"}


def test_a_command_that_fails_is_tried_again_and_told(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"])
    script = "echo tried >> tries; echo 'the disk is upside down' >&2; exit 9"
    done = agentdash("run", "t.jsonl", "--command", script, "--shell", "--max-attempts", "2", "--headless")
    assert done.code == 3
    assert "exit code 9: the disk is upside down" in done.err
    assert (place / "tries").read_text().splitlines() == ["tried", "tried"]
    shown = agentdash("show", "t0").out
    assert "exit code 9: the disk is upside down" in shown
    outputs = [Path(line.split()[1]) for line in shown.splitlines() if line.startswith("     output ")]
    assert [path.read_text() for path in outputs] == ["the disk is upside down\n"] * 2


def test_a_task_says_where_it_works(agentdash: Run, place: Path) -> None:
    (place / "sub").mkdir()
    (place / "t.jsonl").write_text('{"id": "a", "prompt": "x", "workdir": "sub"}\n')
    assert agentdash("run", "t.jsonl", "--command", "touch here", "--headless").code == 0
    assert (place / "sub" / "here").exists()
    (place / "bad.jsonl").write_text('{"id": "b", "prompt": "x", "workdir": 7}\n')
    refused = agentdash("run", "bad.jsonl", "--command", "true", "--headless")
    assert refused.code == 2
    assert "bad.jsonl:1: workdir must be a string" in refused.err


def test_after_a_kill_nothing_is_left_and_everything_is_done_once(spawn: Spawn, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 6)
    run = ("run", "t.jsonl", "--command", HOLD, "--shell", "--workers", "3", "--headless")
    process = spawn(*run)
    wait_until(lambda: len(pids(place)) == 6, process)
    process.kill()
    process.communicate()
    left = pids(place)
    again = spawn(*run)
    wait_until(lambda: not any(begun_at(pid) for pid in left), again)
    (place / "go").touch()
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert set(results(place)) == {f"t{n}" for n in range(6)}
    assert not any(begun_at(pid) for pid in pids(place))
    assert list((place / ".agentdash" / "children").iterdir()) == []
    assert counts(place).succeeded == 6


def test_a_second_interrupt_ends_the_commands_at_once(spawn: Spawn, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 2)
    process = spawn("run", "t.jsonl", "--command", HOLD, "--shell", "--headless")
    wait_until(lambda: len(pids(place)) == 4, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "running tasks may finish" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not any(begun_at(pid) for pid in pids(place))
    assert (counts(place).pending, counts(place).running) == (2, 0)


def test_a_task_that_is_cancelled_has_its_command_ended(spawn: Spawn, agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 2)
    process = spawn("run", "t.jsonl", "--command", HOLD, "--shell", "--headless")
    wait_until(lambda: len(pids(place)) == 4, process)
    ended = [int(pid) for pid in (place / "pid-t1").read_text().split()]
    assert agentdash("cancel", "t1").code == 0
    wait_until(lambda: not any(begun_at(pid) for pid in ended), process)
    (place / "go").touch()
    process.communicate(timeout=60)
    assert {task: line["agentdash"]["state"] for task, line in results(place).items()} == {  # type: ignore[index]
        "t0": "succeeded",
        "t1": "cancelled",
    }


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--command", "a {promt}"], "there is no placeholder {promt}"),
        (["--command", "a 'b"], "No closing quotation"),
        (["--command", ""], "command must be a command"),
        (["--processor", "claud"], "Did you mean 'claude'?"),
        (["--processor", "claude", "--command", "x"], "do not go together"),
        (["--processor", "claude"], "No API key is set"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_made(
    flags: list[str], told: str, agentdash: Run, place: Path
) -> None:
    write_tasks(place / "t.jsonl", ["x"])
    refused = agentdash("run", "t.jsonl", *flags, "--headless")
    assert refused.code == 2
    assert told in refused.err
    assert not (place / ".agentdash").exists()
