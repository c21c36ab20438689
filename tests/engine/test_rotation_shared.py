"""What two processes tell each other of their keys: cooldowns, dead keys, and what was done by hand."""

from __future__ import annotations

import pytest

from agentdash.engine.store import CredentialRecord
from tests.support.keys import CREDENTIAL, Keys, limited, quota
from tests.support.virtual_loop import EPOCH, ManualClock


class Shared:
    """Two processes over what the store keeps of credentials."""

    def __init__(self, names: str = "abc") -> None:
        self.clock = ManualClock()
        self.one, self.two = Keys(names, clock=self.clock), Keys(names, clock=self.clock)
        self.records: dict[str, CredentialRecord] = {}
        self.active: str | None = None
        for _ in range(2):
            self.tick(self.one)
            self.tick(self.two)

    def tick(self, keys: Keys, *, trust_marks: bool = True) -> None:
        """What the housekeeping does: absorb, then save."""
        self.clock.time += 0.25
        keys.state.absorb(list(self.records.values()), self.active, trust_marks=trust_marks)
        changes = keys.state.take_changes()
        if changes is not None:
            for record in changes[0]:
                self.records[record.fingerprint] = record
            self.active = changes[1] or self.active

    def settle(self, *order: Keys) -> None:
        for _ in range(3):
            for keys in order or (self.one, self.two):
                keys.next()  # both are at work: every lease makes something to save
                self.tick(keys)


def test_a_cooldown_is_shared_and_the_later_one_stays() -> None:
    shared = Shared("a")
    shared.one.meet(limited(30))
    shared.tick(shared.one)
    shared.tick(shared.two)
    assert shared.two.next() is None
    shared.clock.time += 30
    probe = shared.two.lease()
    assert shared.two.state.lease() is None  # it probes here, too
    shared.two.state.release(probe)


def test_a_dead_key_is_dead_for_both() -> None:
    shared = Shared()
    shared.one.meet(CREDENTIAL, "a")
    shared.settle()
    assert (shared.one.active, shared.two.active) == ("b", "b")
    assert shared.two["a"].is_invalid
    assert shared.two["a"].requests == 1  # before it was told, and never again
    assert shared.two["a"].last_error == "401 no such key"


@pytest.mark.parametrize("first", ["one", "two"])
def test_rotating_by_hand_in_one_process_moves_both_and_is_not_undone(first: str) -> None:
    shared = Shared()
    shared.two.state.rotate_by_hand("c")
    order = (shared.one, shared.two) if first == "one" else (shared.two, shared.one)
    shared.settle(*order)
    assert (shared.one.active, shared.two.active) == ("c", "c")
    shared.one.state.rotate_by_hand("a")
    shared.settle(*order)
    assert (shared.one.active, shared.two.active) == ("a", "a")


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_key_put_right_by_hand_in_one_process_is_right_in_both(first: str) -> None:
    shared = Shared()
    shared.one.meet(CREDENTIAL, "a")
    shared.settle()
    shared.clock.time += 1
    assert shared.two.state.rotate_by_hand("a") == ("b", "a")
    shared.settle(*((shared.one, shared.two) if first == "one" else (shared.two, shared.one)))
    assert not shared.one["a"].is_invalid
    assert not shared.two["a"].is_invalid
    assert (shared.one.active, shared.two.active) == ("a", "a")


def test_a_fresh_start_gives_yesterdays_dead_keys_one_request_but_keeps_dates() -> None:
    shared = Shared("abc")
    shared.one.meet(CREDENTIAL, "a")
    shared.one.meet(quota(EPOCH + 86400), "b")
    shared.tick(shared.one)
    today = Keys("abc", proven=False, clock=shared.clock)
    today.state.absorb(list(shared.records.values()), shared.active, trust_marks=False)
    assert not today["a"].is_invalid
    assert today["b"].is_exhausted
    assert today.active == "c"


def test_counts_are_saved_as_differences_and_nothing_when_nothing_happened() -> None:
    keys = Keys("a")
    keys.answer()
    keys.meet(limited(1))
    changes = keys.state.take_changes()
    assert changes is not None
    assert [(r.requests, r.rate_limited) for r in changes[0]] == [(2, 1)]
    assert keys.state.take_changes() is None
    keys.clock.time += 1
    keys.answer()
    again = keys.state.take_changes()
    assert again is not None
    assert [(r.requests, r.rate_limited) for r in again[0]] == [(1, 0)]


def test_records_of_keys_that_are_gone_and_nonsense_are_passed_over() -> None:
    keys = Keys("a")
    gone = CredentialRecord("0" * 16, "old", state="invalid", updated_at=EPOCH)
    far = CredentialRecord(keys["a"].fingerprint, "a", cooldown_until=EPOCH + 1e12, updated_at=EPOCH)
    keys.state.absorb([gone, far], "0" * 16, trust_marks=True)
    assert keys.active == "a"
    assert keys.state.readiness().at == EPOCH + 7 * 86400


def test_no_key_in_any_view_or_record() -> None:
    keys = Keys("ab")
    keys.meet(CREDENTIAL)
    shown = f"{keys.state.views()!r} {keys.state.take_changes()!r} {keys.state.readiness()!r} {keys['a']!r}"
    assert "secret-a" not in shown
