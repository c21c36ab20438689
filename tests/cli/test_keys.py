"""`agentdash keys`: what is shown of limits that were learned, of keys out of use, and of keys that share a limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentdash.cli.keys import learned_limits
from tests.cli.conftest import Run
from tests.cli.remembered import FAR, KEYS, remember, set_keys

LEARNED = {
    "requests": {"per_minute": 1200.0, "burst": 20.0, "level": 3.5, "state": "learned"},
    "input_tokens": {"per_minute": 240_000.0, "burst": 8000.0},
    "at": 1_795_000_000.0,
}


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, 1, 2, 3)


@pytest.mark.usefixtures("three")
def test_what_was_learned(agentdash: Run, place: Path) -> None:
    remember(
        place,
        {"pool": "org A", "organization": "org A", "learned": json.dumps(LEARNED), "requests": 7, "rate_limited": 1},
        {"pool": "org B", "organization": "org B", "learned": "{}"},
        active=1,
    )
    one, two, three = agentdash("keys", "--json").json()
    assert one["limits"] == {
        "requests": {"per_minute": 1200.0, "burst": 20.0},
        "input_tokens": {"per_minute": 240_000.0, "burst": 8000.0},
        "output_tokens": None,
    }
    assert (two["limits"], three["limits"]) == (None, None)
    assert (one["pool"], two["pool"], three["pool"]) == ("org A", "org B", None)
    assert (one["active"], one["state"], one["until"], one["requests"], one["rate_limited"]) == (
        True,
        "ready",
        None,
        7,
        1,
    )
    text = agentdash("keys").out
    head, first, second, *_ = text.splitlines()
    assert "limits" in head
    assert "20/s, burst 20, in 240k/min" in first
    assert "/min" not in second
    assert "adds no capacity" not in text


@pytest.mark.usefixtures("three")
def test_keys_out_of_use(agentdash: Run, place: Path) -> None:
    remember(
        place,
        {"state": "exhausted", "exhausted_until": FAR, "last_error": "usage \x1b[31mlimit"},
        {"state": "exhausted", "cooldown_until": FAR},
        {"cooldown_until": FAR},
    )
    found = agentdash("keys", "--json").json()
    assert [key["state"] for key in found] == ["exhausted", "exhausted", "cooling"]
    assert [key["until"] for key in found] == ["2096-10-02T07:06:40.000Z", None, "2096-10-02T07:06:40.000Z"]
    assert found[1]["cooldown_s"] == 0
    text = agentdash("keys").out
    assert "exhausted until 2096-10-0" in text
    assert "`agentdash rotate KEY` gives an exhausted or invalid key another chance" in text
    assert "\x1b" not in text
    for key in KEYS:
        assert key not in text + json.dumps(found)


def test_a_moment_that_no_calendar_has(agentdash: Run, place: Path, three: None) -> None:
    remember(place, {"state": "exhausted", "exhausted_until": 1e300})
    assert agentdash("keys", "--json").json()[0]["until"] is None
    assert "exhausted until –" in agentdash("keys").out


A = {"pool": "server org", "organization": "org"}


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ([A, A, A], "3 keys, 1 organisation: rotating adds no capacity"),
        ([{"pool": "group x"}] * 3, "3 keys, 1 limit: rotating adds no capacity"),
        ([A, A, A | {"organization": "other"}], "3 keys, 1 limit: rotating adds no capacity"),
        ([A, A, A | {"pool": "of its own"}], None),
        ([A, A], None),  # nothing is known of the third
        ([{}, {}, {}], None),
    ],
)
def test_keys_of_one_limit(changes: list[dict[str, Any]], remark: str | None, agentdash: Run, place: Path) -> None:
    remember(place, *changes)
    out = agentdash("keys").out
    assert (remark in out.splitlines()) if remark else ("adds no capacity" not in out)


def test_one_key_is_not_told_of_rotating(agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, 1)
    remember(place, A, A)  # the other is remembered only: no run would use it
    out = agentdash("keys").out
    assert "key-2" in out
    assert "adds no capacity" not in out


@pytest.mark.parametrize(
    ("per_minute", "burst", "text"),
    [
        (1200, 20, "20/s, burst 20"),
        (1000, 16.4, "16.7/s, burst 16"),
        (50, 1, "50/min, burst 1"),
        (0.5, None, "0.5/min"),
        (60_000_000, 0, "1M/s, burst 0"),
        (60_000, 1e6, "1,000/s, burst 1,000,000"),
    ],
)
def test_limits_in_words(
    per_minute: float, burst: float | None, text: str, agentdash: Run, place: Path, three: None
) -> None:
    remember(place, {"learned": json.dumps({"requests": {"per_minute": per_minute, "burst": burst}})})
    assert f"  {text}  " in agentdash("keys").out


SENSELESS = [
    *("", "{}", "nonsense", "[1]", "3", "null", "[" * 100_000),
    '{"requests": 5}',
    '{"requests": {"burst": 3}}',
    *(
        f'{{"requests": {{"per_minute": {value}, "burst": 3}}}}'
        for value in ('"many"', "NaN", "Infinity", "true", -1, 0)
    ),
]


@pytest.mark.parametrize("learned", SENSELESS, ids=lambda text: text[:50])
def test_nothing_that_makes_sense_was_learned(learned: str) -> None:
    assert learned_limits(learned) is None


def test_what_makes_no_sense_is_left_out_alone() -> None:
    learned = '{"requests": {"per_minute": 60, "burst": NaN}, "output_tokens": [], "input_tokens": {"per_minute": 1e3}}'
    assert learned_limits(learned) == {
        "requests": {"per_minute": 60.0, "burst": None},
        "input_tokens": {"per_minute": 1000.0, "burst": None},
        "output_tokens": None,
    }
