"""The failed tasks by kind of error: every one is counted in one group, and found again there."""

from __future__ import annotations

import json
import stat
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdash.clock import SYSTEM_CLOCK
from agentdash.engine.browse import TaskBrowser
from agentdash.engine.errorpattern import pattern_of
from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store import groups as grouping
from agentdash.errors import StoreError
from agentdash.model import ErrorGroup, TaskState
from tests.support.stored import run, spec

ERRORS = ["it broke 1", "it broke 22", "it  broke 3", "no", "refused by req_abc", "refused by req_xyz", "", "ß'7'"]


async def fail(store: SqliteTaskStore, errors: list[tuple[str, str]]) -> None:
    await store.add(spec(f"t{n}") for n in range(len(errors) + 2))
    for n, (error_type, message) in enumerate(errors):
        await run(store, f"t{n}", TaskState.FAILED, error=message, error_type=error_type)
    await run(store, f"t{len(errors)}", TaskState.SUCCEEDED)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    errors=st.lists(st.tuples(st.sampled_from(["A", "B"]), st.sampled_from(ERRORS)), max_size=12),
    most=st.integers(1, 5),
    part=st.integers(1, 4),
)
def test_every_failed_task_is_in_one_group(
    monkeypatch: pytest.MonkeyPatch, errors: list[tuple[str, str]], most: int, part: int
) -> None:
    import asyncio

    async def check(folder: str) -> None:
        store = SqliteTaskStore(folder)
        await fail(store, errors)
        browser = TaskBrowser(store.path, clock=SYSTEM_CLOCK)
        groups = await browser.error_groups()
        kinds = Counter((error_type, pattern_of(message)) for error_type, message in errors)
        named = {(g.error_type, g.pattern): g.count for g in groups if g.error_type}
        assert named.items() <= kinds.items()
        assert len(named) == min(most, len(kinds))
        assert sum(g.count for g in groups) == len(errors)
        assert [g.count for g in groups] == sorted((g.count for g in groups), reverse=True)
        seen: list[str] = []
        other = TaskBrowser(store.path, clock=SYSTEM_CLOCK)  # one that was not asked for the groups before
        for group in groups:
            ids = await browser.group_ids(group)
            assert ids == await other.group_ids(group)
            assert len(ids) == group.count
            assert group.example in ids
            assert ids == sorted(ids, key=lambda task_id: int(task_id[1:]))
            assert all(pattern_of(errors[int(i[1:])][1]) == group.pattern for i in ids if group.error_type)
            seen += ids
        assert sorted(seen) == sorted(f"t{n}" for n in range(len(errors)))
        await browser.close()
        await other.close()
        await store.close()

    monkeypatch.setattr(grouping, "_PART", part)
    monkeypatch.setattr(grouping.FailedTasks.__init__, "__kwdefaults__", {"most": most})
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(folder))


async def test_a_group_is_exported_to_a_new_file_of_its_own(sqlite: SqliteTaskStore, tmp_path: Path) -> None:
    await fail(sqlite, [("A", "no 1"), ("B", "no"), ("A", "no 2")])
    browser = TaskBrowser(sqlite.path, clock=SYSTEM_CLOCK)
    group = (await browser.error_groups())[0]
    assert group == ErrorGroup("A", "no …", "no 1", 2, "t0")
    path = tmp_path / "group.jsonl"
    assert await browser.export_group(group, path) == 2
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == ["t0", "t2"]
    assert lines[0] == sqlite.result("t0")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StoreError, match="is there already"):
        await browser.export_group(group, path)
    assert path.read_text(encoding="utf-8").splitlines() == lines
    await browser.close()


async def test_an_export_that_cannot_be_written_leaves_nothing(
    sqlite: SqliteTaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fail(sqlite, [("A", "no 1")])
    browser = TaskBrowser(sqlite.path, clock=SYSTEM_CLOCK)
    (group,) = await browser.error_groups()
    with pytest.raises(StoreError, match="cannot be written: No such file"):
        await browser.export_group(group, tmp_path / "nowhere" / "group.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(StoreError, match="is there already"):
        await browser.export_group(group, tmp_path / "link")
    monkeypatch.setattr(grouping, "_LINES", "SELECT nothing FROM results WHERE ?")
    with pytest.raises(StoreError):
        await browser.export_group(group, tmp_path / "group.jsonl")
    assert not (tmp_path / "group.jsonl").exists()
    assert not (tmp_path / "target").exists()
    await browser.close()
