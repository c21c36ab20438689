"""Point 1: any id becomes a safe file name that no other id shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.locks import TaskLock, lock_file_name
from agentdash.errors import LockError

ids = st.text(st.characters(exclude_categories=["Cc"]), max_size=200)
tricky = st.text("aAbB1._-~/%\\é\u0130ıſK😀", max_size=12) | st.sampled_from(
    ["", ".", "..", "../../etc/passwd", "/", "a/b", "a_b", "T1", "t1", "%2e", "x" * 121, "x" * 200, "\ud800", ".hidden"]
)


@pytest.mark.parametrize("task_id", ["t1", "T1", "a.b-c_d", "..", ".hidden", "-rf", "x" * 120])
def test_plain_ids_stay_readable(task_id: str) -> None:
    assert lock_file_name(task_id) == f"task-{task_id}.lock"


@given(ids | tricky, st.booleans())
def test_names_are_safe_and_short(task_id: str, one_case: bool) -> None:
    name = lock_file_name(task_id, one_case=one_case)
    assert name.isascii()
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-~")
    assert name.startswith("task-")
    assert name.endswith(".lock")
    assert len(name) <= 143


@given(ids | tricky, ids | tricky)
def test_two_ids_never_share_a_name(one: str, two: str) -> None:
    assert (lock_file_name(one) == lock_file_name(two)) == (one == two)


@given(ids | tricky, ids | tricky)
def test_two_ids_never_share_a_name_where_case_is_ignored(one: str, two: str) -> None:
    names = [lock_file_name(task_id, one_case=True).casefold() for task_id in (one, two)]
    assert (names[0] == names[1]) == (one == two)


@given(ids)
def test_an_escaped_name_is_no_plain_id_s_name(task_id: str) -> None:
    name = lock_file_name(task_id)
    inner = name.removeprefix("task-").removesuffix(".lock")
    assert (inner == task_id) or lock_file_name(inner) != name


@pytest.mark.parametrize("task_id", ["a\0b", "a\nb", "\x7f", "\x9b31m", "x" * 201])
def test_ids_with_control_characters_or_too_long_are_refused(locks: TaskLock, task_id: str) -> None:
    with pytest.raises(LockError):
        locks.acquire(task_id)


@pytest.mark.parametrize("task_id", ["../../escape", "/etc/passwd", "..", "a/b", "日本語", "100 %", "\ud800", "t1\\x"])
def test_hostile_ids_stay_inside_the_folder(locks: TaskLock, task_id: str) -> None:
    from pathlib import Path

    folder = Path(locks._folder.path)
    assert locks.acquire(task_id)
    assert locks.views(0)[0].task_id == task_id
    files = {path.name for path in folder.iterdir()}
    assert files == {".gitignore", lock_file_name(task_id)}
    assert [path.name for path in folder.parent.iterdir()] == [".locks"]
    assert locks.release(task_id)
