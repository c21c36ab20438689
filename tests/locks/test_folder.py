"""Point 1: a private folder; nothing planted in it is followed, waited for or written through."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock
from agentdash.errors import LockError
from tests.locks.peer import lock_descriptors

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder to another user")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_files_are_private(project: Path) -> None:
    before = os.umask(0)
    try:
        lock = TaskLock(project)
        lock.acquire("t1")
    finally:
        os.umask(before)
    assert mode(project / ".locks") == 0o700
    assert mode(project / ".locks/task-t1.lock") == 0o600
    assert mode(project / ".locks/.gitignore") == 0o600


def test_an_open_folder_and_file_are_made_private(project: Path) -> None:
    folder = project / ".locks"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "task-t1.lock").touch()
    (folder / "task-t1.lock").chmod(0o666)
    lock = TaskLock(project)
    assert lock.acquire("t1")
    assert mode(folder) == 0o700
    assert mode(folder / "task-t1.lock") == 0o600


def test_gitignore_ignores_all_and_is_not_overwritten(project: Path) -> None:
    TaskLock(project)
    ignore = project / ".locks/.gitignore"
    assert "*" in ignore.read_text().splitlines()
    ignore.write_text("mine\n")
    TaskLock(project)
    assert ignore.read_text() == "mine\n"
    ignore.write_text("")  # a crash between creating and writing
    TaskLock(project)
    assert "*" in ignore.read_text().splitlines()


def test_a_linked_folder_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project / ".locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LockError, match="symbolic link"):
        TaskLock(project)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_in_place_of_the_folder_is_refused(project: Path) -> None:
    (project / ".locks").touch()
    with pytest.raises(LockError, match="not a folder"):
        TaskLock(project)


@as_root
def test_another_user_s_folder_is_refused(project: Path) -> None:
    (project / ".locks").mkdir()
    os.chown(project / ".locks", 12345, 12345)
    with pytest.raises(LockError, match="belongs to user 12345"):
        TaskLock(project)


def test_a_missing_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="No such file") as caught:
        TaskLock(tmp_path / "none")
    assert caught.value.hint


def test_a_linked_project_is_one_project(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)
    lock, same = TaskLock(project), TaskLock(tmp_path / "link")
    assert lock.acquire("t1")
    assert not same.acquire("t1")


def plant_link(path: Path) -> None:
    (path.parent.parent / "victim").write_text("precious")
    path.symlink_to(path.parent.parent / "victim")


def plant_hard_link(path: Path) -> None:
    (path.parent.parent / "victim").write_text("precious")
    path.hardlink_to(path.parent.parent / "victim")


@pytest.mark.parametrize("plant", [plant_link, os.mkfifo, os.mkdir])
def test_what_is_planted_at_the_path_is_an_error(locks: TaskLock, project: Path, plant: object) -> None:
    assert callable(plant)
    before = lock_descriptors()
    plant(project / ".locks/task-t1.lock")
    with pytest.raises(LockError, match=r"task-t1\.lock") as caught:
        locks.acquire("t1")
    assert caught.value.hint
    assert locks.clean_all_stale_locks(0) == 0
    assert lock_descriptors() == before
    victim = project / "victim"
    assert not victim.exists() or victim.read_text() == "precious"


def test_a_planted_hard_link_loses_its_name_here_and_nothing_else(locks: TaskLock, project: Path) -> None:
    plant_hard_link(project / ".locks/task-t1.lock")
    assert locks.acquire("t1")
    assert locks.heartbeat("t1")
    assert locks.release("t1")
    assert (project / "victim").read_text() == "precious"


def test_a_dangling_link_creates_nothing(locks: TaskLock, project: Path) -> None:
    (project / ".locks/task-t1.lock").symlink_to(project / "created")
    with pytest.raises(LockError):
        locks.acquire("t1")
    assert not (project / "created").exists()


def test_looking_creates_no_folder(project: Path) -> None:
    lock = TaskLock(project, create=False)
    assert lock.views(0) == []
    assert lock.clean_all_stale_locks(0) == 0
    assert not lock.is_locked("t1")
    assert not (project / ".locks").exists()
    assert lock.acquire("t1")
    assert (project / ".locks/.gitignore").exists()


def test_a_folder_that_ignores_case_gets_one_case_names(project: Path) -> None:
    lock = TaskLock(project)
    os.link(project / ".locks/.gitignore", project / ".locks/.GITIGNORE")  # as such a file system would answer
    other = TaskLock(project)
    assert not lock._folder.one_case
    assert other._folder.one_case
    assert all(other.acquire(task_id) for task_id in ("T1", "t1"))
    names = [path.name.casefold() for path in (project / ".locks").glob("task-*")]
    assert len(set(names)) == 2
