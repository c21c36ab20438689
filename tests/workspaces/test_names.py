"""From a task's id to its branch."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdash.engine.workspaces.names import branch_name

HOSTILE = [
    "../x", "..", ".", "a..b", "x.lock", "-f", "--force", "HEAD", "@", "@{", "@{-1}", "ä ö", "a b", "x" * 200, "t~1",
    "a/b", "a", "t^", "a:b", "*", "[x]", "\\", ".hidden", "end.", "refs/heads/main", "日本語", "🦊", "%s", "$(id)",
    "'", '"', "a+2", "a@b", "x.LOCK", "new~task-a", "#1",
]  # fmt: skip
ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=200)


def is_valid(branch: str) -> bool:
    return subprocess.run(["git", "check-ref-format", f"refs/heads/{branch}"], check=False).returncode == 0


@pytest.mark.parametrize("task_id", ["t1", "incident-2041", "T_2.a", "0", "a.b.c", "HEAD", "-f"])
def test_a_plain_id_stays_as_it_is(task_id: str) -> None:
    assert branch_name(task_id) == f"agentdash/{task_id}"
    assert is_valid(branch_name(task_id))


@pytest.mark.parametrize("task_id", HOSTILE)
def test_a_hostile_id_has_a_branch_that_git_takes(task_id: str) -> None:
    for number in (1, 2):
        branch = branch_name(task_id, number)
        assert is_valid(branch)
        assert branch.startswith("agentdash/")
        assert branch.count("/") == 1
        assert len(branch) < 140


def test_no_two_hostile_ids_share_a_branch() -> None:
    branches = {branch_name(task_id, number) for task_id in HOSTILE for number in (1, 2, 3)}
    assert len(branches) == 3 * len(HOSTILE)


@settings(max_examples=100)
@given(ids)
def test_every_id_has_a_branch_that_git_takes(task_id: str) -> None:
    assert is_valid(branch_name(task_id))


@given(ids, ids, st.integers(1, 3), st.integers(1, 3))
def test_two_ids_never_share_one(one: str, other: str, first: int, second: int) -> None:
    same = branch_name(one, first) == branch_name(other, second)
    assert same == ((one, first) == (other, second))
