"""Point 5: a heartbeat keeps the file's time and notices a removed or replaced file or folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock
from agentdash.errors import LockError
from tests.locks.peer import Peer


def test_a_heartbeat_renews_the_time_of_its_own_file(locks: TaskLock, project: Path) -> None:
    path = project / ".locks/task-t1.lock"
    locks.acquire("t1")
    os.utime(path, (0, 0))
    assert locks.heartbeat("t1")
    assert path.stat().st_mtime > 0
    assert locks.heartbeat_all() == []


def test_what_is_not_held_has_no_heartbeat(locks: TaskLock, peer: Peer) -> None:
    peer.call("acquire", "t1")
    assert not locks.heartbeat("t1")
    assert locks.heartbeat_all() == []


def unlink(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.rename(path.with_suffix(".away"))
    shutil.copy(path.with_suffix(".away"), path)


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("away"))


def replace_folder(path: Path) -> None:
    rename_folder(path)
    shutil.copytree(path.parent.with_name("away"), path.parent)


def link_folder(path: Path) -> None:
    rename_folder(path)
    path.parent.symlink_to("nowhere")


CHANGES = [unlink, replace, remove_folder, rename_folder, replace_folder, link_folder]


@pytest.mark.parametrize("change", CHANGES)
def test_a_removed_or_replaced_file_or_folder_is_compromised(locks: TaskLock, project: Path, change: object) -> None:
    assert callable(change)
    locks.acquire("t1")
    locks.acquire("t2")
    change(project / ".locks/task-t1.lock")
    assert not locks.heartbeat("t1")
    both = change not in (unlink, replace)
    assert locks.heartbeat_all() == (["t1", "t2"] if both else ["t1"])
    assert locks.release("t1")
    assert not locks.heartbeat("t1")


@pytest.mark.parametrize("change", [remove_folder, rename_folder, replace_folder])
def test_acquire_goes_on_in_the_folder_that_others_see(
    locks: TaskLock, peer: Peer, project: Path, change: object
) -> None:
    assert callable(change)
    locks.acquire("t1")
    change(project / ".locks/task-t1.lock")
    assert locks.acquire("t2")
    assert (project / ".locks/.gitignore").exists()
    assert (project / ".locks").stat().st_mode & 0o777 == 0o700
    assert peer.call("acquire", "t2") is False
    assert peer.call("acquire", "t3") is True
    assert not locks.acquire("t3")


def test_a_peer_whose_folder_was_removed_meets_the_others_in_the_new_one(
    locks: TaskLock, peer: Peer, project: Path
) -> None:
    assert peer.call("acquire", "t1") is True
    shutil.rmtree(project / ".locks")
    assert locks.acquire("t1")  # fencing in the store decides whose result counts
    assert peer.call("heartbeat_all") == ["t1"]
    assert peer.call("release", "t1") is True
    assert locks.heartbeat("t1")
    assert peer.call("acquire", "t1") is False


def test_a_removed_project_is_one_clear_error(locks: TaskLock, project: Path) -> None:
    locks.acquire("t1")
    shutil.rmtree(project)
    with pytest.raises(LockError, match="No such file"):
        locks.acquire("t2")
    assert locks.heartbeat_all() == ["t1"]
    assert locks.release("t1")
    project.mkdir()
    assert locks.acquire("t2")
