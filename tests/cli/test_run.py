"""`run` and `demo` to their ends: exit codes, pure stdout, what is told on the way."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Run, counts, write_tasks

RUN = ("run", "--processor", "cli_functions:echo", "--workers", "2")
STATUS_KEYS = [
    *("total", "pending", "running", "succeeded", "failed", "cancelled", "held", "paused", "requests", "rate_limited"),
    *("retries", "recoveries", "rotations", "elapsed_s", "tasks_per_s", "eta_s", "input_tokens", "output_tokens"),
    *("cost_usd", "limits", "workers", "credentials", "locks"),
]


def test_all_succeed(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["one", "two"])
    done = agentdash(*RUN, "t.jsonl")
    assert (done.code, done.out) == (0, "")
    assert "2 tasks added." in done.err
    assert "2 succeeded" in done.err
    results = [json.loads(line) for line in (place / "results.jsonl").read_text().splitlines()]
    assert sorted(r["custom_id"] for r in results) == ["t0", "t1"]


def test_failed_tasks_make_exit_3(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["one", "please fail"])
    done = agentdash(*RUN, "t.jsonl", "--max-attempts", "1")
    assert done.code == 3
    assert "t1 failed: ValueError: asked to fail: t1" in done.err
    assert "`agentdash requeue --failed`" in done.err


def test_cancelled_tasks_alone_are_fine(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["one", "two"])
    assert agentdash(*RUN, "t.jsonl", "--limit", "1").code == 0
    assert agentdash("cancel", "t1").code == 0
    done = agentdash(*RUN)
    assert done.code == 0
    assert "1 succeeded, 1 cancelled" in done.err


def test_limit_ends_by_what_finished(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["one", "please fail", "three"])
    assert agentdash(*RUN, "t.jsonl", "--limit", "1").code == 0
    assert counts(place).pending == 2
    done = agentdash(*RUN, "--limit", "1", "--max-attempts", "1")
    assert done.code == 3
    assert "1 still to run" in done.err


def test_without_files_it_goes_on(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["one", "two"])
    agentdash(*RUN, "t.jsonl", "--limit", "1")
    assert agentdash(*RUN).code == 0
    assert counts(place).succeeded == 2
    again = agentdash(*RUN, "t.jsonl")
    assert again.code == 0
    assert "0 tasks added" in again.err


def test_json_is_the_only_thing_on_stdout(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["one", "please fail"])
    done = agentdash(*RUN, "t.jsonl", "--headless", "--json", "--max-attempts", "1")
    assert done.code == 3
    assert len(done.out.splitlines()) == 1
    assert list(done.json()) == STATUS_KEYS
    assert (done.json()["succeeded"], done.json()["failed"]) == (1, 1)


def test_tasks_come_through_a_pipe(spawn: object, place: Path) -> None:
    process = spawn(*RUN, "-", stdin=-1)  # type: ignore[operator]
    out, err = process.communicate('{"id": "a", "prompt": "x"}\n', timeout=30)
    assert (process.returncode, out) == (0, ""), err
    assert counts(place).succeeded == 1


def test_hostile_text_reaches_no_terminal(agentdash: Run, place: Path) -> None:
    evil = "please fail \x1b]0;owned\x07\x1b[2J\u202e[bold]"
    (place / "t.jsonl").write_text(json.dumps({"id": "a\u202eb", "prompt": evil}) + "\n")
    (place / "cli_functions.py").write_text("async def echo(task, w):\n    raise ValueError(task['prompt'])\n")
    shown = [agentdash(*RUN, "t.jsonl", "--max-attempts", "1")]
    shown += [agentdash("tasks"), agentdash("show", "a\u202eb"), agentdash("show", "a\u202eb", "--json")]
    shown += [agentdash("show", "no\x1b[31m"), agentdash("status"), agentdash("tasks", "--json")]
    text = "".join(done.out + done.err for done in shown)
    assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert "[bold]" in text


def test_an_unreachable_server_stalls(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("ANTHROPIC_API_KEY", "made-up-key-for-nobody")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{port}")
    write_tasks(place / "t.jsonl", ["one", "two"])
    done = agentdash("run", "t.jsonl", "--stall-timeout", "2", "--json")
    assert done.code == 4
    assert "Stalled" in done.err
    assert "Reason: no progress for 2 s: " in done.err
    assert (done.json()["pending"], done.json()["running"], done.json()["failed"]) == (2, 0, 0)
    assert "made-up-key" not in done.out + done.err + (place / ".agentdash" / "agentdash.log").read_text()


def test_an_internal_error_is_told_in_one_line(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom sk-ant-api03-abcdefgh\x1b[31m")

    write_tasks(place / "t.jsonl", ["one"])
    agentdash(*RUN, "t.jsonl")
    monkeypatch.setattr("agentdash.engine.store.SqliteTaskStore.counts", broken)
    done = agentdash("status")
    log = place / ".agentdash" / "agentdash.log"
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    where = Path(".agentdash/agentdash.log")
    assert done.err == f"Internal error: RuntimeError: boom [redacted]␛[31m; the details are in {where}.\n"
    last = json.loads(log.read_text().splitlines()[-1])
    assert "Traceback" in last["error"]
    assert "sk-ant" not in log.read_text()
    monkeypatch.setenv("AGENTDASH_DEBUG", "1")
    debug = agentdash("status").err
    assert "Traceback" in debug
    assert "sk-ant" not in debug


def test_demo(agentdash: Run, place: Path) -> None:
    done = agentdash("demo", "--tasks", "25", "--json", "--headless", "--seed", "4")
    assert done.code == 3, done.err
    status = done.json()
    assert (status["total"], status["succeeded"] + status["failed"]) == (25, 25)
    assert {c["name"] for c in status["credentials"]} == {"key-1", "key-2", "key-3"}
    assert "sim-key" not in done.out + done.err
    assert sorted(p.name for p in place.iterdir() if p.name != "__pycache__") == ["cli_functions.py"]


def test_demo_keeps_a_project_and_leaves_others_alone(agentdash: Run, place: Path) -> None:
    assert agentdash("demo", "--tasks", "4", "--project", "kept").code == 0
    assert agentdash("status", "--project", "kept", "--json").json()["succeeded"] == 4
    write_tasks(place / "t.jsonl", ["one"])
    assert agentdash(*RUN, "t.jsonl", "--limit", "1").code == 0
    refused = agentdash("demo", "--tasks", "4", "--project", ".")
    assert refused.code == 2
    assert "no demo" in refused.err
