"""A results file that anything was done to: made whole again, or refused and left alone; no line lost or twice."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
from agentdash.errors import StoreError
from tests.faults.mutation import mutated, outcome
from tests.support.stored import run, specs

FOREIGN = (
    b"",
    b'{"custom_id": "x"}\n',
    b'{"custom_id":"t1","result":{}}\n',
    b"notes\n",
    b"\0" * 3000,
    b"a" * 2_000_000,
)


def build(folder: Path, finished: int) -> tuple[SqliteTaskStore, Path, bytes]:
    """A project with some finished tasks, their file and what it holds."""

    async def fill() -> None:
        await store.add(specs(6))
        for number in range(1, finished + 1):
            await run(store, f"t{number}")

    store, path = SqliteTaskStore(folder), folder / "results.jsonl"
    asyncio.run(fill())
    with closing(ResultsFile(store, path)) as file:
        file.sync()
    return store, path, path.read_bytes()


def assert_whole_or_refused(store: SqliteTaskStore, path: Path, wanted: list[str]) -> None:
    """Sync twice: the file has every line once, or it was refused with a reason and nothing in it was touched."""
    before = path.read_bytes() if path.exists() else None

    def sync() -> None:
        with closing(ResultsFile(store, path)) as file:
            file.sync()
            file.sync()

    refused = outcome(sync, StoreError)
    if refused is not None:
        assert str(path) in refused.message
        assert refused.hint
        assert before == path.read_bytes()
    else:
        assert sorted(path.read_bytes().decode().split("\n")) == sorted(["", *wanted])


def lines_of(store: SqliteTaskStore) -> list[str]:
    return [line for record in store.tasks() if (line := store.result(record.id)) is not None]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), finished=st.integers(0, 5), more=st.booleans())
def test_a_changed_file(data: st.DataObject, finished: int, more: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        store, path, whole = build(Path(name), finished)
        try:
            path.write_bytes(
                data.draw(mutated(whole, 3) | st.sampled_from(FOREIGN) | st.binary(max_size=40).map(whole.__add__))
            )
            if more:
                asyncio.run(run(store, "t6"))
            assert_whole_or_refused(store, path, lines_of(store))
        finally:
            store.close_and_wait()


@pytest.mark.parametrize("kept", range(40))
def test_a_file_torn_at_any_byte_of_its_last_lines(kept: int, tmp_path: Path) -> None:
    store, path, whole = build(tmp_path, 2)
    try:
        path.write_bytes(whole[: len(whole) - 1 - kept * 17])
        assert_whole_or_refused(store, path, lines_of(store))
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())
    finally:
        store.close_and_wait()
