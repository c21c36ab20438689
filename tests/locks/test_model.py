"""Two lock objects and a cleaner against a plain model of who holds what."""

from __future__ import annotations

import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agentdash.engine.locks import TaskLock

ids = st.sampled_from(["t1", "T1", "a/b", "..", "日本"])
holders = st.sampled_from(["worker-1", "worker-2"])
sides = st.sampled_from([0, 1])


class TwoObjects(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.locks = [TaskLock(self.folder.name), TaskLock(self.folder.name)]
        self.holding: dict[str, tuple[int, str]] = {}

    @rule(side=sides, task_id=ids, holder=holders)
    def acquire(self, side: int, task_id: str, holder: str) -> None:
        assert self.locks[side].acquire(task_id, holder) == (task_id not in self.holding)
        self.holding.setdefault(task_id, (side, holder))

    @rule(side=sides, task_id=ids, holder=st.none() | holders)
    def release(self, side: int, task_id: str, holder: str | None) -> None:
        own = self.holding.get(task_id, (None, ""))
        expected = own[0] == side and holder in (None, own[1])
        assert self.locks[side].release(task_id, holder) == expected
        if expected:
            del self.holding[task_id]

    @rule(side=sides)
    def clean(self, side: int) -> None:
        assert self.locks[side].clean_all_stale_locks(0) == 0

    @invariant()
    def views_and_probes_agree(self) -> None:
        for side, lock in enumerate(self.locks):
            assert {view.task_id: view.holder_id for view in lock.views(0)} == {
                task_id: holder for task_id, (_, holder) in self.holding.items()
            }
            assert set(lock.held()) == {task_id for task_id, (own, _) in self.holding.items() if own == side}
            assert lock.heartbeat_all() == []
            assert lock.is_locked("t1") == ("t1" in self.holding)

    def teardown(self) -> None:
        for lock in self.locks:
            lock.close()
        self.folder.cleanup()


TestTwoObjects = TwoObjects.TestCase
TestTwoObjects.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
