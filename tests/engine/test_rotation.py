"""Leases on keys: order, failures, limit pools and cooldowns."""

from __future__ import annotations

import pytest

from agentdash import APICredential, APIRotationState
from agentdash.model import Failure, FailureClass
from agentdash.secret import Secret
from tests.support.keys import CREDENTIAL, OVERLOAD, QUOTA, Keys, limited, quota
from tests.support.virtual_loop import EPOCH, ManualClock


# -- order -------------------------------------------------------------------------------------------------------------
def test_the_active_key_is_preferred_and_the_next_ones_serve_while_it_cools() -> None:
    keys = Keys()
    assert keys.next() == "a"
    keys.meet(limited(30), "a")
    assert keys.active == "a"  # a limit moves nothing
    keys.clock.time += 1
    assert keys.next() == "b"
    keys.meet(limited(10), "b")
    assert keys.next() == "c"
    keys.meet(limited(20), "c")
    assert keys.next() is None
    readiness = keys.state.readiness()
    assert (readiness.ready, readiness.at) == (False, keys.clock.time + 10)
    keys.clock.time += 10
    assert keys.next() == "b"
    keys.clock.time += 19
    assert keys.next() == "a"


def test_a_key_whose_server_is_down_gives_way_to_another_servers() -> None:
    keys = Keys("ab")
    down = {"one"}
    keys["a"].base_url, keys["b"].base_url = "one", "two"
    keys.state.is_down = down.__contains__
    assert keys.next() == "b"
    assert keys.active == "a"  # it is not rotated for that
    down.add("two")
    assert keys.next() == "a"  # all are down: whoever may try tries the active one
    down.clear()
    assert keys.next() == "a"


# -- failures ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("failure", [CREDENTIAL, QUOTA])
def test_many_that_fail_on_one_key_rotate_once(failure: Failure) -> None:
    keys = Keys()
    leases = [keys.lease() for _ in range(10)]
    moved = [keys.state.failed(lease, failure) for lease in leases]
    assert moved == [True] + [False] * 9
    assert (keys.active, keys.state.rotations) == ("b", 1)
    for lease in leases:
        keys.state.release(lease)


def test_many_that_rotate_by_hand_of_the_library_rotate_once() -> None:
    keys = Keys()
    failed = keys["a"]
    assert [keys.state.rotate("x", failed=failed) for _ in range(5)] == [True] * 5
    assert (keys.active, keys.state.rotations) == ("b", 1)


@pytest.mark.parametrize("kind", [FailureClass.OVERLOAD, FailureClass.SERVICE, FailureClass.TASK])
def test_what_is_not_the_keys_fault_never_rotates(kind: FailureClass) -> None:
    keys = Keys()
    assert keys.meet(Failure(kind, "x", "y")) is False
    assert (keys.active, keys.next(), keys["a"].last_error) == ("a", "a", None)


def test_a_refused_key_is_not_asked_again() -> None:
    keys = Keys("ab")
    keys.meet(CREDENTIAL)
    keys.clock.time += 1e6
    assert keys.next() == "b"
    assert [view.state for view in keys.state.views()] == ["invalid", "ready"]


def test_exhausted_until_the_date_comes() -> None:
    keys = Keys("ab")
    keys.meet(quota(EPOCH + 3600), "a")
    keys.meet(quota(EPOCH + 7200), "b")
    readiness = keys.state.readiness()
    assert (readiness.usable, readiness.at, readiness.reason) == (False, EPOCH + 3600, "no usable key")
    keys.clock.time = EPOCH + 3600
    assert keys.next() == "a"
    assert keys.state.views()[0].state == "ready"
    assert keys.state.views()[1].cooldown_until == EPOCH + 7200


def test_a_quota_without_a_date_waits_as_long_as_the_header_says_or_for_a_hand() -> None:
    keys = Keys("ab")
    keys.meet(Failure(FailureClass.QUOTA, "x", "y", retry_after=100.0), "a")
    keys.meet(QUOTA, "b")
    assert keys.state.readiness().at == EPOCH + 100
    keys.clock.time += 100
    assert keys.next() == "a"
    keys.meet(QUOTA, "a")
    readiness = keys.state.readiness()
    assert (readiness.usable, readiness.at) == (False, None)


@pytest.mark.parametrize("until", [EPOCH - 5, EPOCH, EPOCH - 86400 * 365])
def test_a_stated_date_in_the_past_does_not_make_a_circle(until: float) -> None:
    keys = Keys("a")
    asked = 0
    while keys.clock.time < EPOCH + 3600:
        lease = keys.state.lease()
        if lease is not None:
            asked += 1
            keys.state.failed(lease, quota(until))
            keys.state.release(lease)
        keys.clock.time += 0.5
    assert 50 <= asked <= 61


def test_a_key_that_comes_back_is_not_waited_for_behind_a_longer_cooldown() -> None:
    keys = Keys("ab")
    keys.meet(quota(EPOCH + 60), "a")
    keys.meet(limited(3600), "b")
    assert keys.state.readiness().at == EPOCH + 60


# -- cooldowns ---------------------------------------------------------------------------------------------------------
def test_the_latest_deadline_wins() -> None:
    keys = Keys("a")
    first, second = keys.lease(), keys.lease()
    keys.state.failed(first, limited(60))
    keys.clock.time += 1
    keys.state.failed(second, limited(5))
    assert keys.state.readiness().at == EPOCH + 60
    keys.state.failed(second, limited(80))
    assert keys.state.readiness().at == EPOCH + 81


def test_after_a_cooldown_one_request_probes() -> None:
    keys = Keys("a")
    keys.meet(limited(10))
    keys.clock.time += 10
    probe = keys.lease()
    assert keys.state.lease() is None
    keys.state.succeeded(probe.credential)
    assert keys.next() == "a"


def test_a_long_request_from_before_holds_up_no_probe() -> None:
    keys = Keys("a")
    long_one, other = keys.lease(), keys.lease()
    keys.clock.time += 1
    keys.state.failed(other, limited(10))
    keys.state.release(other)
    keys.clock.time += 10
    probe = keys.lease()
    assert keys.state.lease() is None
    keys.state.release(probe)
    keys.state.release(long_one)


def test_an_answer_to_a_request_from_before_is_no_proof_of_room() -> None:
    keys = Keys("a")
    early, other = keys.lease(), keys.lease()
    keys.state.failed(other, limited(10))
    keys.state.succeeded(early.credential)
    keys.state.release(early)
    keys.state.release(other)
    keys.clock.time += 10
    probe = keys.lease()
    assert keys.state.lease() is None
    keys.state.release(probe)


@pytest.mark.parametrize("said", [None, 0.0])
def test_a_429_that_says_nothing_backs_off_and_a_wave_counts_once(said: float | None) -> None:
    keys = Keys("a")
    wave = [keys.lease() for _ in range(64)]
    keys.clock.time += 0.1
    waits = []
    for lease in wave:
        keys.state.failed(lease, limited(said))
        keys.state.release(lease)
    for _ in range(8):
        at = keys.state.readiness().at
        assert at is not None
        waits.append(round(at - keys.clock.time, 3))
        keys.clock.time = at
        keys.meet(limited(said))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_keys_of_one_organisation_share_a_pool() -> None:
    keys = Keys("abc")
    for name in "ab":
        keys.state.observe(keys[name], "org-1")
    keys.state.observe(keys["c"], "org-2")
    assert keys.state.pool_of(keys["a"]) is keys.state.pool_of(keys["b"])
    keys.meet(limited(30), "a")
    assert keys.next() == "c"
    assert [view.state for view in keys.state.views()] == ["cooling", "cooling", "ready"]


def test_a_cooldown_moves_along_when_the_organisation_becomes_known() -> None:
    keys = Keys("ab")
    keys.meet(limited(30), "a")
    for name in "ab":
        keys.state.observe(keys[name], "org-1")
    assert keys.next() is None
    keys.clock.time += 30
    assert keys.next() == "a"


def test_a_limit_group_of_the_users_own_stays() -> None:
    clock = ManualClock()
    credentials = [APICredential(Secret(f"key-of-group-{n}"), name=f"k{n}", limit_group="g") for n in range(2)]
    state = APIRotationState(credentials, clock=clock)
    state.observe(credentials[0], "org-1")
    assert state.pool_of(credentials[0]) is state.pool_of(credentials[1])


def test_one_organisations_name_at_two_servers_is_two() -> None:
    one = APICredential(Secret("key-of-server-one"), base_url="https://one.example", name="a")
    two = APICredential(Secret("key-of-server-one"), base_url="https://two.example", name="b")
    state = APIRotationState([one, two], clock=ManualClock())
    for credential in (one, two):
        state.observe(credential, "org-1")
    assert state.pool_of(one) is not state.pool_of(two)


# -- canaries ----------------------------------------------------------------------------------------------------------
def test_a_dead_key_is_asked_once_before_its_first_answer() -> None:
    keys = Keys("ab", proven=False)
    first, second = keys.lease(), keys.lease()
    assert [first.credential.name, second.credential.name] == ["a", "b"]
    for _ in range(62):
        assert keys.state.lease() is None
    readiness = keys.state.readiness()
    assert (readiness.ready, readiness.usable, readiness.at) == (False, True, EPOCH + 0.5)
    keys.state.failed(first, CREDENTIAL)
    keys.state.release(first)
    assert keys.state.lease() is None
    keys.state.succeeded(second.credential)
    assert [keys.lease().credential.name for _ in range(5)] == ["b"] * 5
    assert keys["a"].requests == 1


def test_a_key_that_is_silent_for_half_a_second_is_at_work_and_gets_more() -> None:
    """A refusal comes at once; an answer may take half a minute, and the others need not wait for it."""
    keys = Keys("a", proven=False)
    given = []
    for half in range(5):
        keys.clock.time = EPOCH + half / 2
        while (lease := keys.state.lease()) is not None:
            given.append((half, lease))
    assert [half for half, _ in given] == [0, 1, 2, 2, *[3] * 4, *[4] * 8]
    keys.state.failed(given[0][1], CREDENTIAL)
    assert keys.state.lease() is None


def test_a_first_answer_that_tells_nothing_leaves_one_at_a_time() -> None:
    keys = Keys("a", proven=False)
    for _ in range(3):
        lease = keys.lease()
        assert keys.state.lease() is None
        keys.state.failed(lease, OVERLOAD)
        keys.state.release(lease)


def test_a_key_not_yet_proven_does_not_break_its_pools_probe() -> None:
    keys = Keys("ab")
    for name in "ab":
        keys.state.observe(keys[name], "org-1")
    keys["b"].proven = False
    keys.meet(limited(10))
    keys.clock.time += 10
    keys.lease()
    assert keys.state.lease() is None
