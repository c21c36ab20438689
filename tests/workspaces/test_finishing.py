"""After a task has succeeded its branch holds the work, and its answer says how much that is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.workspaces import Workspaces
from tests.support.repositories import git, make_repository
from tests.workspaces.conftest import seen_of


def numbers(done: dict[str, Any]) -> tuple[int, int, int, bool]:
    return done["files"], done["insertions"], done["deletions"], done["uncommitted"]


@pytest.fixture
async def place(checkout: Path, workspaces: Workspaces) -> Path:
    """The worktree of t1."""
    return await workspaces.prepare("t1", checkout)


async def test_what_is_in_no_commit_becomes_one(checkout: Path, workspaces: Workspaces, place: Path) -> None:
    (place / "a.txt").write_text("one\ntwo\nthree\n")
    (place / "new.txt").write_text("new\n")
    (place / "ignored.txt").write_text("ignored\n")
    (place / "folder" / "b.txt").unlink()
    done = await workspaces.finish("t1")
    assert done == {
        "branch": "agentdash/t1",
        "base": git(checkout, "rev-parse", "main"),
        "commit": git(checkout, "rev-parse", "agentdash/t1"),
        "path": str(place),
        "files": 3,
        "insertions": 4,
        "deletions": 3,
        "uncommitted": False,
    }
    assert git(place, "status", "--porcelain") == ""
    assert git(checkout, "log", "--format=%s%n%an <%ae>%n%cn", "main..agentdash/t1").splitlines() == [
        "agentdash: t1", "agentdash <agentdash@localhost>", "agentdash",
    ]  # fmt: skip


async def test_nothing_to_commit_is_no_commit(checkout: Path, workspaces: Workspaces, place: Path) -> None:
    done = await workspaces.finish("t1")
    assert numbers(done) == (0, 0, 0, False)
    assert done["commit"] == done["base"] == git(checkout, "rev-parse", "agentdash/t1")


async def test_an_agent_that_commits_by_itself_is_left_alone(
    checkout: Path, workspaces: Workspaces, place: Path
) -> None:
    (place / "a.txt").write_text("one\n")
    git(place, "commit", "-qam", "the agent's own")
    commit = git(place, "rev-parse", "HEAD")
    done = await workspaces.finish("t1")
    assert numbers(done) == (1, 1, 2, False)
    assert done["commit"] == commit == git(checkout, "rev-parse", "agentdash/t1")


async def test_a_finish_after_a_finish_adds_nothing(workspaces: Workspaces, place: Path) -> None:
    (place / "a.txt").write_text("one\n")
    assert await workspaces.finish("t1") == await workspaces.finish("t1")


@pytest.mark.parametrize("how", [["--detach"], ["-b", "elsewhere"], ["other"]])
async def test_no_branch_but_the_tasks_own_is_committed_to(
    checkout: Path, workspaces: Workspaces, place: Path, how: list[str]
) -> None:
    git(place, "checkout", "-q", *how)
    (place / "new.txt").write_text("new\n")
    refs = git(checkout, "for-each-ref")
    done = await workspaces.finish("t1")
    assert done["uncommitted"]
    assert done["files"] >= 1
    assert done["checked_out"] == (None if how == ["--detach"] else how[-1])
    assert git(checkout, "for-each-ref") == refs
    assert "?? new.txt" in git(place, "status", "--porcelain")


async def test_a_merge_under_way_is_left_as_it_is(checkout: Path, workspaces: Workspaces, place: Path) -> None:
    git(checkout, "branch", "conflict", "first")
    git(place, "checkout", "-q", "conflict")
    (place / "a.txt").write_text("conflict\n")
    git(place, "commit", "-qam", "conflict")
    git(place, "checkout", "-q", "agentdash/t1")
    git(place, "merge", "conflict", fails=True)
    before = git(place, "status", "--porcelain")
    done = await workspaces.finish("t1")
    assert (done["uncommitted"], done["files"]) == (True, 1)
    assert git(place, "status", "--porcelain") == before == "UU a.txt"


async def test_a_repository_inside_is_not_committed_as_an_empty_shell(workspaces: Workspaces, place: Path) -> None:
    make_repository(place / "cloned")
    (place / "a.txt").write_text("one\n")
    done = await workspaces.finish("t1")
    assert done["uncommitted"]
    assert git(place, "ls-tree", "-r", "--name-only", "HEAD").splitlines() == [".gitignore", "a.txt", "folder/b.txt"]
    assert git(place, "show", "HEAD:a.txt") == "one"
    assert git(place, "status", "--porcelain") == "?? cloned/"


async def test_a_repository_inside_without_a_commit_is_left(workspaces: Workspaces, place: Path) -> None:
    (place / "begun").mkdir()
    git(place / "begun", "init", "-q")
    (place / "begun" / "file").write_text("x\n")
    (place / "a.txt").write_text("one\n")
    done = await workspaces.finish("t1")
    assert done["uncommitted"]
    assert git(place, "show", "HEAD:a.txt") == "one"
    assert git(place, "status", "--porcelain") == "?? begun/"


async def test_hostile_file_names_are_committed(workspaces: Workspaces, place: Path) -> None:
    names = ["-f", "a\nb", "ä", ":(top)x", "*", '"', os.fsdecode(b"\xff\xfe"), " "]
    for name in names:
        (place / name).write_text("x\n")
    assert numbers(await workspaces.finish("t1")) == (len(names), len(names), 0, False)
    make_repository(place / ":(glob)clone")
    (place / "-f").write_text("y\n")
    done = await workspaces.finish("t1")
    assert (done["files"], done["uncommitted"]) == (len(names) + 1, True)
    assert git(place, "show", "HEAD:-f") == "y"


async def test_binary_files_and_modes_count(workspaces: Workspaces, place: Path) -> None:
    (place / "image").write_bytes(bytes(range(256)))
    (place / "a.txt").chmod(0o755)
    (place / "link").symlink_to("a.txt")
    assert numbers(await workspaces.finish("t1")) == (3, 1, 0, False)


async def test_what_cannot_be_committed_stays_and_is_told(
    checkout: Path, workspaces: Workspaces, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen_of(checkout)
    (place / "a.txt").write_text("one\n")
    git(checkout, "config", "filter.broken.clean", "false")
    git(checkout, "config", "filter.broken.required", "true")
    (place / ".gitattributes").write_text("*.txt filter=broken\n")
    done = await workspaces.finish("t1")
    assert "clean filter 'broken' failed" in done["error"]
    assert (done["branch"], done["uncommitted"]) == ("agentdash/t1", True)
    assert (place / "a.txt").read_text() == "one\n"
    git(checkout, "config", "--remove-section", "filter.broken")
    assert seen_of(checkout) == before


async def test_a_task_without_a_worktree_is_told(workspaces: Workspaces) -> None:
    assert "error" in await workspaces.finish("nobody")
