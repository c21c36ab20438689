"""Point 8: cleaning removes what nobody holds, and never a living holder's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock, flock, scan
from tests.locks.conftest import StartPeer
from tests.locks.peer import Peer, lock_descriptors
from tests.support.clock import FakeClock


def names(project: Path) -> list[str]:
    return sorted(path.name for path in (project / ".locks").glob("task-*"))


def test_dead_holders_files_go_and_living_ones_stay(locks: TaskLock, start_peer: StartPeer, project: Path) -> None:
    dead, alive = start_peer(), start_peer()
    assert dead.call("acquire", "dead") is True
    assert alive.call("acquire", "alive", "worker-0", 0) is True
    assert locks.acquire("mine")
    dead.kill()
    for name in names(project):
        os.utime(project / ".locks" / name, (0, 0))
    assert locks.clean_all_stale_locks(0) == 1
    assert names(project) == ["task-alive.lock", "task-mine.lock"]
    assert locks.heartbeat("mine")
    assert alive.call("heartbeat", "alive") is True


def test_age_only_limits_the_cleaning(locks: TaskLock, project: Path, clock: FakeClock) -> None:
    for name, age in (("task-old.lock", 3600), ("task-new.lock", 3599), ("task-future.lock", -100)):
        (project / ".locks" / name).touch()
        os.utime(project / ".locks" / name, (clock.time - age,) * 2)
    assert locks.clean_all_stale_locks() == 1
    assert names(project) == ["task-future.lock", "task-new.lock"]
    assert locks.clean_all_stale_locks(max_age_seconds=0) == 2


def test_content_does_not_protect_a_file_that_nobody_holds(locks: TaskLock, project: Path, peer: Peer) -> None:
    peer.call("acquire", "t1")
    path = project / ".locks/task-t1.lock"
    data = path.read_text()
    peer.call("release", "t1")
    path.write_text(data)  # names a living process
    assert locks.clean_all_stale_locks(0) == 1


def test_other_files_are_left_alone(locks: TaskLock, project: Path) -> None:
    for name in ("notes.txt", "task-x.json", "task-.lock", "x.lock"):
        (project / ".locks" / name).touch()
    (project / ".locks/task-dir.lock").mkdir()
    os.mkfifo(project / ".locks/task-pipe.lock")
    (project / ".locks/task-link.lock").symlink_to(project / ".locks/notes.txt")
    before = sorted(os.listdir(project / ".locks"))
    assert locks.clean_all_stale_locks(0) == 0
    assert sorted(os.listdir(project / ".locks")) == before


def test_a_file_taken_over_between_open_and_flock_stays(
    locks: TaskLock, peer: Peer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project / ".locks/task-t1.lock"
    path.touch()

    def replace_first(fd: int, how: int) -> bool:
        path.unlink()
        assert peer.call("acquire", "t1") is True
        return flock.try_flock(fd, how)

    monkeypatch.setattr(scan, "try_flock", replace_first)
    assert locks.clean_all_stale_locks(0) == 0
    assert peer.call("heartbeat", "t1") is True


def test_cleaning_leaves_no_descriptor(locks: TaskLock, project: Path) -> None:
    for number in range(50):
        (project / f".locks/task-{number}.lock").touch()
    before = lock_descriptors()
    assert len(locks.views(0)) == 50
    assert locks.clean_all_stale_locks(0) == 50
    assert lock_descriptors() == before
