"""The log of a project, where its disk does not take it: lines are lost, nothing else is."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentdash.engine import log
from agentdash.engine.log import LOG_NAME, LOGGER, close_log, open_log


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may grow: the kernel refuses what is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def messages(folder: Path) -> list[str]:
    return [json.loads(line)["message"] for line in (folder / LOG_NAME).read_text().splitlines()]


def test_a_log_that_cannot_be_written_is_closed_all_the_same(tmp_path: Path) -> None:
    handler = open_log(tmp_path, "info")
    with no_room():
        LOGGER.info("lost")
        close_log(handler)
    assert messages(tmp_path) == []


def test_what_is_logged_when_there_is_room_again_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_MAX_BYTES", 200)
    handler = open_log(tmp_path, "info")
    try:
        LOGGER.info("first, %s", "x" * 150)
        with no_room():
            LOGGER.info("lost, and the log was to be rotated for it")
        LOGGER.info("kept")
    finally:
        close_log(handler)
    assert messages(tmp_path)[-1] == "kept"
    assert list(tmp_path.glob(f"{LOG_NAME}.*"))
