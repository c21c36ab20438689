"""Points 4 and 10: full and read-only disks and exhausted descriptors give one clear error and leave nothing behind."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock
from agentdash.errors import LockError
from tests.locks.peer import Peer, lock_descriptors
from tests.support.disks import Mount, mountable


@pytest.fixture
def mount(project: Path) -> Iterator[Mount]:
    with mountable(project) as mount:
        yield mount


def fill(project: Path) -> Path:
    def write_on() -> None:
        while True:
            file.write(b"x" * 4096)

    path = project / "filler"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        write_on()
    return path


def test_a_full_disk(project: Path, mount: Mount) -> None:
    mount("size=64k")
    lock = TaskLock(project)
    assert lock.acquire("held")
    filler = fill(project)
    before = lock_descriptors()
    with pytest.raises(LockError, match="No space left") as caught:
        lock.acquire("t1")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert caught.value.hint
    assert lock_descriptors() == before
    assert {path.name for path in (project / ".locks").iterdir()} == {".gitignore", "task-held.lock"}
    assert lock.heartbeat("held")  # what is held stays held
    assert list(lock.held()) == ["held"]
    filler.unlink()
    assert lock.acquire("t1")
    lock.close()


def test_a_disk_that_is_full_from_the_start(project: Path, mount: Mount) -> None:
    mount("size=64k")
    filler = fill(project)
    with pytest.raises(LockError, match="No space left"):
        TaskLock(project)
    filler.unlink()
    lock = TaskLock(project)
    assert (project / ".locks/.gitignore").stat().st_size > 0
    lock.close()


def test_a_disk_without_inodes(project: Path, mount: Mount) -> None:
    mount("nr_inodes=4")
    lock = TaskLock(project)  # root, .locks and .gitignore leave one
    assert lock.acquire("t1")
    with pytest.raises(LockError, match="No space left"):
        lock.acquire("t2")
    lock.close()


def test_a_read_only_disk(project: Path, mount: Mount) -> None:
    mount("size=64k")
    lock = TaskLock(project)
    mount("remount,ro")
    with pytest.raises(LockError, match="Read-only") as caught:
        lock.acquire("t1")
    assert caught.value.hint
    assert TaskLock(project, create=False).views(0) == []
    assert not lock.held()


def test_a_write_that_fails_leaves_no_file(peer: Peer, locks: TaskLock, project: Path) -> None:
    """As on a full disk, where mounting is not allowed: a limit on file sizes."""
    assert peer.call("limit_file_size", 0) is True
    answer = peer.call("acquire", "t1")
    assert "File too large" in answer["error"]
    assert not list((project / ".locks").glob("task-*"))
    assert locks.acquire("t1")


def test_a_short_write_is_a_full_disk(locks: TaskLock, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, offset: write(fd, data[:10], offset))
        with pytest.raises(LockError, match="No space left"):
            locks.acquire("t1")
    assert not list((project / ".locks").glob("task-*"))
    assert locks.acquire("t1")


def test_no_descriptors_left(locks: TaskLock, project: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(LockError, match="Too many open files") as caught:
            locks.acquire("t1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.hint
    assert "ulimit" in caught.value.hint
    assert locks.acquire("t1")


def test_an_interrupt_while_writing_leaves_neither_lock_nor_descriptor(
    locks: TaskLock, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(fd: int, data: bytes, offset: int) -> int:
        raise KeyboardInterrupt

    before = lock_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", interrupt)
        with pytest.raises(KeyboardInterrupt):
            locks.acquire("t1")
    assert lock_descriptors() == before
    assert not locks.is_locked("t1")
    assert locks.acquire("t1")
