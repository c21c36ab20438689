"""What every form of the task store must do: what is kept beside the tasks, of credentials, processes and totals."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import fields, replace

import hypothesis
from hypothesis import strategies as st

from agentdash.engine.store import CredentialRecord, MemoryTaskStore, ProcessRecord, SqliteTaskStore
from agentdash.model import Totals
from tests.support.stored import NOW, Store


async def test_totals_add_up(store: Store) -> None:
    assert store.totals() == Totals()
    one = Totals(1, 2, 3, 4, 5, 6, 7, 0.5, 1.25)
    await asyncio.gather(store.add_totals(one), store.add_totals(one), store.add_totals(Totals()))
    assert store.totals() == Totals(*(2 * getattr(one, f.name) for f in fields(Totals)))


async def test_credentials(store: Store) -> None:
    assert store.credentials() == []
    assert store.active_credential() is None
    first = CredentialRecord("f1", "key-1", "org", "pool", NOW + 60, "ready", 0.0, None, 10, 2, NOW)
    other = CredentialRecord("f2", "key-2")
    await store.save_credentials([first, other], "f1")
    assert store.credentials() == [first, other]
    assert store.active_credential() == "f1"
    later = CredentialRecord("f1", "key-1", None, None, NOW + 30, "exhausted", NOW + 99, "no credit", 5, 1, NOW + 1)
    await store.save_credentials([later], None)
    expected = replace(
        later, organization="org", pool="pool", cooldown_until=NOW + 60, requests=15, rate_limited=3
    )  # deltas add, the later cooldown stays, an unknown organisation does not wipe a known one
    assert store.credentials() == [expected, other]
    assert store.active_credential() == "f1"
    await store.save_credentials([replace(later, cooldown_until=NOW + 90, requests=0, rate_limited=0)], "f2")
    assert store.credentials()[0].cooldown_until == NOW + 90
    assert store.credentials()[0].requests == 15
    assert store.active_credential() == "f2"


async def test_what_was_learned_of_limits(store: Store) -> None:
    known = '{"requests": {"per_minute": 1200.0, "burst": 20.0}, "at": 1700000000.0}'
    first = CredentialRecord("f1", "key-1", learned=known)
    await store.save_credentials([first, CredentialRecord("f2", "key-2")], None)
    await store.save_credentials([CredentialRecord("f1", "key-1")], None)
    assert store.credentials() == [first, CredentialRecord("f2", "key-2")]  # nothing learned wipes nothing
    await store.save_credentials([replace(first, learned="{}"), CredentialRecord("f2", "key-2", learned=known)], None)
    assert [record.learned for record in store.credentials()] == ["{}", known]


async def test_an_older_mark_takes_back_nothing(store: Store) -> None:
    """A key put right by hand, while a run that has not looked yet goes on saving what it knew."""
    dead = CredentialRecord("f1", "key-1", None, None, 0.0, "exhausted", NOW + 99, "no credit", 5, 1, NOW)
    right = CredentialRecord("f1", "key-1", None, None, 0.0, "ready", 0.0, "no credit", 0, 0, NOW + 2)
    await store.save_credentials([dead], "f1")
    await store.save_credentials([right], None)
    await store.save_credentials([replace(dead, requests=2, cooldown_until=NOW + 60, organization="org")], None)
    expected = replace(right, requests=7, rate_limited=2, cooldown_until=NOW + 60, organization="org")
    assert store.credentials() == [expected]  # all but the mark is taken over
    await store.save_credentials([replace(right, last_error=None)], None)  # of the same age: it was answered since
    assert store.credentials()[0].last_error is None
    await store.save_credentials([replace(dead, updated_at=NOW + 3)], None)
    assert store.credentials()[0].state == "exhausted"
    await store.save_credentials([CredentialRecord("f1", "key-1")], None)  # one that knows of no mark
    assert (store.credentials()[0].state, store.credentials()[0].updated_at) == ("ready", 0.0)


records = st.builds(
    CredentialRecord,
    st.sampled_from(["f1", "f2"]),
    st.sampled_from(["key-1", "key-2"]),
    organization=st.sampled_from([None, "org"]),
    pool=st.sampled_from([None, "one", "two"]),
    cooldown_until=st.sampled_from([0.0, NOW]),
    state=st.sampled_from(["ready", "exhausted", "invalid"]),
    last_error=st.sampled_from([None, "no credit"]),
    requests=st.integers(0, 3),
    updated_at=st.sampled_from([0.0, NOW, NOW + 1]),
    learned=st.sampled_from(["", "{}", '{"at": 1.0}']),
)


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.lists(st.lists(records, max_size=3), max_size=4))
def test_both_forms_keep_the_same_of_credentials(saves: list[list[CredentialRecord]]) -> None:
    async def kept(store: Store) -> list[CredentialRecord]:
        for one in saves:
            await store.save_credentials(one, None)
        found = store.credentials()
        await store.close()
        return sorted(found, key=lambda record: record.fingerprint)

    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(kept(SqliteTaskStore(folder))) == asyncio.run(kept(MemoryTaskStore()))


async def test_processes(store: Store) -> None:
    one = ProcessRecord("p1", 11, "host", NOW + 1, NOW + 2, "{}")
    two = ProcessRecord("p2", 12, "host", NOW, NOW + 2, '{"a": "ü"}')
    await store.save_process(one)
    await store.save_process(two)
    assert store.processes() == [two, one]
    await store.save_process(replace(one, seen_at=NOW + 9))
    assert store.processes() == [two, replace(one, seen_at=NOW + 9)]
    await store.drop_process("p2")
    await store.drop_process("p3")
    assert [p.owner for p in store.processes()] == ["p1"]
