"""Invariant 2: real processes hammer a few ids, and no two are ever inside at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.locks import contend


@pytest.mark.process
@pytest.mark.slow
def test_never_two_holders(project: Path) -> None:
    """Four processes fight for two ids while a fifth cleans and looks all the time."""
    counts = contend(project, seconds=1.5, processes=4, ids=2)
    assert counts["double_holders"] == 0
    assert counts["acquired"] > 100
    assert not list((project / ".locks").glob("task-*"))
