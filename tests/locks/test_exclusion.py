"""Points 2, 3, 6 and 9: one holder at a time, whatever age, pid and file content say."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock, flock, posix
from agentdash.errors import LockError
from tests.locks.conftest import StartPeer
from tests.locks.peer import Peer, lock_descriptors
from tests.support.clock import FakeClock


def test_two_processes_exclude_each_other(locks: TaskLock, peer: Peer) -> None:
    assert peer.call("acquire", "t1") is True
    assert not locks.acquire("t1")
    assert locks.is_locked("t1")
    assert locks.acquire("t2")
    assert peer.call("acquire", "t2") is False
    assert peer.call("release", "t1") is True
    assert not locks.is_locked("t1")
    assert locks.acquire("t1")


def test_two_objects_of_one_process_exclude_each_other(locks: TaskLock, project: Path) -> None:
    other = TaskLock(project)
    assert locks.acquire("t1")
    assert not other.acquire("t1")
    assert locks.release("t1")
    assert other.acquire("t1")
    other.close()


def test_one_object_never_holds_a_task_twice(locks: TaskLock) -> None:
    assert locks.acquire("t1", "worker-1")
    assert not locks.acquire("t1", "worker-1")
    assert not locks.acquire("t1", "worker-2")
    assert locks.held()["t1"].holder_id == "worker-1"


def test_a_killed_holder_s_lock_is_free_at_once(locks: TaskLock, peer: Peer) -> None:
    assert peer.call("acquire", "t1", "worker-0", 1_000_000) is True
    peer.kill()
    assert locks.acquire("t1")


def test_release_needs_the_holder(locks: TaskLock, project: Path) -> None:
    assert not locks.release("t1")
    locks.acquire("t1", "worker-1")
    assert not locks.release("t1", "worker-2")
    assert locks.is_locked("t1")
    assert not TaskLock(project).release("t1")
    assert locks.release("t1", "worker-1")
    assert not locks.release("t1", "worker-1")


def test_release_removes_the_file(locks: TaskLock, project: Path) -> None:
    locks.acquire("t1")
    locks.release("t1")
    assert [path.name for path in (project / ".locks").iterdir()] == [".gitignore"]


def test_the_context_manager_says_whether_it_acquired_and_releases(locks: TaskLock, project: Path) -> None:
    with locks.lock("t1", "worker-1") as acquired:
        assert acquired
        with TaskLock(project).lock("t1") as second:
            assert not second
        assert locks.is_locked("t1")
    assert not locks.is_locked("t1")


def test_the_context_manager_releases_after_an_error(locks: TaskLock) -> None:
    with pytest.raises(RuntimeError), locks.lock("t1"):
        raise RuntimeError
    assert not locks.held()
    assert not locks.is_locked("t1")


def test_neither_age_nor_budget_takes_a_lock_from_its_holder(
    locks: TaskLock, peer: Peer, project: Path, clock: FakeClock
) -> None:
    assert peer.call("acquire", "t1", "worker-0", 0) is True
    os.utime(project / ".locks/task-t1.lock", (0, 0))
    clock.time += 1e8
    assert not locks.acquire("t1")


def test_neither_pid_nor_content_says_whether_a_lock_is_free(locks: TaskLock, peer: Peer, project: Path) -> None:
    path = project / ".locks/task-t1.lock"
    peer.call("acquire", "t1")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "pid": 2**22 + 1}))  # no such process, yet it is held
    assert not locks.acquire("t1")
    peer.kill()
    path.write_text(json.dumps({**record, "pid": os.getpid()}))  # a living process, yet nobody holds it
    assert locks.acquire("t1")


def test_a_file_unlinked_between_open_and_flock_is_tried_again(
    locks: TaskLock, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder let go while we waited at the door: what we locked is no longer the file others see."""
    path = project / ".locks/task-t1.lock"
    calls = 0

    def unlink_first(fd: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()
        return flock.try_flock(fd)

    monkeypatch.setattr(posix, "try_flock", unlink_first)
    assert locks.acquire("t1")
    assert calls == 2
    assert path.stat().st_ino == locks.held()["t1"].inode
    assert not TaskLock(project).acquire("t1")


def test_a_file_replaced_by_another_holder_between_open_and_flock_is_busy(
    locks: TaskLock, peer: Peer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race that let the first sketch have two holders."""
    calls = 0

    def replace_first(fd: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            (project / ".locks/task-t1.lock").unlink()
            assert peer.call("acquire", "t1") is True
        return flock.try_flock(fd)

    monkeypatch.setattr(posix, "try_flock", replace_first)
    assert not locks.acquire("t1")
    assert calls == 2
    assert peer.call("heartbeat", "t1") is True


def test_tries_are_bounded(locks: TaskLock, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lock_descriptors()
    monkeypatch.setattr(TaskLock, "_is_at_path", lambda *_: False)
    assert not locks.acquire("t1")
    assert lock_descriptors() == before


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_another_errno_of_flock_is_an_error_not_busy(
    locks: TaskLock, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(fd: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    before = lock_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(LockError, match=r"task-t1\.lock"):
            locks.acquire("t1")
    assert lock_descriptors() == before
    assert locks.acquire("t1")


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EACCES])
def test_contention_errnos_of_flock_are_busy(locks: TaskLock, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(fd: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not locks.acquire("t1")


def test_close_releases_all_and_refuses_more(project: Path, peer: Peer) -> None:
    before = lock_descriptors()
    lock = TaskLock(project)
    assert all(lock.acquire(task_id) for task_id in ("t1", "t2"))
    lock.close()
    lock.close()
    assert lock_descriptors() == before
    assert peer.call("acquire", "t1") is True
    with pytest.raises(LockError, match="closed"):
        lock.acquire("t3")


def test_a_forgotten_object_lets_go(project: Path) -> None:
    TaskLock(project).acquire("t1")
    assert TaskLock(project).acquire("t1")


def test_release_of_a_replaced_file_leaves_the_other_s_alone(
    locks: TaskLock, start_peer: StartPeer, project: Path
) -> None:
    """Only one's own inode is unlinked."""
    locks.acquire("t1")
    (project / ".locks/task-t1.lock").unlink()
    peer = start_peer()
    assert peer.call("acquire", "t1") is True
    assert locks.release("t1")
    assert peer.call("heartbeat", "t1") is True
    assert not locks.acquire("t1")
