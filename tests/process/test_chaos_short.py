"""A very short form of `chaos.py`: a few kills, so that a break of the promise shows in every test run."""

from __future__ import annotations

import pytest

from tests.process.chaos import run_chaos


@pytest.mark.process
@pytest.mark.slow
def test_kill_9_loses_nothing_and_does_nothing_twice() -> None:
    summary = run_chaos(kills=4, runs=3, seed=3, tasks=(40, 60))
    assert summary.kills >= 2
    assert (summary.lost, summary.twice, summary.bad_rounds) == (0, 0, 0), summary
