"""Memory that cannot be had is no internal error: the user is told what to do."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from agentdash.cli.faults import report_crash


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOMEM, "no memory"), RuntimeError("can't start new thread")], ids=repr
)
def test_it_is_told_as_what_it_is(error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_crash(error, tmp_path) == 1
    told = capsys.readouterr().err
    assert "Out of memory" in told
    assert "Nothing is lost" in told
    assert "Internal error" not in told
    assert list(tmp_path.iterdir()) == []
