"""The campaign's judge finds what it looks for: a good round passes, and each kind of damage is named."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentdash.config import Settings
from agentdash.engine.facade import Engine
from agentdash.engine.processors import FunctionProcessor
from tests.faults.actors import Actor
from tests.faults.fault import Excuses
from tests.faults.judge import judge
from tests.faults.rounds import Outcome
from tests.faults.stage import CANARY, Stage

TASKS = 3


class Played(Stage):
    """A round that is over, without its server: the record is given."""

    asked: list[dict[str, Any]]

    def records(self) -> list[dict[str, Any]]:
        return self.asked


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a round in which all went well."""
    folder = tmp_path_factory.mktemp("round")
    (folder / "project").mkdir()
    source = folder / "tasks.jsonl"
    source.write_text("".join(json.dumps({"id": f"t{n}", "prompt": f"task {n}"}) + "\n" for n in range(TASKS)))

    async def answer(task: dict[str, Any], worker_id: str) -> str:
        return "fine"

    async def run() -> None:
        async with Engine(Settings(project=folder / "project"), processor=FunctionProcessor(answer)) as engine:
            await engine.add([str(source)])
            await engine.run()

    asyncio.run(run())
    return folder


@pytest.fixture
def stage(finished: Path, tmp_path: Path) -> Played:
    folder = tmp_path / "round"
    shutil.copytree(finished, folder)
    stage = Played(0, folder, random.Random(0), ())
    stage.tasks = TASKS
    stage.asked = [record(n) for n in range(TASKS)]
    actor = Actor(1, (), folder / "output-1.txt", code=0, started=0.0, ended=1.0, cpu_s=0.5)
    actor.output.write_bytes(b"3 tasks added.\r\n")
    stage.actors.append(actor)
    return stage


def record(number: int, **fields: Any) -> dict[str, Any]:
    return {"prompt": f"task {number}", "received_at": 1.0, "finished_at": 2.0, "kind": "answer"} | fields


def troubles(stage: Stage) -> list[str]:
    outcome = Outcome(0, 0, [])
    judge(stage, outcome)
    return outcome.trouble


def results(stage: Stage) -> Path:
    return stage.project / "results.jsonl"


def test_a_good_round_passes(stage: Played) -> None:
    assert troubles(stage) == []


def with_lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Played], object]:
    def do(stage: Played) -> None:
        results(stage).write_bytes(b"".join(change(results(stage).read_bytes().splitlines(True))))

    return do


def asked_without_end(stage: Played) -> None:
    stage.asked += [record(0, kind="overloaded", received_at=5.0 + n, finished_at=5.0 + n) for n in range(40)]


Damage = Callable[[Played], object]
DAMAGE: dict[str, tuple[Damage, str]] = {
    "a result is lost": (with_lines(lambda lines: lines[1:]), "1 lost"),
    "a result is there twice": (with_lines(lambda lines: [lines[0], *lines]), "1 twice"),
    "a line is torn": (with_lines(lambda lines: [*lines[:-1], lines[-1][:-5]]), "ends within a line"),
    "paid for twice": (lambda s: s.asked.append(record(0, received_at=3.0, finished_at=4.0)), "answered twice"),
    "two requests at once": (lambda s: s.asked.insert(1, record(0, received_at=1.5)), "two requests at once"),
    "asked without end": (asked_without_end, "asked 41 times"),
    "the key is in a file": (lambda s: (s.folder / "core").write_text(f"key={CANARY}-0-1"), "the key is in"),
    "the key is in the output": (lambda s: s.actors[0].output.write_text(f"{CANARY}-0-1"), "the key is in"),
    "an escape in the output": (lambda s: s.actors[0].output.write_bytes(b"\x1b]52;c;aGk=\x07"), "escapes in"),
    "a traceback": (lambda s: s.actors[0].output.write_text("Traceback (most recent call last):\n"), "a traceback"),
    "a wrong exit code": (lambda s: setattr(s.actors[0], "code", 1), "exit code 1"),
    "a spin": (lambda s: setattr(s.actors[0], "cpu_s", 60.0), "s of CPU"),
    "a lock is left": (lambda s: (s.project / ".locks" / "task-t1.lock").touch(), "left in .locks"),
    "a temporary file is left": (lambda s: (s.project / "results.tmp").touch(), "left behind"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found(stage: Played, damage: str) -> None:
    do, told = DAMAGE[damage]
    do(stage)
    found = troubles(stage)
    assert any(told in text for text in found), found


def test_a_death_explains_what_was_asked_again(stage: Played) -> None:
    stage.asked.append(record(0, received_at=3.0, finished_at=4.0))
    stage.deaths.append(2.2)
    assert troubles(stage) == []


def test_an_excuse_covers_only_its_own(stage: Played) -> None:
    stage.asked.append(record(0, received_at=3.0, finished_at=4.0))
    stage.excuses = Excuses(repeats=True)
    assert troubles(stage) == []
    stage.asked.insert(1, record(0, received_at=1.5))
    assert troubles(stage) != []
