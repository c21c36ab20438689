"""A used-up quota ends a run with the system's own word for it, and the next run goes on."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.commands import run, run_as, write_tasks
from tests.faults.disk_faults import with_bad_disk

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(180)]
TASKS = 40
FUNCTION = """
import os
async def answer(task, worker_id):
    if task["id"] == "t20" and "UNTIL" not in os.environ:
        open(os.environ["QUOTA_IS_USED_UP"], "w").close()
    return "x" * 3000
"""
RUN = ("run", "t.jsonl", "--headless", "--json", "--processor", "mine:answer")


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    bad_disk = with_bad_disk({})
    if not bad_disk:
        pytest.skip("there is no C compiler (cc)")
    return bad_disk | {"QUOTA_IS_USED_UP": str(tmp_path / "used-up"), "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_quota_that_is_used_up_under_the_run(variables: dict[str, str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    write_tasks(project, [{"id": f"t{number}", "prompt": "p"} for number in range(TASKS)])
    (project / "mine.py").write_text(FUNCTION)
    refused = run(project, *RUN, **variables)
    assert refused.endswith(b"exit code 1")
    assert b"Cannot write: The project's database cannot be written: Disk quota exceeded." in refused
    assert b"Hint: Make room and start again. Nothing is lost." in refused
    begun_without = run(project, *RUN, **variables)
    assert b"Disk quota exceeded" in begun_without
    assert b"Traceback" not in refused + begun_without
    os.unlink(variables["QUOTA_IS_USED_UP"])
    assert run(project, *RUN, UNTIL="the end", **variables).endswith(b"exit code 0")
    ids = [json.loads(line)["custom_id"] for line in (project / "results.jsonl").read_text().splitlines()]
    assert sorted(ids) == sorted(f"t{number}" for number in range(TASKS))


def test_the_shim_counts_as_a_quota_does(variables: dict[str, str], tmp_path: Path) -> None:
    """What is there may be written over, read, linked and removed; nothing grows and nothing is made."""
    (tmp_path / "a").write_bytes(b"x" * 100)
    code = """
import os, sqlite3, sys
from contextlib import closing
def of(call):
    try:
        call()
    except OSError as error:
        return error.errno
    except sqlite3.Error as error:
        return error.sqlite_errorname
    return 0
with open("a", "r+b", 0) as file, closing(sqlite3.connect("db")) as db:
    db.execute("create table t (x)")
    open(os.environ["QUOTA_IS_USED_UP"], "w").close()
    def insert():
        with db:
            db.execute("insert into t values (zeroblob(9000))")
    print([of(call) for call in (
        lambda: file.write(b"y"), lambda: file.seek(0, 2) and file.write(b"y"), lambda: open("a", "ab", 0).write(b"y"),
        lambda: open("b", "w"), lambda: os.mkdir("c"), lambda: os.link("a", "d"), lambda: os.unlink("d"), insert,
    )])
"""
    said = run_as(tmp_path, [], variables, code=code)
    quota = errno.EDQUOT
    assert said.startswith(str([0, quota, quota, quota, quota, 0, 0, "SQLITE_CANTOPEN"]).encode()), said
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        assert db.execute("select count(*) from t").fetchone() == (0,)
