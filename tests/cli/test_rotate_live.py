"""`agentdash rotate` in another process, while a run is at work: it follows, and goes on if a probe fails."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agentdash.config import Settings
from agentdash.engine.credentials import load_credentials
from agentdash.engine.facade import Engine
from agentdash.simulator import KeyBehaviour, Simulator, SimulatorConfig
from tests.cli.conftest import write_tasks
from tests.support.engines import running, until

pytestmark = pytest.mark.process
PARKED = KeyBehaviour("billing")


@asynccontextmanager
async def at_work(
    project: Path, monkeypatch: pytest.MonkeyPatch, **behaviour: KeyBehaviour
) -> AsyncIterator[tuple[Engine, Simulator]]:
    """A run of one worker that never comes to its end, with three keys of three organisations."""
    config = SimulatorConfig.simple(3, organizations=3)
    keys = [replace(key, behaviour=behaviour.get(f"key{n}", key.behaviour)) for n, key in enumerate(config.keys, 1)]
    write_tasks(project / "t.jsonl", ["say something"] * 5000)
    async with Simulator(replace(config, keys=tuple(keys))) as simulator:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", simulator.base_url)
        for number, key in enumerate(keys, 1):
            monkeypatch.setenv(f"ANTHROPIC_API_KEY_{number}", key.key)
        settings = Settings(project=project, model="claude-sonnet-5-5", workers=1)
        async with Engine(settings, credentials=load_credentials().credentials) as engine:
            await engine.add([str(project / "t.jsonl")])
            async with running(engine):
                yield engine, simulator


async def rotate(project: Path, *arguments: str) -> str:
    """Run the command in a process of its own; returns what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agentdash", "rotate", *arguments, "--project", str(project)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def asked(simulator: Simulator, key: str) -> int:
    return sum(record.key == key for record in simulator.records)


def active(engine: Engine) -> str:
    return next(key.name for key in engine.snapshot().credentials if key.active)


async def test_a_live_run_follows(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_work(place, monkeypatch) as (engine, simulator):

        async def follows(old: str, new: str) -> None:
            assert active(engine) == old
            assert f"{old} → {new}, from the next request on." in await rotate(place, new)
            await until(lambda: active(engine) == new)
            so_far = asked(simulator, new)
            await simulator.records.wait_until(lambda _: asked(simulator, new) > so_far + 2)

        await simulator.records.wait_until(lambda records: len(records) >= 3)
        await until(lambda: engine.store.active_credential() is not None)
        await follows("key-1", "key-3")
        await follows("key-3", "key-2")
        assert engine.store.totals().rotations == 2


async def test_a_parked_key_gets_one_probe(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_work(place, monkeypatch, key1=PARKED) as (engine, simulator):
        await until(lambda: active(engine) == "key-2")
        await until(lambda: any(record.state == "exhausted" for record in engine.store.credentials()))
        assert asked(simulator, "key-1") == 1
        assert "key-1 was exhausted" in await rotate(place, "key-1")
        await simulator.records.wait_until(lambda _: asked(simulator, "key-1") == 2)
        await until(lambda: active(engine) == "key-2")
        so_far = asked(simulator, "key-2")
        await simulator.records.wait_until(lambda _: asked(simulator, "key-2") > so_far + 2)
        assert asked(simulator, "key-1") == 2


async def test_a_probe_that_is_answered_keeps_the_key(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_work(place, monkeypatch, key1=PARKED) as (engine, simulator):
        await until(lambda: any(record.state == "exhausted" for record in engine.store.credentials()))
        simulator.update(keys={"key-1": KeyBehaviour()})  # somebody has paid
        await rotate(place, "key-1")
        await simulator.records.wait_until(lambda _: asked(simulator, "key-1") > 5)
        view = engine.snapshot().credentials[0]
        assert (view.state, view.active, view.last_error) == ("ready", True, None)
