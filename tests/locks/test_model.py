"""Two lock objects, their deaths, a cleaner, and files removed from outside, against a model of who holds what.

Spares are kept from the second lock on, not from the 32nd, so that most locks are taken in both ways.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentdash.engine.locks import TaskLock, lock_file_name, spares

IDS = ["t1", "T1", "../日本"]
ids = st.sampled_from(IDS)
holders = st.sampled_from(["worker-1", "worker-2"])
sides = st.sampled_from([0, 1])


class TwoObjects(RuleBasedStateMachine):
    """`holding`: task → (side, holder). `lost`: what a side still takes for its own though its file was removed.
    `left`: files of holders that died."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / ".locks"
        self.early_spares = patch.object(spares, "FROM_CYCLE", 2)
        self.early_spares.start()
        self.locks = [TaskLock(self.folder.name), TaskLock(self.folder.name)]
        self.holding: dict[str, tuple[int, str]] = {}
        self.lost: dict[tuple[int, str], str] = {}
        self.left: set[str] = set()

    @rule(side=sides, task_id=ids, holder=holders)
    def acquire(self, side: int, task_id: str, holder: str) -> None:
        expected = task_id not in self.holding and (side, task_id) not in self.lost
        assert self.locks[side].acquire(task_id, holder) == expected
        if expected:
            self.holding[task_id] = side, holder
            self.left.discard(task_id)

    @rule(side=sides, task_id=ids, holder=st.none() | holders)
    def release(self, side: int, task_id: str, holder: str | None) -> None:
        own = self.own(side)
        expected = task_id in own and holder in (None, own[task_id])
        assert self.locks[side].release(task_id, holder) == expected
        if expected and self.lost.pop((side, task_id), None) is None:
            del self.holding[task_id]

    @rule(side=sides)
    def clean(self, side: int) -> None:
        assert self.locks[side].clean_all_stale_locks(0) == len(self.left)
        self.left.clear()

    @rule(side=sides)
    def die(self, side: int) -> None:
        """As by kill -9: the kernel closes the files, and nothing is removed. Another process takes the place."""
        self.locks[side].close_in_child()
        self.locks[side] = TaskLock(self.folder.name)
        self.left |= {task_id for task_id, (own, _) in self.holding.items() if own == side}
        self.holding = {task_id: who for task_id, who in self.holding.items() if who[0] != side}
        self.lost = {key: holder for key, holder in self.lost.items() if key[0] != side}

    @rule(side=sides)
    def close(self, side: int) -> None:
        """Everything is released in order, the spares too."""
        self.locks[side].close()
        self.locks[side] = TaskLock(self.folder.name)
        self.holding = {task_id: who for task_id, who in self.holding.items() if who[0] != side}
        self.lost = {key: holder for key, holder in self.lost.items() if key[0] != side}

    @precondition(lambda self: self.holding)
    @rule(number=st.integers(0, 9))
    def remove_a_file(self, number: int) -> None:
        """From outside: its holder must notice, and everybody else may have the lock."""
        task_id = sorted(self.holding)[number % len(self.holding)]
        (self.path / lock_file_name(task_id)).unlink()
        side, holder = self.holding.pop(task_id)
        self.lost[side, task_id] = holder

    @rule()
    def remove_the_folder(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.lost |= {(side, task_id): holder for task_id, (side, holder) in self.holding.items()}
        self.holding.clear()
        self.left.clear()

    def own(self, side: int) -> dict[str, str]:
        """What a side takes for its own."""
        held = {task_id: holder for task_id, (own, holder) in self.holding.items() if own == side}
        return held | {task_id: holder for (own, task_id), holder in self.lost.items() if own == side}

    @invariant()
    def views_and_probes_agree(self) -> None:
        for side, lock in enumerate(self.locks):
            own = self.own(side)
            assert {task_id: held.holder_id for task_id, held in lock.held().items()} == own
            assert set(lock.heartbeat_all()) == {task_id for owner, task_id in self.lost if owner == side}
            views = {view.task_id: (view.state, view.holder_id) for view in lock.views(0)}
            shown = {task_id: ("held", holder) for task_id, (_, holder) in self.holding.items()}
            stale = {task_id: views.get(task_id, ("", ""))[1] for task_id in self.left - own.keys()}
            assert views == (
                {task_id: ("stale", holder) for task_id, holder in stale.items()}
                | shown
                | {task_id: ("held", holder) for task_id, holder in own.items()}
            )
            for task_id in IDS:
                assert lock.is_locked(task_id) == (task_id in self.holding or task_id in own)

    @invariant()
    def files_are_those_of_locks(self) -> None:
        found = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        names = {lock_file_name(task_id) for task_id in (*self.holding, *self.left)}
        assert {name for name in found if not name.startswith(spares.PREFIX)} - {".gitignore"} == names

    def teardown(self) -> None:
        for lock in self.locks:
            lock.close()
        cleaner = TaskLock(self.folder.name)
        cleaner.clean_all_stale_locks(0)
        cleaner.close()
        left = {path.name for path in self.path.iterdir()}
        self.folder.cleanup()
        self.early_spares.stop()
        assert left == {".gitignore"}


TestTwoObjects = TwoObjects.TestCase
TestTwoObjects.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
