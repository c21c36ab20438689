"""A results file beside a store, opened as often as a test likes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
from tests.store.resultsfile import Open


@pytest.fixture
def results_path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


@pytest.fixture
def open_results(sqlite: SqliteTaskStore, results_path: Path) -> Iterator[Open]:
    opened: list[ResultsFile] = []

    def start() -> ResultsFile:
        opened.append(ResultsFile(sqlite, results_path))
        return opened[-1]

    yield start
    for file in opened:
        file.close()
