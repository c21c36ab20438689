"""How a task's work is told in one line."""

from __future__ import annotations

from typing import Any

import pytest

from agentdash.figures import work
from agentdash.model import TaskDetail
from agentdash.ui.screens.tasktext import describe
from tests.ui.task_stage import a_task

DONE = {"branch": "agentdash/t1", "files": 2, "insertions": 1234, "deletions": 3, "uncommitted": False}


@pytest.mark.parametrize(
    ("worktree", "text"),
    [
        (DONE, "agentdash/t1, +1,234 −3 in 2 files"),
        (DONE | {"files": 1, "insertions": 0}, "agentdash/t1, +0 −3 in 1 file"),
        (DONE | {"files": 0}, "agentdash/t1, no changes"),
        (DONE | {"uncommitted": True}, "agentdash/t1, +1,234 −3 in 2 files, some of it in no commit"),
        ({"branch": "agentdash/t1", "error": "git add: no"}, "agentdash/t1, git add: no"),
        ({}, ""),
    ],
)
def test_work_in_words(worktree: dict[str, Any], text: str) -> None:
    assert work(worktree) == text


def test_the_task_screen_tells_it() -> None:
    result = {"custom_id": "t1", "result": {"type": "succeeded"}, "agentdash": {"value": {"worktree": DONE}}}
    assert (
        "worktree: agentdash/t1, +1,234 −3 in 2 files" in describe(TaskDetail(a_task().row(), {}, result=result)).usage
    )
    others: list[Any] = [None, "text", {"worktree": "text"}, {"worktree": {}}]
    for value in others:
        result = {"custom_id": "t1", "result": {"type": "succeeded"}, "agentdash": {"value": value}}
        assert "worktree" not in describe(TaskDetail(a_task().row(), {}, result=result)).usage
