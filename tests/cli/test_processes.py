"""What only a process of its own can show: signals, closed pipes, start-up."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, counts, private_environment, wait_until, write_tasks

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and pipes"),
]
HOLD = ("run", "t.jsonl", "--processor", "cli_functions:hold", "--workers", "2")
Spawn = Callable[..., "subprocess.Popen[str]"]


def started(place: Path) -> int:
    return len(list(place.glob("started-*")))


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    pytest.fail(f"{word!r} was never told")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains(number: signal.Signals, spawn: Spawn, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 5)
    process = spawn(*HOLD, "--json")
    wait_until(lambda: started(place) == 2, process)
    process.send_signal(number)
    read_until(process, "running tasks may finish")
    (place / "go").touch()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Interrupted" in err
    assert '"succeeded": 2' in out.splitlines()[-1]
    assert (counts(place).pending, counts(place).running, counts(place).succeeded) == (3, 0, 2)


def test_a_second_interrupt_stops_at_once(spawn: Spawn, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 5)
    process = spawn(*HOLD)
    wait_until(lambda: started(place) == 2, process)
    process.send_signal(signal.SIGINT)
    read_until(process, "running tasks may finish")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, ""), err
    assert "Nothing is lost" in err
    assert (counts(place).pending, counts(place).running) == (5, 0)


def test_an_interrupt_while_tasks_are_read(spawn: Spawn, place: Path) -> None:
    process = spawn("run", "-", "--processor", "cli_functions:hold", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write('{"prompt": "x"}\n')
    process.stdin.flush()
    read_until(process, "Reading tasks from standard input")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert "none was added" in (process.stderr.read() if process.stderr else "")
    assert counts(place).total == 0


def test_a_reader_that_leaves_is_no_error(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 3000)
    assert agentdash("run", "t.jsonl", "--processor", "cli_functions:echo", "--limit", "1").code == 0
    for command in ("tasks", "tasks --json", "export"):
        script = f'"{sys.executable}" -m agentdash {command} | head -n 1 >/dev/null; echo "${{PIPESTATUS[0]}}"'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == "0\n"
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr


def test_a_run_survives_a_closed_stderr(spawn: Spawn, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 2)
    process = spawn(*HOLD)
    wait_until(lambda: started(place) == 2, process)
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    (place / "go").touch()
    assert process.wait(timeout=20) == 0
    assert counts(place).succeeded == 2


def test_a_task_of_a_dead_process_can_be_cancelled(spawn: Spawn, agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"])
    process = spawn(*HOLD)
    wait_until(lambda: started(place) == 1 and counts(place).running == 1, process)
    process.kill()
    process.wait()
    assert agentdash("cancel", "t0").out == "1 task cancelled.\n"
    assert (counts(place).cancelled, counts(place).running) == (1, 0)


def test_a_live_run_notices_requeue_and_cancel(spawn: Spawn, agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"] * 4)
    process = spawn(*HOLD, "--json")
    wait_until(lambda: started(place) == 2 and counts(place).running == 2, process)
    assert "running" in agentdash("status").out.splitlines()[0]
    assert agentdash("cancel", "t0", "t3").out == "1 task cancelled. 1 running task will be stopped.\n"
    wait_until(lambda: counts(place).cancelled == 2, process)
    assert agentdash("requeue", "t0").code == 0
    (place / "go").touch()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert (counts(place).succeeded, counts(place).cancelled) == (3, 1)


def test_version_is_quick(place: Path) -> None:
    def once() -> float:  # in seconds of the processor: how long a busy machine takes says nothing
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "agentdash", "--version"], capture_output=True, check=True)
        assert done.stdout.startswith(b"agentdash 0.")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(5)) < 0.15


@pytest.mark.parametrize(
    "command",
    [["show", "t0"], ["requeue", "--failed"], ["cancel", "t0"], ["locks"], ["keys"], ["export"], ["config"], ["doctor"],
     ["completions", "bash"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_commands_load_no_sdk(command: list[str], agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x"])
    agentdash("run", "t.jsonl", "--processor", "cli_functions:echo")
    program = (
        "import sys; from agentdash.__main__ import main; main()\n"
        "sys.exit(str({'anthropic', 'aiohttp', 'textual', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr.splitlines()[-1] == "set()"


def test_a_terminal_gets_a_live_line(place: Path) -> None:
    """Through a pseudo terminal: the line is drawn on stderr, and gone at the end."""
    import pty

    write_tasks(place / "t.jsonl", ["x"] * 2)
    leader, follower = pty.openpty()
    environment: dict[str, Any] = private_environment(TERM="xterm-256color", COLUMNS="80", LINES="24")
    process = subprocess.Popen(
        [sys.executable, "-m", "agentdash", *HOLD], cwd=place, stderr=follower, stdout=subprocess.PIPE, env=environment
    )
    import os

    os.close(follower)
    shown = b""
    while b"running 2" not in shown:
        shown += os.read(leader, 4096)
    (place / "go").touch()
    assert process.wait(timeout=20) == 0
    shown += os.read(leader, 65536)
    os.close(leader)
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    assert b"0/2" in shown
    assert b"\x1b[?25h" in shown  # the cursor is back
    assert b"2 succeeded" in shown
