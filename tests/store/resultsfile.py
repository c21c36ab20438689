"""What has to be in a results file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile

Open = Callable[[], ResultsFile]


def ids(path: Path) -> list[str]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    return [json.loads(line)["custom_id"] for line in data.splitlines()]


def assert_complete(store: SqliteTaskStore, path: Path) -> None:
    lines = path.read_bytes().decode().split("\n")[:-1]
    finished = [store.result(r.id) for r in store.tasks() if store.result(r.id) is not None]
    assert sorted(lines) == sorted(line for line in finished if line is not None)
