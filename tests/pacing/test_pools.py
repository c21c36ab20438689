"""Which keys share which limits, and what a pool keeps of what it was told."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash import APICredential, APIRotationState
from agentdash.engine.estimate import RequestSize
from agentdash.engine.limitheaders import LimitReading, Standing
from agentdash.engine.limits import Lease, LimitPool, may_be_one_more, may_be_open
from agentdash.engine.pacing import PoolPacer
from agentdash.engine.store.records import CredentialRecord
from agentdash.secret import Secret
from tests.support.bench import CLOCK
from tests.support.keys import Keys, limited
from tests.support.virtual_loop import EPOCH, ManualClock, virtual

NOW = 1000.0


def reading(organization: str | None, per_minute: float = 1200, *, left: float = 19, **others: float) -> LimitReading:
    standings = {"requests": Standing(per_minute, left)}
    return LimitReading(organization, None, standings | {name: Standing(limit) for name, limit in others.items()})


def names(keys: Keys) -> list[str]:
    """The pool of each key."""
    return [keys.state.pool_of(credential).name for credential in keys.state.credentials]


def tell(keys: Keys, name: str, told: LimitReading, model: str = "") -> None:
    keys.state.observe(keys[name], told.organization, told, model)


def lease_of(keys: Keys) -> Lease:
    lease = keys.state.lease(paced=True)
    assert lease is not None
    return lease


# -- who shares --------------------------------------------------------------------------------------------------------
def test_each_key_begins_alone() -> None:
    assert len(set(names(Keys("abc")))) == 3


def test_keys_of_one_organization_share_a_pool() -> None:
    keys = Keys("abc")
    for name, organization in (("a", "org-1"), ("b", "org-2"), ("c", "org-1")):
        tell(keys, name, reading(organization))
    first, second, third = names(keys)
    assert first == third != second
    assert len(keys.state.pools.used_by(keys.state.credentials)) == 2


def test_an_organization_without_limits_told_is_enough() -> None:
    keys = Keys("ab")
    for name in "ab":
        tell(keys, name, LimitReading("org-1"))
    assert len(set(names(keys))) == 1


def test_one_organization_at_two_servers_is_two() -> None:
    credentials = [
        APICredential(Secret("secret-a-0123456789"), name=name, base_url=url)
        for name, url in (("a", "https://one.example"), ("b", "https://two.example"))
    ]
    state = APIRotationState(credentials, clock=ManualClock())
    for credential in credentials:
        state.observe(credential, "org-1", reading("org-1"))
    assert state.pool_of(credentials[0]) is not state.pool_of(credentials[1])


def test_a_workspace_with_lower_limits_has_a_pool_of_its_own() -> None:
    keys = Keys("abcd")
    for name, limit in (("a", 1200), ("b", 60), ("c", 1200), ("d", 60)):
        tell(keys, name, reading("org-1", limit))
    a, b, c, d = names(keys)
    assert a == c != b == d


def test_what_is_left_makes_no_difference() -> None:
    keys = Keys("ab")
    tell(keys, "a", reading("org-1", left=19))
    tell(keys, "b", reading("org-1", left=3))
    assert len(set(names(keys))) == 1


def test_a_key_that_had_joined_by_its_organization_leaves_when_other_limits_are_told() -> None:
    keys = Keys("ab")
    for name in "ab":
        tell(keys, name, LimitReading("org-1"))
    tell(keys, "a", reading("org-1", 1200))
    assert len(set(names(keys))) == 1
    tell(keys, "b", reading("org-1", 60))
    assert len(set(names(keys))) == 2


def test_limits_of_different_models_are_not_compared_with_each_other() -> None:
    keys = Keys("ab")
    tell(keys, "a", reading("org-1", 1200), "large")
    tell(keys, "b", reading("org-1", 4000), "small")
    assert len(set(names(keys))) == 1
    tell(keys, "b", reading("org-1", 60), "large")
    assert len(set(names(keys))) == 2


def test_a_pools_own_limits_may_change() -> None:
    keys = Keys("a")
    tell(keys, "a", reading("org-1", 1200))
    pool = keys.state.pool_of(keys["a"])
    tell(keys, "a", reading("org-1", 4000))
    assert keys.state.pool_of(keys["a"]) is pool


def test_a_limit_group_is_what_the_user_says_whatever_answers_tell() -> None:
    credentials = [
        APICredential(Secret(f"secret-{name}-0123456789"), name=name, limit_group=group)
        for name, group in (("a", "team"), ("b", "team"), ("c", None))
    ]
    state = APIRotationState(credentials, clock=ManualClock())
    for credential, organization in zip(credentials, ("org-1", "org-2", "org-1"), strict=True):
        state.observe(credential, organization, reading(organization))
    a, b, c = (state.pool_of(credential) for credential in credentials)
    assert a is b is not c


def test_what_was_learned_and_how_long_it_cools_goes_along_when_a_key_joins() -> None:
    keys = Keys("ab")
    lease = lease_of(keys)
    keys.state.read(lease, reading(None, 1200, left=10))
    keys.state.succeeded(lease.credential, lease)
    keys.state.release(lease)
    keys.clock.time += 1
    keys.meet(limited(30.0))
    tell(keys, "a", reading("org-1"))
    pool = keys.state.pool_of(keys["a"])
    assert pool.pacer("", keys.clock.monotonic()).rate() == 20
    assert pool.cooldown_until == keys.clock.now() + 30
    tell(keys, "b", reading("org-1"))
    assert keys.next() is None, "b shares what a has met"


def test_both_keys_of_a_pool_draw_from_one_bucket() -> None:
    keys = Keys("ab")
    for name in "ab":
        tell(keys, name, reading("org-1"))
    lease = lease_of(keys)
    keys.state.read(lease, reading("org-1", 1200, left=3))
    sent = 0
    for _ in range(200):
        while keys.state.lease(paced=True) is not None:
            sent += 1
        keys.clock.time += 0.005
    assert sent <= 3 + 20 + 1  # a second


def test_a_share_holds_for_pools_that_come_later_too() -> None:
    keys = Keys("ab")
    keys.state.pools.set_share(0.5)
    tell(keys, "a", reading("org-1"))
    lease = lease_of(keys)
    keys.state.read(lease, reading("org-1", 1200, left=19))
    pool = keys.state.pool_of(keys["a"])
    assert pool.pacer("", keys.clock.monotonic()).rate() == 10
    assert pool.pacer("another model", keys.clock.monotonic()).share == 0.5
    keys.state.pools.set_share(1.0)
    assert pool.pacer("", keys.clock.monotonic()).rate() == 20


# -- how many before the first answer ----------------------------------------------------------------------------------
def test_a_silent_pool_gets_twice_as_many_after_each_step() -> None:
    opened = [may_be_open(half / 2) for half in range(6)]
    assert opened == [1, 2, 4, 8, 16, 32]
    assert may_be_open(1e9) == 1024


@given(st.integers(1, 1023), st.floats(0, 20))
def test_one_more_may_go_at_the_moment_that_is_said(waiting: int, silent_s: float) -> None:
    at = may_be_one_more(waiting, NOW, NOW + silent_s)
    if at is None:
        assert waiting < may_be_open(silent_s)
    else:
        assert at > NOW + silent_s
        assert may_be_one_more(waiting, NOW, at) is None
        assert may_be_one_more(waiting, NOW, at - 0.01) is not None


# -- limits that were met ----------------------------------------------------------------------------------------------
def test_a_wait_that_no_limit_a_minute_needs_is_probed_after_one_minute_two_and_four() -> None:
    keys = Keys("a")
    tell(keys, "a", reading("org-1"))
    for minutes in (1, 2, 4):
        assert keys.next() == "a"
        keys.meet(limited(86_400.0))
        keys.clock.time += 60 * minutes - 1
        assert keys.next() is None
        keys.clock.time += 1
    assert keys.next() == "a"


def test_without_limits_told_a_long_wait_is_believed() -> None:
    keys = Keys("a")
    keys.meet(limited(86_400.0))
    keys.clock.time += 86_000
    assert keys.next() is None
    keys.clock.time += 401
    assert keys.next() == "a"


def test_a_wait_of_some_minutes_is_believed() -> None:
    keys = Keys("a")
    tell(keys, "a", reading("org-1"))
    keys.meet(limited(300.0))
    keys.clock.time += 299
    assert keys.next() is None
    keys.clock.time += 1
    assert keys.next() == "a"


# -- memory ------------------------------------------------------------------------------------------------------------
def known_pool() -> LimitPool:
    pool = LimitPool("p")
    pacer = pool.pacer("m", NOW)
    ticket = pacer.sent(NOW)
    pacer.read(NOW, ticket, reading("org-1", 1200, left=19, input_tokens=60_000))
    return pool


def test_what_was_learned_is_known_again_later() -> None:
    learned = known_pool().learned(EPOCH, NOW)
    limits = json.loads(learned)
    assert limits["requests"]["per_minute"] == 1200
    assert limits["at"] == EPOCH
    pool = LimitPool("q")
    pool.recall(learned, EPOCH + 60, NOW + 60, "m")
    pacer = pool.pacer("m", NOW + 60)
    assert pacer.rate() == 20
    assert pacer.room(NOW + 60) == 20
    assert set(pacer.meters) == {"requests", "input_tokens"}


def test_nothing_known_is_nothing_said() -> None:
    assert LimitPool("p").learned(EPOCH, NOW) == ""
    pool = LimitPool("p")
    pool.pacer("m", NOW).sent(NOW)
    assert pool.learned(EPOCH, NOW) == ""


def test_what_was_learned_here_is_not_replaced_by_what_others_knew() -> None:
    pool = known_pool()
    other = json.loads(pool.learned(EPOCH, NOW))
    other["requests"]["per_minute"] = 5
    pool.recall(json.dumps(other), EPOCH, NOW, "m")
    assert pool.pacer("m", NOW).rate() == 20


@pytest.mark.parametrize("age", [-5.0, 86_401.0, math.inf, math.nan])
def test_what_is_from_tomorrow_or_from_last_week_is_not_believed(age: float) -> None:
    learned = json.loads(known_pool().learned(EPOCH, NOW))
    pool = LimitPool("q")
    pool.recall(json.dumps(learned | {"at": EPOCH - age}), EPOCH, NOW)
    assert not pool.pacer("", NOW).is_known


@pytest.mark.parametrize(
    "learned",
    [
        "{",
        "null",
        "[]",
        "17",
        '"text"',
        "{}",
        '{"at": "yesterday"}',
        '{"at": null}',
        '{"at": ' + str(EPOCH) + ', "requests": 5}',
        '{"at": ' + str(EPOCH) + ', "requests": null}',
        '{"at": ' + str(EPOCH) + ', "requests": {}}',
        '{"at": ' + str(EPOCH) + ', "requests": {"per_minute": "x", "burst": 1, "level": 0}}',
        '{"at": ' + str(EPOCH) + ', "requests": {"per_minute": 0, "burst": 1, "level": 0}}',
        '{"at": ' + str(EPOCH) + ', "requests": {"per_minute": NaN, "burst": 1, "level": 0}}',
        '{"at": ' + str(EPOCH) + ', "requests": {"per_minute": 60, "burst": 1e999, "level": 0}}',
        '{"at": ' + str(EPOCH) + ', "a limit of a later version": {"per_minute": 60, "burst": 1, "level": 0}}',
    ],
)
def test_what_another_version_wrote_is_learned_anew(learned: str) -> None:
    pool = LimitPool("p")
    pool.recall(learned, EPOCH, NOW)
    pacer = pool.pacer("", NOW)
    assert not pacer.is_known
    assert pacer.next_at(NOW) <= NOW


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["requests", "input_tokens", "per_minute", "burst", "level", "state"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["requests", "output_tokens", "tokens", "x"]), _json, max_size=3))
def test_nothing_that_is_recalled_stops_a_pool(limits: dict[str, object]) -> None:
    pool = LimitPool("p")
    pool.recall(json.dumps({**limits, "at": EPOCH}), EPOCH, NOW)
    pacer = pool.pacer("", NOW)
    assert not math.isnan(pacer.next_at(NOW))
    pacer.sent(NOW)


def test_a_pacer_remembers_only_what_it_knows() -> None:
    pacer = PoolPacer(NOW)
    assert pacer.learned(NOW) == {}
    assert not pacer.is_known


@pytest.mark.parametrize(
    "learned",
    [
        '{"at": 1' + "0" * 400 + "}",
        f'{{"at": {EPOCH}, "requests": {{"per_minute": 1{"0" * 400}, "burst": 1, "level": 0}}}}',
        f'{{"at": {EPOCH}, "requests": {{"per_minute": 1e-320, "burst": 1, "level": 0}}}}',
        "[" * 100_000,
    ],
    ids=["endless date", "endless limit", "no limit", "deep"],
)
def test_garbage_of_other_kinds_is_learned_anew(learned: str) -> None:
    pool = LimitPool("p")
    pool.recall(learned, EPOCH, NOW)
    assert not pool.pacer("", NOW).is_known


def test_what_is_recalled_is_of_the_model_it_was_learned_from() -> None:
    keys = Keys("a", proven=False)
    record = CredentialRecord(keys["a"].fingerprint, "a", "org-1", learned=known_pool().learned(EPOCH, NOW))
    keys.state.absorb([record], None, trust_marks=True)
    assert keys.state.pool_of(keys["a"]).pacer("m", keys.clock.monotonic()).is_known


def test_organizations_of_which_one_name_begins_the_other() -> None:
    keys = Keys("ab")
    tell(keys, "a", reading("org-10"))
    tell(keys, "b", reading("org-1"))
    assert len(set(names(keys))) == 2


def test_when_a_shared_limit_changes_the_keys_are_together_again_after_an_answer_each() -> None:
    keys = Keys("ab")
    for limit in (1200, 4000):
        for name in "ab":
            tell(keys, name, reading("org-1", limit))
    assert len(set(names(keys))) == 1


def test_no_two_limits_of_an_organization_get_one_name() -> None:
    keys = Keys("abcd")
    for name, limit in (("a", 10), ("b", 20), ("c", 30), ("b", 10), ("d", 40)):
        tell(keys, name, reading("org-1", limit))
    a, b, c, d = names(keys)
    assert a == b
    assert len({a, c, d}) == 3


def test_an_answer_that_names_fewer_limits_is_no_other_pool() -> None:
    keys = Keys("ab")
    for name in "ab":
        tell(keys, name, reading("org-1", 1200, input_tokens=60_000))
    tell(keys, "a", reading("org-1", 1200))
    assert len(set(names(keys))) == 1


def test_what_is_learned_is_told_once_and_again_when_it_changes() -> None:
    keys = Keys("ab")
    for name in "ab":
        tell(keys, name, reading("org-1", 1200))
        tell(keys, name, reading("org-1", 1200))
    assert keys.state.pools.take_news() == ["organization org-1 allows 1,200 requests a minute"]
    tell(keys, "a", reading("org-1", 600))
    tell(keys, "b", reading("org-1", 600))
    assert keys.state.pools.take_news() == ["organization org-1 allows 600 requests a minute"]
    assert keys.state.pools.take_news() == []


# -- several requests of one lease -------------------------------------------------------------------------------------
@virtual
async def test_each_further_request_of_a_lease_waits_for_its_limit() -> None:
    """A bucket of twenty that gets twenty a second: a hundred requests take four seconds, and none comes too early."""
    state = APIRotationState([APICredential(Secret("secret-a-0123456789"), name="a", proven=True)], clock=CLOCK)
    (credential,) = state.credentials
    lease = state.lease(paced=True)
    assert lease is not None
    began = filled_at = CLOCK.monotonic()
    left = 20.0
    for number in range(100):
        now = CLOCK.monotonic()
        left, filled_at = min(20.0, left + 20 * (now - filled_at)) - 1, now
        assert left > -0.5, f"request {number} came too early"
        state.read(lease, reading("org-1", 1200, left=max(0.0, left)))
        state.succeeded(credential, lease, None)
        if number < 99:
            await state.again(lease, RequestSize())
    assert 3.9 <= CLOCK.monotonic() - began < 6
    assert credential.requests == 100
    state.release(lease)
    assert credential.in_flight == 0


@virtual
async def test_a_key_that_was_refused_meanwhile_is_not_waited_for() -> None:
    state = APIRotationState([APICredential(Secret("secret-a-0123456789"), name="a", proven=True)], clock=CLOCK)
    (credential,) = state.credentials
    lease = state.lease()
    assert lease is not None
    state.succeeded(credential, lease, None)
    credential.is_invalid = True
    began = CLOCK.monotonic()
    await state.again(lease, RequestSize())  # the server's answer says what is wrong with it
    assert CLOCK.monotonic() - began < 1
