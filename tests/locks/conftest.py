"""A project folder, its locks, and a second process to share them with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock
from tests.locks.peer import Peer

collect_ignore_glob = ["test_*.py"] if sys.platform == "win32" else []

Project = Path
StartPeer = Callable[..., Peer]


class MovableClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1_700_000_000.125) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def locks(project: Path, clock: MovableClock) -> Iterator[TaskLock]:
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
