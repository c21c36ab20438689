"""A project folder, its locks, and a second process to share them with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock
from tests.locks.peer import Peer
from tests.support.clock import FakeClock

collect_ignore_glob = ["test_*.py"] if sys.platform == "win32" else []

Project = Path
StartPeer = Callable[..., Peer]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_700_000_000.125)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def locks(project: Path, clock: FakeClock) -> Iterator[TaskLock]:
    lock = TaskLock(project, clock=clock)
    yield lock
    lock.close()


@pytest.fixture
def start_peer(project: Path) -> Iterator[StartPeer]:
    peers: list[Peer] = []

    def start(*, pass_fds: tuple[int, ...] = ()) -> Peer:
        peers.append(Peer(project, pass_fds=pass_fds))
        return peers[-1]

    yield start
    for peer in peers:
        peer.finish()


@pytest.fixture
def peer(start_peer: StartPeer) -> Peer:
    return start_peer()
