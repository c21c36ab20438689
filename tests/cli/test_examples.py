"""The examples do what they say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from agentdash.config import Settings
from agentdash.engine.credentials import APICredential
from agentdash.engine.facade import End, Engine
from agentdash.secret import Secret
from agentdash.simulator import Simulator, SimulatorConfig
from tests.cli.conftest import write_tasks

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def library() -> ModuleType:
    spec = importlib.util.spec_from_file_location("library_example", EXAMPLES / "library.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_library_example_runs_as_a_script(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "library.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 squared is 16" in done.stdout
    assert "made-up-key" not in done.stdout


async def test_every_pattern(library: ModuleType) -> None:
    results = await library.run_a_list()
    assert [r["success"] for r in results] == [True, True, False]
    assert results[2] == {"task": {}, "error": "this task has no number", "success": False}
    assert sorted(await library.share_a_queue()) == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert library.settle_by_hand()
    assert library.lock_a_task()
    *delays, last = await library.back_off()
    assert max(delays) <= 0.05
    assert last == 0
    assert library.rotate_keys() == ["key-1", "key-1", "key-2"]


@pytest.mark.parametrize(("name", "requests"), [("count_words", 0), ("shout", 0), ("review", 4)])
async def test_functions(name: str, requests: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    write_tasks(tmp_path / "t.jsonl", ["two words", "and three words"])
    settings = Settings(project=tmp_path, processor=f"my_functions:{name}")
    async with Simulator(SimulatorConfig.simple()) as simulator:
        key = APICredential(Secret(simulator.config.keys[0].key), base_url=simulator.base_url)
        async with Engine(settings, credentials=[key]) as engine:
            await engine.add([str(tmp_path / "t.jsonl")])
            assert await engine.run() is End.FINISHED
            assert engine.store.counts().succeeded == 2
        assert len(list(simulator.records)) == requests
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    outputs = {line["custom_id"]: line["agentdash"]["output"] for line in lines}
    if name == "shout":
        assert outputs == {"t0": "TWO WORDS", "t1": "AND THREE WORDS"}
    assert all(outputs.values())
