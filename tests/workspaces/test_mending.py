"""Whatever was left of a worktree is mended: never an error, never a lost commit, never a lost file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agentdash.engine.workspaces import Workspaces
from tests.support.repositories import git
from tests.workspaces.conftest import entries, is_whole, open_workspaces, seen_of


def entry(checkout: Path) -> Path:
    (name,) = entries(checkout)
    return checkout / ".git" / "worktrees" / name


def set_ready(workspaces: Workspaces, *, ready: bool) -> None:
    path = workspaces.records.folder / "task-t1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ready": ready}))


def only_locked(checkout: Path, place: Path) -> None:
    shutil.rmtree(place)
    for path in entry(checkout).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (entry(checkout) / "locked").write_text("initializing")


def empty_gitdir(checkout: Path, place: Path) -> None:
    only_locked(checkout, place)
    (entry(checkout) / "gitdir").write_text("")


def no_folder(checkout: Path, place: Path) -> None:
    only_locked(checkout, place)
    (entry(checkout) / "gitdir").write_text(f"{place}/.git\n")


def no_git_file(checkout: Path, place: Path) -> None:
    no_folder(checkout, place)
    place.mkdir()


def no_head(checkout: Path, place: Path) -> None:
    no_git_file(checkout, place)
    (place / ".git").write_text(f"gitdir: {entry(checkout)}\n")


def no_files(checkout: Path, place: Path) -> None:
    (entry(checkout) / "locked").write_text("initializing")
    (entry(checkout) / "index").unlink()
    (place / "a.txt").unlink()


def half_the_files(checkout: Path, place: Path) -> None:
    no_files(checkout, place)
    (entry(checkout) / "index.lock").write_bytes(b"DIRC")
    (place / "folder" / "b.txt").write_text("hal")


def nothing_but_the_branch(checkout: Path, place: Path) -> None:
    shutil.rmtree(place)
    shutil.rmtree(entry(checkout))


def branch_being_made(checkout: Path, place: Path) -> None:
    no_record(checkout, place)
    git(checkout, "update-ref", "-d", "refs/heads/agentdash/t1")
    (checkout / ".git" / "refs" / "heads" / "agentdash").mkdir(exist_ok=True)
    (checkout / ".git" / "refs" / "heads" / "agentdash" / "t1.lock").touch()


def no_record(checkout: Path, place: Path) -> None:
    nothing_but_the_branch(checkout, place)
    (checkout / ".agentdash" / "workspaces" / "task-t1.json").unlink()


@pytest.mark.parametrize(
    "leave",
    [only_locked, empty_gitdir, no_folder, no_git_file, no_head, no_files, half_the_files, nothing_but_the_branch,
     no_record, branch_being_made],
)  # fmt: skip
async def test_a_half_made_one_is_made_anew(
    checkout: Path, workspaces: Workspaces, leave: Callable[[Path, Path], None]
) -> None:
    place = await workspaces.prepare("t1", checkout)
    set_ready(workspaces, ready=False)
    leave(checkout, place)
    await is_whole(checkout, workspaces)
    assert (place / "a.txt").read_text() == "a\nsecond\n"
    assert (place / "folder" / "b.txt").read_text() == "b\n"
    assert git(place, "status", "--porcelain") == ""


def entry_gone(checkout: Path, place: Path) -> None:
    shutil.rmtree(entry(checkout))


def all_entries_gone(checkout: Path, place: Path) -> None:
    shutil.rmtree(checkout / ".git" / "worktrees")


def git_file_gone(checkout: Path, place: Path) -> None:
    (place / ".git").unlink()


def git_file_garbled(checkout: Path, place: Path) -> None:
    (place / ".git").write_bytes(b"\xff\x00nonsense")


def head_gone(checkout: Path, place: Path) -> None:
    (entry(checkout) / "HEAD").unlink()


def names_another_place(checkout: Path, place: Path) -> None:
    (entry(checkout) / "gitdir").write_text("/somewhere/else/.git\n")


def record_gone(checkout: Path, place: Path) -> None:
    (checkout / ".agentdash" / "workspaces" / "task-t1.json").unlink()


def record_garbled(checkout: Path, place: Path) -> None:
    (checkout / ".agentdash" / "workspaces" / "task-t1.json").write_bytes(b"{\xff")


def locks_left(checkout: Path, place: Path) -> None:
    (entry(checkout) / "index.lock").write_bytes(b"DIRC")
    (entry(checkout) / "HEAD.lock").touch()
    (checkout / ".git" / "refs" / "heads" / "agentdash" / "t1.lock").touch()


def locked(checkout: Path, place: Path) -> None:
    git(checkout, "worktree", "lock", "--reason", "mine", str(place))


def index_gone(checkout: Path, place: Path) -> None:
    (entry(checkout) / "index").unlink()


@pytest.mark.parametrize(
    "break_it",
    [entry_gone, all_entries_gone, git_file_gone, git_file_garbled, head_gone, names_another_place,
     record_gone, record_garbled, locks_left,
     locked, index_gone],
)  # fmt: skip
async def test_a_broken_one_keeps_its_commits_and_its_files(
    checkout: Path, workspaces: Workspaces, break_it: Callable[[Path, Path], None]
) -> None:
    before = seen_of(checkout)
    place = await workspaces.prepare("t1", checkout)
    (place / "c.txt").write_text("committed\n")
    git(place, "add", "c.txt")
    git(place, "commit", "-qm", "the agent's own")
    commit = git(place, "rev-parse", "HEAD")
    (place / "a.txt").write_text("in no commit\n")
    (place / "new.txt").write_text("new\n")
    (place / "folder" / "b.txt").unlink()
    break_it(checkout, place)
    again = open_workspaces(checkout)
    assert await again.prepare("t1", checkout) == place
    status = git(place, "status", "--porcelain").splitlines()
    assert [line.split() for line in status] == [["M", "a.txt"], ["D", "folder/b.txt"], ["??", "new.txt"]]
    assert git(place, "rev-parse", "HEAD") == commit
    assert seen_of(checkout) == before
    await is_whole(checkout, again)


@pytest.mark.parametrize("lock_it", [False, True])
async def test_a_folder_that_was_removed_is_checked_out_again_from_its_branch(
    checkout: Path, workspaces: Workspaces, lock_it: bool
) -> None:
    place = await workspaces.prepare("t1", checkout)
    (place / "c.txt").write_text("committed\n")
    await workspaces.finish("t1")
    if lock_it:
        git(checkout, "worktree", "lock", str(place))
    shutil.rmtree(place)
    await is_whole(checkout, open_workspaces(checkout))
    assert (place / "c.txt").read_text() == "committed\n"


async def test_a_kill_while_that_is_checked_out_loses_no_commit(checkout: Path, workspaces: Workspaces) -> None:
    place = await workspaces.prepare("t1", checkout)
    (place / "c.txt").write_text("committed\n")
    await workspaces.finish("t1")
    shutil.rmtree(place)
    set_ready(workspaces, ready=False)  # as it stands while git checks it out
    place.mkdir()
    (place / "c.txt").write_text("comm")
    await is_whole(checkout, open_workspaces(checkout))
    assert (place / "c.txt").read_text() == "committed\n"


async def test_a_branch_that_was_removed_is_made_again_and_no_file_is_lost(
    checkout: Path, workspaces: Workspaces
) -> None:
    place = await workspaces.prepare("t1", checkout)
    (place / "c.txt").write_text("committed\n")
    await workspaces.finish("t1")
    git(checkout, "update-ref", "-d", "refs/heads/agentdash/t1")
    await is_whole(checkout, open_workspaces(checkout))
    assert (place / "c.txt").read_text() == "committed\n"


async def test_a_repository_that_was_moved_keeps_all(checkout: Path, workspaces: Workspaces) -> None:
    place = await workspaces.prepare("t1", checkout)
    (place / "a.txt").write_text("in no commit\n")
    (place / "new.txt").write_text("staged\n")
    git(place, "add", "new.txt")
    before = seen_of(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    again = open_workspaces(moved)
    place = await again.prepare("t1", moved)
    assert git(place, "status", "--porcelain").splitlines() == [" M a.txt", "A  new.txt"]
    assert seen_of(moved) == before
    assert (await again.finish("t1"))["files"] == 2
    assert git(await again.prepare("t2", moved), "rev-parse", "HEAD") == git(moved, "rev-parse", "HEAD")


async def test_a_copy_of_a_repository_does_not_touch_the_first_one(checkout: Path, workspaces: Workspaces) -> None:
    place = await workspaces.prepare("t1", checkout)
    (place / "a.txt").write_text("in no commit\n")
    copied = checkout.with_name("copied")
    shutil.copytree(checkout, copied, symlinks=True)
    again = open_workspaces(copied)
    other = await again.prepare("t1", copied)
    (other / "a.txt").write_text("of the copy\n")
    await again.finish("t1")
    assert git(place, "status", "--porcelain") == " M a.txt"
    assert git(checkout, "rev-parse", "agentdash/t1") == git(checkout, "rev-parse", "main")
    assert git(copied, "show", "agentdash/t1:a.txt") == "of the copy"


async def test_files_of_nobody_in_the_way_are_put_aside(checkout: Path, workspaces: Workspaces) -> None:
    place = workspaces.place("t1")
    place.mkdir(parents=True)
    (place / "whose.txt").write_text("?\n")
    assert (await workspaces.prepare("t1", checkout) / "a.txt").exists()
    assert (workspaces.folder / "lost~task-t1~1" / "whose.txt").read_text() == "?\n"
    (workspaces.folder / "task-t2").mkdir()  # an empty one is used
    assert (await workspaces.prepare("t2", checkout) / "a.txt").exists()
    assert len(os.listdir(workspaces.folder)) == 3


async def test_a_worktree_that_was_made_a_repository_of_its_own_is_named(
    checkout: Path, workspaces: Workspaces
) -> None:
    place = await workspaces.prepare("t1", checkout)
    before = seen_of(checkout)
    (place / ".git").unlink()
    git(place, "init", "-q")
    (place / "a.txt").write_text("changed\n")
    assert "no worktree any more" in (await workspaces.finish("t1"))["error"]
    with pytest.raises(Exception, match="a repository of its own"):
        await open_workspaces(checkout).prepare("t1", checkout)
    assert seen_of(checkout) == before


async def test_git_never_goes_on_in_the_users_checkout(checkout: Path, workspaces: Workspaces) -> None:
    place = await workspaces.prepare("t1", checkout)
    before = seen_of(checkout)
    shutil.rmtree(place)
    place.mkdir()  # git would take the checkout around it for its repository
    (place / "a.txt").write_text("changed\n")
    assert "error" in await workspaces.finish("t1")
    assert seen_of(checkout) == before
