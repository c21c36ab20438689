"""Lock files at rest: faster, and no lock is any weaker for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock
from agentdash.engine.locks.spares import FROM_CYCLE, PREFIX
from tests.locks.conftest import StartPeer
from tests.locks.peer import Peer, lock_descriptors


def spares(project: Path) -> list[str]:
    return [name for name in os.listdir(project / ".locks") if name.startswith(PREFIX)]


def names(project: Path) -> list[str]:
    return sorted(name for name in os.listdir(project / ".locks") if not name.startswith(PREFIX))


def cycle(locks: TaskLock, number: int = FROM_CYCLE) -> None:
    for n in range(number):
        assert locks.acquire(f"warm-{n}")
        assert locks.release(f"warm-{n}")


@pytest.fixture
def warm(locks: TaskLock) -> TaskLock:
    """Locks that have been used often enough to keep a file at rest."""
    cycle(locks)
    return locks


def test_few_locks_leave_nothing(locks: TaskLock, project: Path) -> None:
    cycle(locks, FROM_CYCLE - 1)
    assert os.listdir(project / ".locks") == [".gitignore"]


def test_many_locks_share_one_file(warm: TaskLock, project: Path) -> None:
    assert names(project) == [".gitignore"]
    [spare] = spares(project)
    inode = (project / ".locks" / spare).stat().st_ino
    for n in range(10):
        assert warm.acquire(f"t{n}")
        assert (project / f".locks/task-t{n}.lock").stat().st_ino == inode
        assert warm.heartbeat(f"t{n}")
        assert warm.release(f"t{n}")
        assert names(project) == [".gitignore"]


def test_the_record_is_the_new_task_s_alone(warm: TaskLock, project: Path) -> None:
    assert warm.acquire("a" * 100, "a-very-long-holder-name")
    assert warm.release("a" * 100)
    assert warm.acquire("b", "w")
    text = (project / ".locks/task-b.lock").read_text()
    assert text.count("\n") == 1
    assert '"task_id": "b"' in text


def test_others_are_excluded_and_let_in(warm: TaskLock, peer: Peer) -> None:
    assert warm.acquire("t1")
    assert peer.call("acquire", "t1") is False
    assert warm.release("t1")
    assert peer.call("acquire", "t1") is True
    assert not warm.acquire("t1"), "the name is taken: the file at rest stays at rest"
    assert peer.call("release", "t1") is True
    assert warm.acquire("t1")


def test_a_killed_holder_s_lock_is_free_and_its_spares_are_cleaned(
    locks: TaskLock, start_peer: StartPeer, project: Path
) -> None:
    peer = start_peer()
    for n in range(FROM_CYCLE + 1):
        peer.call("acquire", f"warm-{n}")
        peer.call("release", f"warm-{n}")
    assert peer.call("acquire", "t1") is True
    assert (project / ".locks/task-t1.lock").stat().st_nlink == 2
    peer.kill()
    assert locks.acquire("t1")
    assert (project / ".locks/task-t1.lock").stat().st_nlink == 1, "a file of one's own, not the dead holder's"
    assert spares(project)
    assert locks.clean_all_stale_locks() == 0
    assert spares(project) == []
    assert locks.heartbeat("t1")


def test_a_living_holder_s_spares_stay(warm: TaskLock, project: Path) -> None:
    other = TaskLock(project)
    other.clean_all_stale_locks(0)
    assert len(spares(project)) == 1
    assert warm.acquire("t1")
    other.clean_all_stale_locks(0)
    assert warm.heartbeat("t1")
    other.close()


def test_close_leaves_nothing(project: Path) -> None:
    before = lock_descriptors()
    locks = TaskLock(project)
    cycle(locks)
    assert locks.acquire("t1")
    locks.close()
    assert os.listdir(project / ".locks") == [".gitignore"]
    assert lock_descriptors() == before


def test_a_folder_that_was_replaced_is_noticed(warm: TaskLock, project: Path, peer: Peer) -> None:
    (project / ".locks").rename(project / "moved")
    (project / ".locks").mkdir(mode=0o700)
    assert peer.call("acquire", "t1") is True
    assert not warm.acquire("t1"), "not in the folder that was moved away"
    assert warm.acquire("t2")
    assert peer.call("acquire", "t2") is False


def test_a_removed_lock_is_compromised_and_its_file_is_given_up(warm: TaskLock, project: Path) -> None:
    assert warm.acquire("t1")
    (project / ".locks/task-t1.lock").unlink()
    assert not warm.heartbeat("t1")
    assert warm.release("t1")
    assert spares(project) == []
    assert warm.acquire("t1")


def test_a_swapped_hidden_name_locks_nothing_wrong(warm: TaskLock, project: Path) -> None:
    [spare] = spares(project)
    (project / "victim").write_text("precious")
    (project / ".locks" / spare).unlink()
    (project / ".locks" / spare).hardlink_to(project / "victim")
    assert warm.acquire("t1")
    assert warm.heartbeat("t1")
    assert (project / "victim").read_text() == "precious"


def test_a_file_system_without_hard_links(
    warm: TaskLock, project: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    for n in range(3):
        assert warm.acquire(f"t{n}")
        assert peer.call("acquire", f"t{n}") is False
        assert warm.release(f"t{n}")
    assert os.listdir(project / ".locks") == [".gitignore"]


def test_a_forked_child_neither_frees_nor_keeps_what_rests(warm: TaskLock, project: Path, peer: Peer) -> None:
    assert warm.acquire("t1")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent closes it
        os._exit(0)
    os.close(reader)
    assert peer.call("acquire", "t1") is False
    assert warm.release("t1")
    warm.close()
    assert peer.call("acquire", "t1") is True, "the child keeps no descriptor of the file"
    os.close(writer)
    os.waitpid(child, 0)
    assert spares(project) == []


def test_a_link_that_was_planted_to_one_of_our_own_files_is_no_lock(warm: TaskLock, project: Path) -> None:
    """It would be busy for as long as that file is held: for the whole run, if it is one at rest."""
    folder = project / ".locks"
    [spare] = spares(project)
    (folder / "task-t1.lock").hardlink_to(folder / spare)
    assert warm.acquire("t1")
    assert warm.acquire("t2")
    (folder / "task-t3.lock").hardlink_to(folder / "task-t2.lock")
    assert warm.acquire("t3")
    assert all(warm.heartbeat(task_id) for task_id in ("t1", "t2", "t3"))


def test_a_link_to_a_file_of_another_is_left_to_it(warm: TaskLock, peer: Peer, project: Path) -> None:
    assert peer.call("acquire", "t1") is True
    (project / ".locks/task-t2.lock").hardlink_to(project / ".locks/task-t1.lock")
    assert not warm.acquire("t2")
    assert (project / ".locks/task-t2.lock").exists()


def test_files_of_dead_holders_do_not_pile_up(warm: TaskLock, project: Path) -> None:
    """Where a dead process left its file, the lock is taken the plain way, and the file at rest stays at rest."""
    for n in range(20):
        left = project / ".locks" / f"task-t{n}.lock"
        left.write_text("of one that died")
        assert warm.acquire(f"t{n}")
        assert warm.release(f"t{n}")
        assert not left.exists()
    assert len(spares(project)) <= 2
