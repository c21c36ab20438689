"""The commands that look at a project or change it while it is stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, counts, write_tasks

RUN = ("run", "--processor", "cli_functions:echo", "--workers", "1", "--max-attempts", "1")
ALL = [
    ["status"], ["tasks"], ["show", "t0"], ["requeue", "--failed"], ["cancel", "t0"], ["rotate"], ["locks"], ["export"],
]  # fmt: skip


@pytest.fixture
def project(agentdash: Run, place: Path) -> Path:
    """t0 succeeded, t1 failed, t2 and t3 are pending."""
    write_tasks(place / "t.jsonl", ["one", "please fail", "three", "four"])
    assert agentdash(*RUN, "t.jsonl", "--limit", "2").code == 3
    return place


def results(project: Path) -> dict[str, str]:
    lines = (project / "results.jsonl").read_text().splitlines()
    return {r["custom_id"]: r["result"]["type"] for r in map(json.loads, lines)}


@pytest.mark.parametrize("command", ALL, ids=lambda command: command[0])
def test_no_project_is_made(command: list[str], agentdash: Run, place: Path) -> None:
    done = agentdash(*command, "--project", "nowhere")
    assert (done.code, done.out) == (2, "")
    assert "There is no agentdash project in nowhere" in done.err
    assert not (place / "nowhere").exists()
    assert agentdash(*command).code == 2
    assert not (place / ".agentdash").exists()
    assert not (place / ".locks").exists()


def test_project_from_the_environment(agentdash: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTDASH_PROJECT", str(project))
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    assert agentdash("status", "--json").json()["total"] == 4


def test_status(agentdash: Run, project: Path) -> None:
    status = agentdash("status", "--json").json()
    assert [status[s] for s in ("total", "succeeded", "failed", "pending", "running")] == [4, 1, 1, 2, 0]
    text = agentdash("status").out
    assert "not running" in text
    assert "total 4  succeeded 1  failed 1  pending 2" in text


def test_tasks(agentdash: Run, project: Path) -> None:
    rows = [json.loads(line) for line in agentdash("tasks", "--json").out.splitlines()]
    assert [row["state"] for row in rows] == ["succeeded", "failed", "pending", "pending"]
    assert rows[1]["error"] == {"type": "ValueError", "message": "asked to fail: t1"}
    pending = agentdash("tasks", "--state", "pending", "--state", "failed", "--limit", "2", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in pending] == ["t1", "t2"]
    assert "ValueError: asked to fail" in agentdash("tasks", "--state", "failed").out
    assert agentdash("tasks", "--state", "lost").code == 2


def test_show(agentdash: Run, project: Path) -> None:
    shown = agentdash("show", "t1", "--json").json()
    assert shown["task"]["prompt"] == "please fail"
    assert [attempt["outcome"] for attempt in shown["history"]] == ["task"]
    assert shown["result"]["result"]["type"] == "errored"
    assert "please fail" in agentdash("show", "t1").out
    assert "output\n  one" in agentdash("show", "t0").out
    unknown = agentdash("show", "t9")
    assert (unknown.code, unknown.out) == (2, "")
    assert "There is no task t9" in unknown.err


def test_requeue_by_id_updates_the_results(agentdash: Run, project: Path) -> None:
    assert results(project) == {"t0": "succeeded", "t1": "errored"}
    done = agentdash("requeue", "t1")
    assert (done.code, done.out) == (0, "1 task requeued.\n")
    assert results(project) == {"t0": "succeeded"}
    assert counts(project).pending == 3


@pytest.mark.parametrize("flags", [["--failed"], ["--all-failed-with", "asked to"]])
def test_requeue_in_bulk(flags: list[str], agentdash: Run, project: Path) -> None:
    assert agentdash("requeue", "--all-failed-with", "another error").out.startswith("No failed task matches")
    assert agentdash("requeue", *flags).code == 0
    assert counts(project).failed == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["t1", "nope"], "There is no task nope"),
        (["t1", "t0"], "t0 has succeeded and is not run again"),
        (["t2"], "t2 is pending"),
        ([], "Say which tasks"),
        (["t1", "--failed"], "Say which tasks"),
        (["--all-failed-with", ""], "Say which tasks"),
    ],
)
def test_requeue_refuses_as_a_whole(arguments: list[str], message: str, agentdash: Run, project: Path) -> None:
    done = agentdash("requeue", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert counts(project).failed == 1


def test_cancel(agentdash: Run, project: Path) -> None:
    refused = agentdash("cancel", "t2", "nope")
    assert refused.code == 2
    assert "There is no task nope" in refused.err
    assert counts(project).cancelled == 0
    done = agentdash("cancel", "t2", "t0")
    assert (done.code, done.out) == (0, "1 task cancelled.\n")
    assert "t0 has finished already" in done.err
    assert results(project)["t2"] == "canceled"
    assert agentdash("cancel").code == 2


def test_results_elsewhere_are_remembered(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["please fail"])
    agentdash(*RUN, "t.jsonl", "--results", "out/mine.jsonl")
    assert agentdash("requeue", "--failed").code == 0
    assert (place / "out" / "mine.jsonl").read_text() == ""
    assert not (place / "results.jsonl").exists()


def test_a_results_file_that_was_changed_is_left_with_a_warning(agentdash: Run, project: Path) -> None:
    text = (project / "results.jsonl").read_text()
    (project / "results.jsonl").write_text("x" * len(text))
    done = agentdash("cancel", "t2")
    assert done.code == 0
    assert "Warning: " in done.err
    assert "was changed by another program" in done.err


def test_locks(agentdash: Run, project: Path) -> None:
    assert agentdash("locks", "--json").json() == {"locks": [], "removed": 0}
    (project / ".locks" / "task-t2.lock").write_text("{}")
    assert "stale" in agentdash("locks").out
    assert agentdash("locks", "--clean").out == "1 stale lock removed.\nNo locks.\n"


def test_keys(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No API key is set" in agentdash("keys").out
    assert agentdash("keys", "--json").json() == []
    monkeypatch.setenv("ANTHROPIC_API_KEY_1", "sk-ant-api03-aaaaaaaaaaaa1111")
    monkeypatch.setenv("ANTHROPIC_API_KEY_3", "sk-ant-api03-bbbbbbbbbbbb3333")
    monkeypatch.setenv("ANTHROPIC_BASE_URL_3", "https://me:hidden@gateway.example/v1")
    refused = agentdash("keys")
    assert refused.code == 2
    assert "ANTHROPIC_BASE_URL_3 has a user name or password in it" in refused.err
    monkeypatch.setenv("ANTHROPIC_BASE_URL_3", "https://gateway.example/v1")
    done = agentdash("keys", "--json")
    assert [(k["name"], k["ends"], k["loaded"]) for k in done.json()] == [
        ("key-1", "…1111", True),
        ("key-3", "…3333", True),
    ]
    assert "ANTHROPIC_API_KEY_2 is not set" in done.err
    text = refused.out + refused.err + done.out
    text += agentdash("keys").out + agentdash("config").out + agentdash("doctor").out
    for secret in ("aaaa", "bbbb", "hidden", "sk-ant"):
        assert secret not in text
    assert not (place / ".agentdash").exists()


def test_export(agentdash: Run, project: Path) -> None:
    done = agentdash("export")
    assert [json.loads(line)["custom_id"] for line in done.out.splitlines()] == ["t0", "t1"]
    assert "2 tasks of the project are not finished yet" in done.err
    rows = list(csv.DictReader(agentdash("export", "--format", "csv").out.splitlines()))
    assert [(row["id"], row["state"], row["output"]) for row in rows] == [
        ("t0", "succeeded", "one"),
        ("t1", "failed", ""),
    ]
    written = agentdash("export", "-o", "all.csv", "--format", "csv")
    assert (written.code, written.out) == (0, "")
    assert "2 results written to all.csv" in written.err
    assert (project / "all.csv").stat().st_mode & 0o777 == 0o600
    assert agentdash("export", "-o", "no/where.csv").code == 2


def test_doctor(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = agentdash("doctor", "--json")
    assert bad.code == 2
    assert [c["check"] for c in bad.json()["checks"] if c["result"] == "problem"] == ["keys"]
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-api03-aaaaaaaaaaaa1111")
    good = agentdash("doctor")
    assert good.code == 0, good.out
    assert "Ready." in good.out
    assert "…1111" in good.out
    assert agentdash("doctor", "--project", "new/deep").code == 0
    assert not (place / ".agentdash").exists()
    assert not (place / "new").exists()
    monkeypatch.setenv("AGENTDASH_WORKERS", "many")
    assert agentdash("doctor").code == 2


def test_config(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "agentdash.toml").write_text('workers = 3\nmodel = "from-file"\n')
    monkeypatch.setenv("AGENTDASH_MODEL", "from-environment")
    found = agentdash("config", "--json", "--project", str(place)).json()
    assert found["workers"] == {"value": 3, "from": str(place / "agentdash.toml")}
    assert found["model"] == {"value": "from-environment", "from": "AGENTDASH_MODEL"}
    assert found["max_tokens"] == {"value": 4096, "from": "default"}
    assert found["project"]["from"] == "--project"
    assert "from-environment" in agentdash("config").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(shell: str, agentdash: Run) -> None:
    done = agentdash("completions", shell)
    assert done.code == 0
    assert "_AGENTDASH_COMPLETE" in done.out


def test_help_names_every_command_and_exit_code(agentdash: Run) -> None:
    done = agentdash("--help")
    assert done.code == 0
    for word in (*(command[0] for command in ALL), "demo", "run", "keys", "doctor", "130 interrupted"):
        assert word in done.out
    nothing = agentdash()
    assert nothing.code == 2
    assert "Usage:" in nothing.err
    assert agentdash("statsu").code == 2
