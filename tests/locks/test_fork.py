"""Point 7: a forked child closes and never unlocks; a started program inherits nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from agentdash.engine.locks import TaskLock
from agentdash.engine.locks.forking import GUARD
from tests.locks.conftest import StartPeer

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="reads /proc")


@pytest.fixture
def alive() -> Iterator[int]:
    """The read end of a pipe: children that read it live until the test is over."""
    reader, writer = os.pipe()
    yield reader
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize("end", ["exit", "close"])
def test_a_child_that_ends_leaves_its_parent_s_lock(
    locks: TaskLock, start_peer: StartPeer, alive: int, end: str
) -> None:
    peer = start_peer(pass_fds=(alive,))
    assert peer.call("acquire", "t1") is True
    seen = peer.call("fork", "t1", alive, end)
    assert seen["held"] == []
    assert seen["released"] is False
    assert seen["heartbeat"] is False
    assert seen["acquired"] is False
    assert seen["other"] is True
    assert seen["descriptors"] == []
    assert peer.call("heartbeat", "t1") is True
    assert not locks.acquire("t1")
    assert peer.call("release", "t1") is True
    assert locks.acquire("t1")


@pytest.mark.parametrize("parent_ends", ["killed", "releases"])
def test_a_child_that_lives_on_keeps_no_lock(
    locks: TaskLock, start_peer: StartPeer, alive: int, parent_ends: str
) -> None:
    peer = start_peer(pass_fds=(alive,))
    assert peer.call("acquire", "t1") is True
    child = peer.call("fork", "t1", alive, "live")["child"]
    try:
        assert not locks.acquire("t1")
        if parent_ends == "killed":
            peer.kill()
        else:
            assert peer.call("release", "t1") is True
        os.kill(child, 0)  # still there
        assert locks.acquire("t1")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_started_program_inherits_no_lock(locks: TaskLock, start_peer: StartPeer, alive: int) -> None:
    peer = start_peer(pass_fds=(alive,))
    assert peer.call("acquire", "t1") is True
    seen = peer.call("spawn", alive)
    try:
        assert seen["descriptors"] == []
        peer.kill()
        os.kill(seen["child"], 0)
        assert locks.acquire("t1")
    finally:
        os.kill(seen["child"], signal.SIGKILL)


def test_no_fork_happens_while_a_descriptor_is_not_recorded(locks: TaskLock) -> None:
    """`os.fork` takes the guard first, and acquire holds it from open to record."""
    entered, done = threading.Event(), threading.Event()

    def acquire() -> None:
        entered.set()
        locks.acquire("t1")
        done.set()

    with GUARD:
        thread = threading.Thread(target=acquire)
        thread.start()
        entered.wait()
        assert not locks.held()
        assert not done.is_set()
    thread.join()
    assert locks.held()
