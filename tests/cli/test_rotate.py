"""`agentdash rotate`: which key it makes active, what it writes, and what it says."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentdash import APIRotationState
from agentdash.engine.credentials import load_credentials
from agentdash.engine.store import CredentialRecord, ProcessRecord, SqliteTaskStore
from tests.cli.conftest import Run
from tests.cli.remembered import FAR, KEYS, MARKS, remember, set_keys

A: dict[str, Any] = {"pool": "org A", "organization": "org A"}
B: dict[str, Any] = {"pool": "org B", "organization": "org B"}
PARKED: dict[str, Any] = {"state": "exhausted", "last_error": "usage limit"}
DEAD: dict[str, Any] = {"state": "invalid", "last_error": "401 no such key"}
COOLS: dict[str, Any] = {"cooldown_until": FAR}


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, 1, 2, 3)


@contextmanager
def opened(project: Path) -> Iterator[SqliteTaskStore]:
    store = SqliteTaskStore(project, create=False)
    try:
        yield store
    finally:
        store.close_and_wait()


def stored(project: Path) -> tuple[str | None, list[CredentialRecord], int]:
    """The active key by name, the records, and how often the active key moved."""
    with opened(project) as store:
        active = store.active_credential()
        name = f"key-{MARKS.index(active) + 1}" if active is not None else None
        return name, store.credentials(), store.totals().rotations


@contextmanager
def run_at_work(project: Path, report: dict[str, Any]) -> Iterator[None]:
    """A process that says it works on the project."""
    now = time.time()
    with opened(project) as store:
        record = ProcessRecord("me", os.getpid(), socket.gethostname(), now, now, json.dumps(report))
        asyncio.run(store.save_process(record))
        yield


@pytest.mark.usefixtures("three")
def test_a_named_key_becomes_the_active_one(agentdash: Run, place: Path) -> None:
    remember(place, A, B, active=1)
    done = agentdash("rotate", "key-3")
    assert (done.code, done.out, done.err) == (0, "key-1 → key-3, from the next run on.\n", "")
    assert stored(place)[0] == "key-3"
    assert stored(place)[2] == 1
    assert agentdash("rotate", "key-2", "--json").json() == {
        "from": "key-3", "to": "key-2", "moved": True, "probe": False, "same_limit": False, "live": False,
    }  # fmt: skip
    again = agentdash("rotate", "key-2")
    assert (again.code, again.out) == (0, "key-2 stays the active key.\n")
    assert stored(place)[2] == 2
    assert [key["active"] for key in agentdash("keys", "--json").json()] == [False, True, False]


@pytest.mark.usefixtures("three")
def test_the_next_run_begins_with_it(agentdash: Run, place: Path) -> None:
    remember(place, DEAD | {"updated_at": 1.0}, PARKED | {"updated_at": 1.0, "exhausted_until": FAR}, active=3)
    assert agentdash("rotate", "key-2").code == 0
    state = APIRotationState(load_credentials().credentials)
    with opened(place) as store:
        state.absorb(store.credentials(), store.active_credential(), trust_marks=False)
    current = state.get_current()
    assert current is not None
    assert (current.name, current.is_usable(time.time())) == ("key-2", True)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("keys", "active", "chosen"),
    [
        ([{}, {}, {}], None, "key-2"),  # never active: a run begins with the first
        ([{}, {}, {}], 2, "key-3"),
        ([{}, {}, {}], 3, "key-1"),
        ([A, A, B], 1, "key-3"),  # another limit first
        ([A, B, A], 3, "key-2"),
        ([A, A, A], 1, "key-2"),
        ([A, A, B | COOLS], 1, "key-2"),  # one that can send now
        ([A, A | PARKED, B | COOLS], 1, "key-3"),
        ([A, B | PARKED, A], 1, "key-3"),
        ([A, B | DEAD, A], 1, "key-3"),
        ([A, B | PARKED | {"exhausted_until": 1.0}, A], 1, "key-2"),  # its date is over
        ([A, B | PARKED, A | DEAD], 1, "key-1"),
        ([A | PARKED, B, A], 1, "key-2"),
    ],
)
def test_the_next_usable_key(
    keys: list[dict[str, Any]], active: int | None, chosen: str, agentdash: Run, place: Path
) -> None:
    remember(place, *keys, active=active)
    before = stored(place)[1]
    done = agentdash("rotate", "--json")
    assert (done.code, done.json()["to"]) == (0, chosen)
    assert stored(place)[:2] == (chosen, before)  # and nothing is said of the keys themselves


@pytest.mark.usefixtures("three")
def test_nothing_to_rotate_to(agentdash: Run, place: Path) -> None:
    remember(place, A, B | PARKED, B | DEAD, active=1)
    assert agentdash("rotate").out == "key-1 stays the active key.\n"
    remember(place, A | PARKED)
    done = agentdash("rotate")
    assert (done.code, done.out) == (2, "")
    assert "No key is usable: key-1 exhausted, key-2 exhausted, key-3 invalid; nothing was changed" in done.err
    assert "`agentdash rotate KEY` tries one" in done.err
    assert stored(place)[0] == "key-1"


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (PARKED, "key-2 was exhausted (usage limit): its next request is a probe."),
        (PARKED | {"exhausted_until": FAR}, "key-2 was exhausted until 2096-10-0"),
        (DEAD, "key-2 was invalid (401 no such key): its next request is a probe."),
    ],
)
@pytest.mark.parametrize("marked_at", [5.0, FAR], ids=["before", "by a clock that was set back since"])
@pytest.mark.parametrize("active", [1, 2])
def test_a_named_key_gets_another_chance(
    mark: dict[str, Any], words: str, marked_at: float, active: int, agentdash: Run, place: Path
) -> None:
    known = A | mark | COOLS | {"requests": 4, "rate_limited": 1, "learned": '{"at": 1.0}', "updated_at": marked_at}
    remember(place, A, known, active=active)
    done = agentdash("rotate", "key-2")
    assert done.code == 0
    assert words in done.out
    assert "key-2 cools for" in done.out
    name, records, _ = stored(place)
    record = records[1]
    assert name == "key-2"
    assert (record.state, record.exhausted_until, record.last_error) == ("ready", 0.0, mark["last_error"])
    assert record.updated_at > marked_at
    assert (record.organization, record.pool, record.cooldown_until) == ("org A", "org A", FAR)  # a limit stays one
    assert (record.requests, record.rate_limited, record.learned) == (4, 1, '{"at": 1.0}')
    remember(place, {}, {k: v for k, v in known.items() if k != "requests"})  # a run that has not looked yet
    assert stored(place)[1][1].state == "ready"


@pytest.mark.usefixtures("three")
def test_a_probe_is_told_to_scripts_too(agentdash: Run, place: Path) -> None:
    remember(place, A, A | PARKED, active=1)
    told = agentdash("rotate", "key-2", "--json").json()
    assert (told["probe"], told["same_limit"]) == (True, True)
    assert "key-2 and key-1 share one limit: this adds no capacity." in agentdash("rotate", "key-1").out
    assert "probe" in agentdash("rotate", "--help").out


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("name", ["key-9", "KEY-1", "", "made-up-key-number-1-abcd1", "\x1b[31m"])
def test_an_unknown_name(name: str, agentdash: Run, place: Path) -> None:
    remember(place, A, B, active=1)
    before = stored(place)
    done = agentdash("rotate", name)
    assert (done.code, done.out) == (2, "")
    assert "There are: key-1, key-2, key-3." in done.err
    assert "\x1b" not in done.err
    assert stored(place) == before


def test_keys_that_are_only_remembered(agentdash: Run, place: Path) -> None:
    """Another terminal, where no key is set."""
    remember(place, A, A, B, active=1)
    assert agentdash("rotate", "--json").json()["to"] == "key-3"
    assert agentdash("rotate", "key-2").code == 0
    with opened(place) as store:
        asyncio.run(store.save_credentials([CredentialRecord("f" * 16, "key-1")], None))
    done = agentdash("rotate", "key-1")
    assert done.code == 2
    assert "key-1 is the name of 2 keys" in done.err
    assert stored(place)[0] == "key-2"


def test_a_key_that_is_set_goes_before_one_of_that_name(
    agentdash: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(place, A, B, B, active=1)
    with opened(place) as store:
        asyncio.run(store.save_credentials([CredentialRecord("0" * 16, "key-2")], None))
    set_keys(monkeypatch, 1, 2)
    assert agentdash("rotate", "key-2").code == 0
    assert stored(place)[0] == "key-2"
    assert agentdash("rotate", "--json").json()["to"] == "key-1"  # key-3 is not set here
    assert agentdash("rotate", "key-3").code == 0  # asked for by name, it may be


def test_no_keys_at_all(agentdash: Run, place: Path) -> None:
    remember(place)
    done = agentdash("rotate")
    assert (done.code, done.out) == (2, "")
    assert "knows no key" in done.err


@pytest.mark.usefixtures("three")
def test_a_run_at_work(agentdash: Run, place: Path) -> None:
    remember(place, A, B, B, active=1)
    with run_at_work(place, {"keys": [MARKS[1], MARKS[0]]}):
        assert agentdash("rotate", "key-2").out == "key-1 → key-2, from the next request on.\n"
        refused = agentdash("rotate", "key-3")
        assert (refused.code, refused.out) == (2, "")
        assert "The run at work does not have key-3; nothing was changed. It has: key-2, key-1." in refused.err
        assert stored(place)[0] == "key-2"
        assert agentdash("rotate", "--json").json()["to"] == "key-1"
    with run_at_work(place, {}):  # one that does not say what it has
        told = agentdash("rotate", "key-3", "--json").json()
        assert (told["to"], told["live"]) == ("key-3", True)
    with run_at_work(place, {"keys": []}):  # one that uses no keys
        assert agentdash("rotate", "key-1", "--json").json()["live"] is False


def test_no_key_in_what_is_said(agentdash: Run, place: Path, three: None) -> None:
    remember(place, A, B | PARKED, active=1)
    dones = [agentdash("rotate", *more) for more in ([], ["key-2"], ["--json"], ["nope"])]
    with closing(sqlite3.connect(place / ".agentdash" / "state.db")) as connection:
        text = "\n".join(connection.iterdump())
    for key in KEYS:
        assert all(key not in done.out + done.err for done in dones)
        assert key not in text
