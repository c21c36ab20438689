"""A worktree is made for each task, and nothing of the user's changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentdash.engine.failures import StatedFailureError
from agentdash.engine.workspaces import Workspaces
from agentdash.errors import UsageError
from agentdash.model import FailureClass
from tests.support.repositories import git, make_repository
from tests.workspaces.conftest import open_workspaces, seen_of
from tests.workspaces.test_names import HOSTILE


def branches(checkout: Path) -> set[str]:
    return set(git(checkout, "for-each-ref", "--format=%(refname:short)", "refs/heads/agentdash").splitlines())


async def test_a_task_has_a_worktree_and_a_branch_from_the_head(checkout: Path, workspaces: Workspaces) -> None:
    place = await workspaces.prepare("t1", checkout)
    assert place == checkout / ".agentdash" / "worktrees" / "task-t1"
    assert git(place, "rev-parse", "--abbrev-ref", "HEAD") == "agentdash/t1"
    assert git(place, "rev-parse", "HEAD") == git(checkout, "rev-parse", "HEAD")
    assert git(place, "status", "--porcelain") == ""
    assert (place / "a.txt").read_text() == "a\nsecond\n"
    assert not (place / "new.txt").exists()


async def test_nothing_of_the_user_changes(checkout: Path) -> None:
    before = seen_of(checkout)
    workspaces = open_workspaces(checkout)
    await workspaces.open()
    for task_id in ("t1", "../x", "t2"):
        place = await workspaces.prepare(task_id, checkout)
        (place / "a.txt").write_text("changed\n")
        (place / "made.txt").write_text("made\n")
        assert (await workspaces.finish(task_id))["files"] == 2
        assert await workspaces.prepare(task_id, checkout) == place
    assert seen_of(checkout) == before


async def test_a_look_beforehand_makes_nothing(checkout: Path) -> None:
    workspaces = open_workspaces(checkout)
    await workspaces.open()
    await workspaces.check_folder(checkout / "folder")
    assert not (checkout / ".agentdash").exists()


async def test_a_retried_task_finds_its_worktree_as_it_stood(checkout: Path, workspaces: Workspaces) -> None:
    place = await workspaces.prepare("t1", checkout)
    (place / "a.txt").write_text("half done\n")
    (place / "made.txt").write_text("made\n")
    git(place, "add", "made.txt")
    before = git(place, "status", "--porcelain")
    assert await open_workspaces(checkout).prepare("t1", checkout) == place
    assert git(place, "status", "--porcelain") == before
    assert (place / "a.txt").read_text() == "half done\n"


async def test_hostile_ids_have_worktrees_of_their_own(checkout: Path, workspaces: Workspaces) -> None:
    before = seen_of(checkout)
    places = [await workspaces.prepare(task_id, checkout) for task_id in HOSTILE]
    assert len(set(places)) == len(HOSTILE)
    assert {place.parent for place in places} == {checkout / ".agentdash" / "worktrees"}
    assert len(branches(checkout)) == len(HOSTILE)
    for place, task_id in zip(places, HOSTILE, strict=True):
        (place / "a.txt").write_text(task_id)
        done = await workspaces.finish(task_id)
        assert (done["files"], done["uncommitted"]) == (1, False)
        assert git(checkout, "log", "-1", "--format=%s%n%an%n%cn", done["branch"]).splitlines() == [
            f"agentdash: {task_id}", "agentdash", "agentdash",
        ]  # fmt: skip
    assert seen_of(checkout) == before


async def test_a_task_works_in_the_same_folder_as_in_the_checkout(checkout: Path, workspaces: Workspaces) -> None:
    inside = await workspaces.prepare("t1", checkout / "folder")
    assert inside == workspaces.place("t1") / "folder"
    assert (inside / "b.txt").read_text() == "b\n"
    (checkout / "runs" / "today").mkdir(parents=True)  # in no commit
    inside = await workspaces.prepare("t2", checkout / "runs" / "today")
    assert inside == workspaces.place("t2") / "runs" / "today"
    assert inside.is_dir()


async def test_a_folder_that_is_a_file_in_the_commit_fails_for_good(checkout: Path, workspaces: Workspaces) -> None:
    (checkout / "folder" / "b.txt").unlink()
    (checkout / "folder" / "b.txt").mkdir()
    with pytest.raises(StatedFailureError) as caught:
        await workspaces.prepare("t1", checkout / "folder" / "b.txt")
    assert caught.value.failure.permanent
    assert "b.txt" in caught.value.failure.message


@pytest.mark.parametrize("base", ["first", "other", "sha", "HEAD~1", None])
async def test_the_base_may_be_a_tag_a_branch_or_a_commit(checkout: Path, base: str | None) -> None:
    wanted = git(checkout, "rev-parse", "first" if base else "HEAD")
    workspaces = open_workspaces(checkout, wanted[:12] if base == "sha" else base)
    assert git(await workspaces.prepare("t1", checkout), "rev-parse", "HEAD") == wanted


async def test_the_base_is_kept_for_all_tasks_and_later_runs(checkout: Path, workspaces: Workspaces) -> None:
    first = git(await workspaces.prepare("t1", checkout), "rev-parse", "HEAD")
    git(checkout, "commit", "-qam", "the user goes on")
    assert git(await workspaces.prepare("t2", checkout), "rev-parse", "HEAD") == first
    assert git(await open_workspaces(checkout).prepare("t3", checkout), "rev-parse", "HEAD") == first
    assert git(await open_workspaces(checkout, "main").prepare("t4", checkout), "rev-parse", "HEAD") != first


@pytest.mark.parametrize("base", ["nowhere", "--help", "first:a.txt", "@{", ""])
async def test_a_base_that_is_no_commit_is_refused(checkout: Path, base: str) -> None:
    workspaces = open_workspaces(checkout, base)
    if not base:
        await workspaces.open()  # as if none was given
        return
    with pytest.raises(UsageError, match="There is no commit"):
        await workspaces.open()


async def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(UsageError, match="has no commit yet"):
        await open_workspaces(tmp_path).open()


async def test_a_folder_outside_of_every_repository_is_refused(tmp_path: Path) -> None:
    workspaces = open_workspaces(tmp_path)
    await workspaces.open()  # its tasks may name folders of their own
    with pytest.raises(UsageError, match="in no checkout of a git repository"):
        await workspaces.check_folder(tmp_path)
    with pytest.raises(StatedFailureError, match="in no checkout") as caught:
        await workspaces.prepare("t1", tmp_path)
    assert caught.value.failure.permanent


async def test_a_machine_without_git_is_refused(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="the program git"):
        await open_workspaces(checkout).open()


async def test_a_branch_that_is_in_the_way_of_all_is_named(checkout: Path, workspaces: Workspaces) -> None:
    git(checkout, "branch", "agentdash")
    with pytest.raises(UsageError, match="has a branch `agentdash`"):
        await workspaces.open()
    with pytest.raises(StatedFailureError, match="has a branch `agentdash`") as caught:
        await workspaces.prepare("t1", checkout)
    assert caught.value.failure.permanent


async def test_tasks_may_name_folders_of_several_repositories(tmp_path: Path) -> None:
    one, two = make_repository(tmp_path / "one"), make_repository(tmp_path / "two")
    project = tmp_path / "project"
    project.mkdir()
    workspaces = open_workspaces(project)
    await workspaces.open()
    assert (await workspaces.prepare("t1", one)).parent == project / ".agentdash" / "worktrees"
    await workspaces.prepare("t2", two / "folder")
    assert (branches(one), branches(two)) == ({"agentdash/t1"}, {"agentdash/t2"})


async def test_two_projects_of_one_repository_do_not_share_a_branch(checkout: Path) -> None:
    (checkout / "ignored-one").mkdir()
    (checkout / "ignored-two").mkdir()
    one, two = open_workspaces(checkout / "ignored-one"), open_workspaces(checkout / "ignored-two")
    for workspaces, text in ((one, "one"), (two, "two")):
        inside = await workspaces.prepare("t1", checkout)
        (inside / "a.txt").write_text(text)
        await workspaces.finish("t1")
    assert branches(checkout) == {"agentdash/t1", "agentdash/t1+2"}
    assert git(checkout, "show", "agentdash/t1:a.txt") == "one"
    assert git(checkout, "show", "agentdash/t1+2:a.txt") == "two"
    assert await two.prepare("t1", checkout) == two.place("t1")
    assert git(two.place("t1"), "rev-parse", "--abbrev-ref", "HEAD") == "agentdash/t1+2"


async def test_a_branch_of_the_user_with_that_name_is_left_alone(checkout: Path, workspaces: Workspaces) -> None:
    git(checkout, "branch", "agentdash/t1", "first")
    place = await workspaces.prepare("t1", checkout)
    assert git(place, "rev-parse", "--abbrev-ref", "HEAD") == "agentdash/t1+2"
    assert git(checkout, "rev-parse", "agentdash/t1") == git(checkout, "rev-parse", "first")


async def test_a_repository_that_is_itself_a_worktree(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), "first")
    linked = tmp_path / "linked"
    before, main = seen_of(linked), seen_of(checkout)
    workspaces = open_workspaces(linked)
    place = await workspaces.prepare("t1", linked / "folder")
    assert git(place, "rev-parse", "HEAD") == git(checkout, "rev-parse", "first")  # of that worktree's HEAD
    (place / "b.txt").write_text("changed\n")
    assert (await workspaces.finish("t1"))["files"] == 1
    assert (seen_of(linked), seen_of(checkout)) == (before, main)


async def test_a_repository_with_submodules(checkout: Path, tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner")
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "module")
    git(checkout, "commit", "-qam", "a submodule")
    git(checkout, "config", "submodule.recurse", "true")
    (checkout / "module" / "a.txt").write_text("dirty\n")
    before = seen_of(checkout)
    workspaces = open_workspaces(checkout)
    place = await workspaces.prepare("t1", checkout)
    (place / "a.txt").write_text("changed\n")
    done = await workspaces.finish("t1")
    assert (done["files"], done["uncommitted"]) == (1, False)
    assert seen_of(checkout) == before
    inside = open_workspaces(checkout / "module")  # a submodule is a repository as well
    place = await inside.prepare("t1", checkout / "module")
    assert (place / "a.txt").read_text() == "a\n"
    assert git(place, "rev-parse", "--abbrev-ref", "HEAD") == "agentdash/t1"


async def test_no_hook_of_the_user_runs_and_no_variable_of_a_hook_counts(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = checkout / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in (
        "post-checkout",
        "pre-commit",
        "commit-msg",
        "post-commit",
        "reference-transaction",
        "post-index-change",
    ):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/hook-{name}'\nexit 1\n")
        (hooks / name).chmod(0o755)
    git(checkout, "config", "commit.gpgSign", "true")
    git(checkout, "config", "gpg.program", "false")
    elsewhere = make_repository(tmp_path / "elsewhere")
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(elsewhere / ".git" / "index"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody")
    workspaces = open_workspaces(checkout)
    await workspaces.open()
    place = await workspaces.prepare("t1", checkout)
    (place / "a.txt").write_text("changed\n")
    done = await workspaces.finish("t1")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert "error" not in done
    assert git(checkout, "log", "-1", "--format=%an", "agentdash/t1") == "agentdash"
    assert branches(elsewhere) == set()
    assert not list(tmp_path.glob("hook-*"))


async def test_many_tasks_at_once(checkout: Path, workspaces: Workspaces) -> None:
    before = seen_of(checkout)
    places = await asyncio.gather(*(workspaces.prepare(f"t{n}", checkout) for n in range(20)))
    assert len(set(places)) == len(branches(checkout)) == 20
    for place in places:
        assert git(place, "status", "--porcelain") == ""
    assert seen_of(checkout) == before


async def test_a_lock_of_another_git_is_waited_for(checkout: Path, workspaces: Workspaces) -> None:
    lock = checkout / ".git" / "refs" / "heads" / "agentdash" / "t1.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    making = asyncio.create_task(workspaces.prepare("t1", checkout))
    await asyncio.sleep(0.1)
    assert not making.done()
    lock.unlink()
    assert (await making / "a.txt").exists()


async def test_the_project_hides_its_own_files(checkout: Path, workspaces: Workspaces) -> None:
    before = git(checkout, "status", "--porcelain")
    await workspaces.prepare("t1", checkout)
    assert git(checkout, "status", "--porcelain") == before
    assert (checkout / ".agentdash" / ".gitignore").read_text().endswith("*\n")
    (checkout / ".agentdash" / ".gitignore").write_text("mine\n")
    await workspaces.prepare("t2", checkout)
    assert (checkout / ".agentdash" / ".gitignore").read_text() == "mine\n"


async def test_what_cannot_be_written_is_told(checkout: Path, workspaces: Workspaces) -> None:
    (checkout / ".agentdash").mkdir()
    (checkout / ".agentdash" / "workspaces").write_text("not a folder")
    with pytest.raises(StatedFailureError, match="the worktree cannot be made") as caught:
        await workspaces.prepare("t1", checkout)
    assert caught.value.failure.failure_class is FailureClass.SERVICE
