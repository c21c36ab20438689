"""What an attempt has left on the disk is found again: the newest that wrote anything, and the end of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdash.config import Settings
from agentdash.engine.command import attempts
from agentdash.engine.command.attempts import last_output, log_path
from agentdash.engine.facade import Engine
from agentdash.model import KeptOutput


def wrote(folder: Path, attempt: int, data: bytes) -> Path:
    path = log_path(folder, "t1", attempt)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_newest_attempt_that_wrote_anything_is_shown(tmp_path: Path) -> None:
    assert last_output(tmp_path, "t1", [1, 2, 3]) is None
    wrote(tmp_path, 1, b"first")
    path = wrote(tmp_path, 2, b"the second \xff")
    wrote(tmp_path, 3, b"")
    wrote(tmp_path, 4, b"is not among them")
    assert last_output(tmp_path, "t1", [1, 2, 3]) == KeptOutput(2, str(path), "the second \ufffd")


def test_of_a_long_output_the_end_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_SHOWN_BYTES", 10)
    path = wrote(tmp_path, 1, b"0123456789" * 3)
    assert last_output(tmp_path, "t1", [1]) == KeptOutput(1, str(path), "0123456789", 20)


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    wrote(tmp_path, 1, b"")
    log_path(tmp_path, "t1", 2).symlink_to(Path(__file__))
    assert last_output(tmp_path, "t1", [1, 2]) is None


async def test_a_failed_task_shows_what_its_program_wrote(tmp_path: Path) -> None:
    settings = Settings(
        project=tmp_path, processor="command", command="echo why it failed; exit 3", shell=True, max_attempts=1
    )
    async with Engine(settings) as engine:
        (tmp_path / "tasks.jsonl").write_text('{"id": "t1", "prompt": "p"}\n')
        await engine.add([str(tmp_path / "tasks.jsonl")])
        await engine.run()
        detail = await engine.task_detail("t1")
        assert detail is not None
        assert detail.kept is not None
        assert (detail.kept.attempt, detail.kept.text) == (1, "why it failed\n")
        assert Path(detail.kept.path).read_text() == "why it failed\n"
