"""Bad input: one clear error on stderr, exit code 2, nothing on stdout, nothing half-added, no traceback."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Run, counts, write_tasks

GOOD = b'{"id": "ok", "prompt": "fine"}\n'
RUN = ("run", "--processor", "cli_functions:echo")

FILES = {
    "empty": ("t.jsonl", b"", r"t\.jsonl: holds no tasks \(the file is empty\)"),
    "blank lines": ("t.jsonl", b"\n\n", r"t\.jsonl: holds no tasks"),
    "encoding": ("t.jsonl", GOOD + '{"prompt": "Ä"}\n'.encode("latin-1"), r"t\.jsonl:2: .*UTF-8"),
    "invalid JSON": ("t.jsonl", GOOD + b'{"prompt": \n', r"t\.jsonl:2: .*JSON"),
    "NaN": ("t.jsonl", GOOD + b'{"prompt": "x", "metadata": {"n": NaN}}\n', r"t\.jsonl:2: .*NaN"),
    "wrong type": ("t.jsonl", GOOD + b'{"prompt": 5}\n', r"t\.jsonl:2: .*prompt"),
    "no object": ("t.jsonl", GOOD + b"[1]\n", r"t\.jsonl:2: "),
    "unknown field": ("t.jsonl", GOOD + b'{"promt": "x"}\n', r"t\.jsonl:2: .*'promt'.*'prompt'"),
    "duplicate": ("t.jsonl", GOOD + GOOD, r"t\.jsonl:2: duplicate id 'ok'"),
    "control character": ("t.jsonl", GOOD + b'{"id": "a\\u0007", "prompt": "x"}\n', r"t\.jsonl:2: .*control"),
    "long id": ("t.jsonl", GOOD + json.dumps({"id": "a" * 201, "prompt": "x"}).encode(), r"t\.jsonl:2: .*200"),
    "unknown extension": ("t.yaml", GOOD, r"t\.yaml: unknown extension '\.yaml'"),
}


def assert_refused(done: object, message: str) -> None:
    code, out, err = (getattr(done, name) for name in ("code", "out", "err"))
    assert code == 2, err
    assert out == ""
    assert re.search(message, err), err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", FILES)
def test_bad_files(name: str, agentdash: Run, place: Path) -> None:
    file, content, message = FILES[name]
    (place / file).write_bytes(content)
    assert_refused(agentdash(*RUN, file), message)
    assert counts(place).total == 0


def test_missing_file_leaves_no_project(agentdash: Run, place: Path) -> None:
    assert_refused(agentdash(*RUN, "no\x1b[31m.jsonl"), r"^Bad input: no.*\.jsonl: no such file\n$")
    assert not (place / ".agentdash").exists()


def test_a_directory_without_tasks(agentdash: Run, place: Path) -> None:
    (place / "prompts").mkdir()
    assert_refused(agentdash(*RUN, "prompts"), "prompts: no task files in this directory")


def test_a_good_file_beside_a_bad_one_is_not_added(agentdash: Run, place: Path) -> None:
    (place / "good.jsonl").write_bytes(GOOD)
    (place / "bad.jsonl").write_bytes(b"{}\n")
    assert_refused(agentdash(*RUN, "good.jsonl", "bad.jsonl"), r"bad\.jsonl:1: ")
    assert counts(place).total == 0


def test_many_bad_lines_are_listed_and_counted(agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_text("{}\n" * 30)
    done = agentdash(*RUN, "t.jsonl")
    assert_refused(done, "30 bad lines:")
    assert len(re.findall(r"t\.jsonl:\d+: ", done.err)) == 20
    assert "… and 10 more" in done.err
    assert "--skip-bad" in done.err


def test_skip_bad_adds_the_good_ones(agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_bytes(GOOD + b"{\n")
    done = agentdash(*RUN, "t.jsonl", "--skip-bad")
    assert done.code == 0
    assert "Skipped: t.jsonl:2:" in done.err
    assert counts(place).succeeded == 1


def test_a_changed_task_is_named(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["one"])
    assert agentdash(*RUN, "t.jsonl").code == 0
    write_tasks(place / "t.jsonl", ["another", "new"])
    assert_refused(agentdash(*RUN, "t.jsonl"), r"t\.jsonl:1: task 't0' is in this project already, with another")
    assert counts(place).total == 1


def test_no_tasks_at_all(agentdash: Run, place: Path) -> None:
    assert_refused(agentdash(*RUN), "There are no tasks")
    assert not (place / ".agentdash").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers", "0"], "'--workers': '0' is neither a whole number from 1 to 10000 nor auto"),
        (["--workers", "-1"], "'--workers': '-1' is neither a whole number from 1 to 10000 nor auto"),
        (["--workers", "x"], "'--workers': 'x' is neither a whole number from 1 to 10000 nor auto"),
        (["--workers", "99999999999"], "'--workers': '99999999999' is neither"),
        (["--timeout", "nan"], "timeout must be a number of seconds above 0"),
        (["--max-attempts", "0"], "max_attempts must be a whole number"),
        (["--limit", "-1"], "limit must be a whole number"),
        (["--frobnicate"], "No such option"),
        (["--log-level", "loud"], "'--log-level'"),
        (["--config", "none.toml"], r"There is no config file none\.toml"),
        (["--system", "@none.txt"], r"none\.txt of --system cannot be read"),
        (["--processor", "command"], "There is no command to run"),
        (["--processor", "nonsense"], "There is no processor 'nonsense'"),
        (["--processor", "no_such_module:f"], "no_such_module cannot be imported"),
        (["--processor", "cli_functions:nope"], "There is no function nope in the module cli_functions"),
    ],
)
def test_bad_options(flags: list[str], message: str, agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    assert_refused(agentdash(*RUN, "t.jsonl", *flags), message)
    assert counts(place).total == 0


def test_a_bad_setting_in_a_file_is_named(agentdash: Run, place: Path) -> None:
    (place / "agentdash.toml").write_text("worker = 3\n")
    assert_refused(agentdash("run"), r"unknown setting 'worker'.\nHint: Did you mean 'workers'\?")


def test_no_key(agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    done = agentdash("run", "t.jsonl")
    assert_refused(done, "No API key is set")
    assert "ANTHROPIC_API_KEY_1" in done.err
    assert "`agentdash demo`" in done.err
    assert not (place / ".agentdash").exists()


def test_a_key_with_a_newline_is_not_printed(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "my-very-own-key\nand-the-rest-of-it")
    for command in (["run", "t.jsonl"], ["keys"], ["doctor"]):
        done = agentdash(*command)
        assert done.code == 2
        assert "ANTHROPIC_API_KEY has a line break in it" in done.out + done.err
        assert not re.search("own-key|and-the-rest", done.out + done.err)


def test_a_project_that_cannot_be_made(agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    (place / "file").write_text("")
    assert_refused(agentdash(*RUN, "t.jsonl", "--project", "file"), "The project folder file cannot be written")
    assert_refused(agentdash(*RUN, "t.jsonl", "--project", "file/below"), "file/below cannot be written: Not a dir")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_project(agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    (place / "closed").mkdir(mode=0o500)
    assert_refused(agentdash(*RUN, "t.jsonl", "--project", "closed"), "closed cannot be written: Permission denied")


@pytest.mark.parametrize("command", [[*RUN, "t.jsonl"], ["status"], ["requeue", "--failed"], ["doctor"]])
def test_a_corrupt_database_is_kept(command: list[str], agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    (place / ".agentdash").mkdir(mode=0o700)
    database = place / ".agentdash" / "state.db"
    garbage = b"this is no database " * 500
    database.write_bytes(garbage)
    done = agentdash(*command)
    assert done.code == 2
    assert ".agentdash/state.db is corrupt. It was left as it is." in done.out + done.err
    assert database.read_bytes() == garbage


def test_a_database_that_is_damaged_inside(agentdash: Run, place: Path) -> None:
    write_tasks(place / "t.jsonl", ["x" * 500] * 300)
    assert agentdash(*RUN, "t.jsonl").code == 0
    database = place / ".agentdash" / "state.db"
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.write_bytes(content)
    assert_refused(agentdash("tasks"), "corrupt")
    assert database.read_bytes() == content


def test_a_newer_database_is_left_alone(agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    assert agentdash(*RUN, "t.jsonl").code == 0
    database = place / ".agentdash" / "state.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    for command in ([*RUN, "t.jsonl"], ["status"]):
        assert_refused(agentdash(*command), r"written by a newer agentdash \(schema 999")


def test_results_of_somebody_else_are_not_overwritten(agentdash: Run, place: Path) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    (place / "results.jsonl").write_text("precious\n")
    assert_refused(agentdash(*RUN, "t.jsonl"), "holds something that this project did not write")
    assert (place / "results.jsonl").read_text() == "precious\n"


def test_a_network_filesystem_is_refused(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "t.jsonl").write_bytes(GOOD)
    monkeypatch.setattr("agentdash.engine.locks.filesystem_of", lambda path: "nfs4")
    assert_refused(agentdash(*RUN, "t.jsonl"), r"on a network filesystem \(nfs4\)")
    assert not (place / ".agentdash").exists()
    assert agentdash(*RUN, "t.jsonl", "--allow-network-filesystem").code == 0
