"""What a dashboard sees: held, overdue, stale, foreign."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock
from agentdash.model import LockView
from tests.locks.conftest import StartPeer
from tests.locks.peer import Peer
from tests.support.clock import FakeClock


def test_states(locks: TaskLock, start_peer: StartPeer, project: Path, clock: FakeClock) -> None:
    peer, dead = start_peer(), start_peer()
    peer.call("acquire", "theirs", "worker-7", 60)
    dead.call("acquire", "dead")
    dead.kill()
    locks.acquire("mine", "worker-1", timeout=60)
    (project / ".locks/task-torn.lock").write_bytes(b'{"task_id": "torn", "hol')
    now = json.loads((project / ".locks/task-dead.lock").read_text())
    assert now["pid"] == dead.pid

    views = {view.task_id: view for view in locks.views(clock.time)}
    assert views["mine"] == LockView("mine", "worker-1", os.getpid(), clock.time, "held", clock.time)
    assert views["mine"] == locks.held()["mine"].view(clock.time + 60)
    assert (views["theirs"].state, views["theirs"].holder_id, views["theirs"].pid) == ("held", "worker-7", peer.pid)
    assert views["dead"].state == "stale"
    assert (views["torn"].state, views["torn"].pid) == ("stale", 0)

    later = {view.task_id: view.state for view in locks.views(1e11)}
    assert later == {"mine": "overdue", "theirs": "overdue", "dead": "stale", "torn": "stale"}
    assert not locks.acquire("theirs")  # overdue is a word, not a licence


@pytest.mark.parametrize(
    "change",
    [{"host": "elsewhere"}, {"boot_id": "earlier"}, {"task_id": "other"}, {"task_id": "\0"}, {"pid": "x"}, None],
)
def test_a_held_file_that_is_not_readable_as_ours_is_foreign(
    locks: TaskLock, peer: Peer, project: Path, change: dict[str, str] | None
) -> None:
    path = project / ".locks/task-t1.lock"
    peer.call("acquire", "t1")
    path.write_text("" if change is None else json.dumps({**json.loads(path.read_text()), **change}))
    [view] = locks.views(0)
    assert (view.task_id, view.state) == ("t1", "foreign")


def test_planted_things_are_foreign_and_never_block(locks: TaskLock, project: Path) -> None:
    os.mkfifo(project / ".locks/task-pipe.lock")
    (project / ".locks/task-dir.lock").mkdir()
    (project / ".locks/task-link.lock").symlink_to("/etc/passwd")
    assert {(view.task_id, view.state) for view in locks.views(0)} == {
        ("pipe", "foreign"),
        ("dir", "foreign"),
        ("link", "foreign"),
    }


def test_views_are_bounded_and_own_ones_come_first(locks: TaskLock, project: Path) -> None:
    for number in range(20):
        (project / f".locks/task-x{number}.lock").touch()
    locks.acquire("mine")
    assert [len(locks.views(0, limit=limit)) for limit in (0, 1, 5, 100)] == [0, 1, 5, 21]
    assert locks.views(0, limit=1)[0].task_id == "mine"


def test_looking_takes_nothing(locks: TaskLock, peer: Peer, project: Path) -> None:
    (project / ".locks/task-t1.lock").touch()
    assert locks.views(0)[0].state == "stale"
    assert not locks.is_locked("t1")
    assert peer.call("acquire", "t1") is True
    assert locks.is_locked("t1")


def test_a_heartbeat_is_seen_by_the_holder_and_by_others(locks: TaskLock, peer: Peer, clock: FakeClock) -> None:
    locks.acquire("mine")
    assert locks.held()["mine"].view(clock.time).heartbeat_at == clock.time
    clock.advance(30)
    locks.heartbeat_all()
    view = locks.held()["mine"].view(clock.time)
    assert (view.heartbeat_at, view.acquired_at) == (clock.time, clock.time - 30)
    peer.call("acquire", "theirs")
    [theirs] = [view for view in locks.views(clock.time) if view.task_id == "theirs"]
    assert theirs.heartbeat_at is not None
    assert theirs.heartbeat_at > 0
