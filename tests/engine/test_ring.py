"""Which key is active, and what moves that on."""

from __future__ import annotations

import pytest

from agentdash import APICredential, APIRotationState
from agentdash.secret import Secret
from tests.support.keys import CREDENTIAL, QUOTA, Keys, limited
from tests.support.virtual_loop import ManualClock


# -- the public pattern ------------------------------------------------------------------------------------------------
def test_without_arguments_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY_1", "key-one-aaaaaaaaaaaaa")
    monkeypatch.setenv("ANTHROPIC_API_KEY_2", "key-two-bbbbbbbbbbbbb")
    state = APIRotationState()
    assert [c.name for c in state.credentials] == ["key-1", "key-2"]
    assert state.current_index == 0
    current = state.get_current()
    assert current is not None
    assert current.api_key == "key-one-aaaaaaaaaaaaa"


def test_no_credentials_at_all() -> None:
    state = APIRotationState([])
    assert state.get_current() is None
    assert state.rotate("x") is False
    assert state.lease() is None
    assert state.rotate_by_hand() is None
    assert not state.readiness().usable
    assert state.take_changes() == ([], None)


def test_rotate_takes_the_key_out_and_moves_on() -> None:
    keys = Keys()
    assert keys.state.rotate("quota\x1b[31m of sk-ant-abcdefgh123")
    assert keys.active == "b"
    assert keys["a"].is_exhausted
    assert keys["a"].last_error == "quota [31m of [redacted]"
    assert keys.state.rotate("quota")
    assert keys.active == "c"
    assert keys.state.rotate("quota") is False
    assert keys.changes > 0


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (429, "rate limit", True),
        (401, "no", True),
        (402, "no", True),
        (403, "no", True),
        (400, "Your credit balance is too low", True),
        (400, "prompt is too long", False),
        (413, "too large", False),
        (500, "no", False),
        (503, "no", False),
        (529, "overloaded", False),
        (None, "rate_limit_error", True),
        (None, "You exceeded your quota", True),
        (None, "invalid x-api-key", True),
        (None, "invalid_api_key", True),
        (None, "Connection error.", False),
        (None, "", False),
    ],
)
def test_should_rotate(status: int | None, text: str, expected: bool) -> None:
    assert Keys().state.should_rotate(status, text) is expected


def test_credentials_that_were_given_no_names_are_told_apart() -> None:
    """They must not share a pool because they share a name."""
    clock = ManualClock()
    state = APIRotationState([APICredential(Secret(f"plain-key-number-{n}")) for n in range(3)], clock=clock)
    assert [c.name for c in state.credentials] == ["key-1", "key-2", "key-3"]
    assert len({id(state.pool_of(c)) for c in state.credentials}) == 3


def test_no_key_is_skipped_when_another_is_exhausted() -> None:
    """The first sketch indexed into a filtered list."""
    keys = Keys("abcde")
    keys.state.rotate("x", failed=keys["b"])
    assert keys.active == "a"
    met = ["a"]
    for _ in range(3):
        keys.state.rotate("x")
        met.append(keys.active)
    assert met == ["a", "c", "d", "e"]


def test_rotation_goes_round() -> None:
    keys = Keys()
    keys.state.rotate_by_hand("c")
    keys.state.rotate("x")
    assert keys.active == "a"


# -- by hand -----------------------------------------------------------------------------------------------------------
def test_by_hand_to_the_next_and_to_a_named_one() -> None:
    keys = Keys()
    assert keys.state.rotate_by_hand() == ("a", "b")
    assert keys.state.rotate_by_hand("a") == ("b", "a")
    assert keys.state.rotate_by_hand("nobody") is None
    assert keys.active == "a"
    running = keys.lease()
    keys.state.rotate_by_hand("c")
    assert keys.next() == "c"
    keys.state.release(running)
    assert running.credential.name == "a"


def test_by_hand_passes_over_dead_keys_unless_named() -> None:
    keys = Keys()
    keys.meet(CREDENTIAL, "a")
    keys.meet(QUOTA, "b")
    assert keys.active == "c"
    assert keys.state.rotate_by_hand() == ("c", "c")
    assert keys.state.rotate_by_hand("a") == ("c", "a")
    first = keys.lease()
    assert first.credential.name == "a"
    assert keys.lease().credential.name == "c"  # a has to prove itself again, one request at a time


def test_by_hand_with_one_key() -> None:
    keys = Keys("a")
    keys.meet(CREDENTIAL)
    assert keys.state.rotate_by_hand() is None
    assert keys.state.rotate_by_hand("a") == ("a", "a")
    assert keys.next() == "a"


def test_by_hand_the_next_key_of_another_limit_comes_before_one_of_the_same() -> None:
    keys = Keys("abcd")
    for name in "ab":
        keys.state.observe(keys[name], "org-1")
    for name in "cd":
        keys.state.observe(keys[name], "org-2")
    assert keys.state.rotate_by_hand() == ("a", "c")
    assert keys.state.rotate_by_hand() == ("c", "a")
    keys.state.rotate_by_hand("c")
    keys.meet(limited(30), "c")
    keys.state.rotate_by_hand("a")
    assert keys.state.rotate_by_hand() == ("a", "b")  # the other limit cools: no more than a change of keys is left
    keys.clock.time += 30
    assert keys.state.rotate_by_hand() == ("b", "c")
