"""A secret shows itself nowhere by accident."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash import APICredential
from agentdash.engine.log import LOGGER, _JsonLines
from agentdash.secret import Secret, redact

VALUE = "gateway-owned-4711-abcdef"
SECRET = Secret(VALUE)


@dataclasses.dataclass
class Holder:
    """Something that holds a secret."""

    key: Secret


def test_no_way_of_printing_shows_it() -> None:
    shown = [repr(SECRET), str(SECRET), f"{SECRET}", f"{SECRET!r}", f"{SECRET}", repr([SECRET])]
    shown += [ascii(SECRET), repr(Holder(SECRET)), repr({SECRET: 1}), repr(APICredential(SECRET))]
    shown += [json.dumps({"key": SECRET}, default=repr), SECRET.fingerprint]
    for text in shown:
        assert VALUE not in text
        assert VALUE[:8] not in text
        assert VALUE[-6:] not in text


@pytest.mark.parametrize("spec", ["s", ">40", "10", "x"])
def test_no_format_shows_it(spec: str) -> None:
    with pytest.raises(TypeError) as caught:
        format(SECRET, spec)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_not_pickled(protocol: int) -> None:
    for value in (SECRET, [SECRET], Holder(SECRET), APICredential(SECRET)):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(value, protocol)
        assert VALUE not in str(caught.value)


def test_it_is_not_copied_into_something_that_shows_it() -> None:
    for taken in (copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            taken(SECRET)
        assert VALUE not in str(caught.value)
    with pytest.raises(TypeError):
        dataclasses.asdict(Holder(SECRET))
    with pytest.raises(TypeError):
        SECRET.__getstate__()
    assert not hasattr(SECRET, "__dict__")


def test_the_log_does_not_show_it_even_when_told_to() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines())
    LOGGER.addHandler(handler)
    try:
        try:
            raise RuntimeError(f"the server said {VALUE} is bad")
        except RuntimeError:
            LOGGER.exception("of %s and %s", SECRET, SECRET.reveal())
    finally:
        LOGGER.removeHandler(handler)
    assert "of Secret(" in stream.getvalue()
    assert VALUE not in stream.getvalue()


def test_a_traceback_does_not_show_it() -> None:
    with pytest.raises(ValueError, match="bad Secret") as caught:
        _raise(SECRET)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "key = Secret(" in shown
    assert VALUE not in shown


def _raise(key: Secret) -> None:
    raise ValueError(f"bad {key}")


def test_comparing() -> None:
    assert Secret("a-key-to-compare") == Secret("a-key-to-compare")
    assert Secret("a-key-to-compare") == "a-key-to-compare"
    assert Secret("a-key-to-compare") != Secret("another-key")
    assert Secret("a-key-to-compare") != 5
    assert len({Secret("a-key-to-compare"), Secret("a-key-to-compare")}) == 1
    assert not Secret("")
    assert Secret("x")


@given(st.text(), st.text())
def test_any_text_can_be_compared_and_named(one: str, other: str) -> None:
    assert (Secret(one[:5]) == other[:5]) is (one[:5] == other[:5])
    assert (Secret(one[:5]) == Secret(other[:5])) is (one[:5] == other[:5])
    assert len(Secret(one[:5]).fingerprint) == 16


def test_the_hint_tells_long_keys_apart_and_short_ones_not() -> None:
    assert SECRET.hint == "…cdef"
    assert Secret("short").hint == "…"


def test_redact() -> None:
    text = redact(f"{VALUE}, sk-ant-api03-abcdefgh, Bearer abcdefgh1234, bearer abcdefgh1234, and a task-list")
    assert text == "[redacted], [redacted], [redacted], [redacted], and a task-list"
    assert redact("") == ""


def test_another_key_that_begins_like_a_known_one_leaves_nothing_behind() -> None:
    Secret("sk-ant-api03-one-of-those-that-are-known")
    assert redact("sk-ant-api03-abcdefgh") == "[redacted]"


def test_one_key_within_another_leaves_nothing_behind() -> None:
    Secret("first-key-of-two")
    Secret("first-key-of-two-and-its-tail")
    assert redact("x first-key-of-two-and-its-tail x") == "x [redacted] x"
