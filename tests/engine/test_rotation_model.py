"""Leases and rotation against a simple model."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentdash.engine.limits import Lease
from tests.support.keys import CREDENTIAL, OVERLOAD, Keys, limited, quota


class Machine(RuleBasedStateMachine):
    """Leases against a model that knows only: dead or not, cooling until, unproven, and the order."""

    @initialize(size=st.integers(1, 5))
    def begin(self, size: int) -> None:
        self.keys = Keys("abcde"[:size], proven=False)
        self.order = "abcde"[:size]
        self.dead: dict[str, float] = {}
        self.cooling: dict[str, float] = dict.fromkeys(self.order, 0.0)
        self.probing: set[str] = set()
        self.unproven = set(self.order)
        self.active = 0
        self.leases: list[Lease] = []
        self.asked: dict[str, float] = {}
        self.probed: dict[str, float] = {}

    def usable(self, name: str) -> bool:
        return self.dead.get(name, 0.0) <= self.keys.clock.time

    def may_send(self, name: str) -> bool:
        mine = [lease for lease in self.leases if lease.credential.name == name]
        if not self.usable(name) or self.cooling[name] > self.keys.clock.time:
            return False
        if name in self.unproven and mine and len(mine) >= self.may_be_open(self.asked[name]):
            return False
        probes = [lease for lease in mine if lease.is_probe]
        return not (name in self.probing and probes and len(probes) >= self.may_be_open(self.probed[name]))

    def may_be_open(self, since: float) -> float:
        """One, and twice as many after each half second of silence."""
        return float(2 ** min(10, int(2 * (self.keys.clock.time - since))))

    def expected(self) -> str | None:
        turned = self.order[self.active :] + self.order[: self.active]
        return next((name for name in turned if self.may_send(name)), None)

    @rule()
    def take(self) -> None:
        expected = self.expected()
        assert self.keys.state.readiness().ready is (expected is not None)
        lease = self.keys.state.lease()
        assert (lease.credential.name if lease else None) == expected
        if lease is not None:
            name, now = lease.credential.name, self.keys.clock.time
            if all(other.credential.name != name for other in self.leases):
                self.asked[name] = now
            if lease.is_probe and not any(o.is_probe for o in self.leases if o.credential.name == name):
                self.probed[name] = now
            self.leases.append(lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), kind=st.sampled_from(["ok", "limited", "dead", "quota", "overload"]), wait=st.integers(1, 99))
    def end(self, data: st.DataObject, kind: str, wait: int) -> None:
        lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        name, now = lease.credential.name, self.keys.clock.time
        if kind == "ok":
            self.keys.state.succeeded(lease.credential)
            self.unproven.discard(name)
            if self.dead.get(name) == float("inf") and lease.credential.is_usable(now):
                del self.dead[name]
            if self.cooling[name] <= now:
                self.probing.discard(name)
        elif kind == "limited":
            self.keys.state.failed(lease, limited(wait))
            self.cooling[name] = max(self.cooling[name], now + wait)
            self.probing.add(name)
        elif kind == "overload":
            self.keys.state.failed(lease, OVERLOAD)
        else:
            self.keys.state.failed(lease, CREDENTIAL if kind == "dead" else quota(now + 100 + wait))
            until = float("inf") if kind == "dead" else now + 100 + wait
            is_forever = self.dead.get(name) == float("inf")
            self.dead[name] = float("inf") if is_forever else until
            self.rotate(name)
        self.keys.state.release(lease)

    def rotate(self, failed: str) -> None:
        if self.order[self.active] == failed:
            turned = self.order[self.active + 1 :] + self.order[: self.active]
            found = next((name for name in turned if self.usable(name)), failed)
            self.active = self.order.index(found)

    @rule(seconds=st.integers(1, 150))
    def wait(self, seconds: int) -> None:
        self.keys.clock.time += seconds

    @rule(data=st.data())
    def by_hand(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.order))
        had_trouble = self.keys[name].last_error is not None
        assert self.keys.state.rotate_by_hand(name) == (self.order[self.active], name)
        self.dead.pop(name, None)
        if had_trouble:
            self.unproven.add(name)
        self.active = self.order.index(name)

    @precondition(lambda self: self.keys.state.readiness().at is not None)
    @rule()
    def wait_as_told(self) -> None:
        """At the moment that was named some key may send, unless the model too has a reason why not; and none could
        have before, as the model has it."""
        at, now = self.keys.state.readiness().at, self.keys.clock.time
        assert at is not None
        for part in (0.25, 0.5, 0.75):
            self.keys.clock.time = now + (at - now) * part
            assert self.expected() is None, "a key could have been used before"
        self.keys.clock.time = at + 1e-3
        assert self.expected() is not None, "it was worth no waiting"

    @invariant()
    def the_active_key_is_the_models(self) -> None:
        assert self.keys.state.current_index == self.active

    @invariant()
    def the_wait_that_is_named_is_worth_waiting_for(self) -> None:
        readiness = self.keys.state.readiness()
        if not readiness.ready and readiness.at is not None:
            assert readiness.at > self.keys.clock.time
        if not readiness.ready and readiness.at is None:
            assert self.leases or all(not self.usable(name) for name in self.order)


Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAgainstAModel = Machine.TestCase
