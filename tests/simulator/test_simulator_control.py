"""Records, counts and changes at run time, in process and over HTTP; and the simulator as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agentdash.errors import UsageError
from agentdash.simulator import FailureRates, KeyBehaviour, Kind, Rule, Simulator, SimulatorConfig

Body = Callable[..., dict[str, Any]]
ROOT = Path(__file__).parents[2]


async def test_records_hold_the_request_and_never_the_key(http: aiohttp.ClientSession, body: Body) -> None:
    async with Simulator() as simulator:
        request = body("p" * 500, metadata={"user_id": "task-1"}, stream=True)
        async with http.post(f"{simulator.base_url}/v1/messages", json=request) as response:
            await response.read()
        async with http.get(f"{simulator.base_url}/_simulator/records") as response:
            lines = [json.loads(line) for line in (await response.text()).splitlines()]
        async with http.get(f"{simulator.base_url}/_simulator/records?since=1") as response:
            assert await response.text() == ""
    record = simulator.records[0]
    assert (record.key, record.organization, record.marker) == ("key-1", "org-a", "task-1")
    assert (record.status, record.kind, record.stream) == (200, Kind.ANSWER, True)
    assert record.prompt == "p" * 200
    assert record.finished_at is not None
    assert record.finished_at >= record.received_at
    assert lines == [record.as_json()]
    assert "sim-key" not in json.dumps(lines)


async def test_records_are_bounded_and_counts_are_not(http: aiohttp.ClientSession, body: Body) -> None:
    async with Simulator(SimulatorConfig(max_records=3)) as simulator:
        for number in range(5):
            async with http.post(f"{simulator.base_url}/v1/messages", json=body(f"{number}")) as response:
                await response.read()
        async with http.get(f"{simulator.base_url}/_simulator/stats") as response:
            stats = await response.json()
    assert [record.index for record in simulator.records] == [2, 3, 4]
    assert stats == simulator.stats()
    assert stats["requests"] == 5
    assert stats["by_status"] == {"200": 5}
    assert stats["by_key"] == {"key-1": 5}
    assert stats["max_concurrent"] == 1


async def test_overlapping_requests_of_one_task_are_seen(http: aiohttp.ClientSession, body: Body) -> None:
    async with Simulator(SimulatorConfig(rules=(Rule("hold", Kind.HANG),))) as simulator:
        url = f"{simulator.base_url}/v1/messages"
        held = asyncio.create_task(http.post(url, json=body("hold", metadata={"user_id": "t1"})))
        await simulator.records.wait_until(lambda records: records.active == 1)
        for marker in ("t1", "t2"):
            async with http.post(url, json=body("go", metadata={"user_id": marker})) as response:
                await response.read()
        held.cancel()
        await simulator.records.wait_until(lambda records: records.active == 0)
        async with http.post(url, json=body("go", metadata={"user_id": "t1"})) as response:
            await response.read()
    stats = simulator.stats()
    assert (stats["overlapping_markers"], stats["overlapping_marker_examples"]) == (1, ["t1"])
    assert (stats["overlapping_prompts"], stats["max_concurrent"]) == (0, 2)


async def test_changes_at_run_time(http: aiohttp.ClientSession, body: Body) -> None:
    async with Simulator() as simulator:

        async def status() -> int:
            async with http.post(f"{simulator.base_url}/v1/messages", json=body()) as response:
                return response.status

        async def change(value: Any) -> int:
            async with http.post(f"{simulator.base_url}/_simulator/config", json=value) as response:
                return response.status

        assert await change({"failures": {"overloaded": 1.0}}) == 200
        assert await status() == 529
        assert await change({"failures": {"overloaded": 0.0}, "keys": {"key-1": {"kind": "forbidden"}}}) == 200
        assert await status() == 403
        assert await change({"keys": {"key-1": {}}, "rules": [{"pattern": ".", "kind": "unprocessable"}]}) == 200
        assert await status() == 422
        limit = {"requests": {"per_minute": 1, "burst": 1}}
        assert await change({"rules": [], "organizations": {"org-a": limit}}) == 200
        assert [await status(), await status()] == [200, 429]
        assert await change({"rules": [], "nonsense": 1}) == 400
        assert await change({"keys": {"nobody": {}}}) == 400
        assert await change([]) == 400
        simulator.update(organizations={"org-a": {"requests": None}}, failures=FailureRates(api_error=1))
        assert await status() == 500
        with pytest.raises(UsageError):
            simulator.update(failures=FailureRates(), keys={"key-9": KeyBehaviour()})
        assert await status() == 500


async def test_own_pages_are_for_loopback_names_only(http: aiohttp.ClientSession) -> None:
    async with Simulator() as simulator:
        headers = {"host": "evil.example"}
        async with http.get(f"{simulator.base_url}/_simulator/records", headers=headers) as response:
            assert response.status == 403
        async with http.get(f"{simulator.base_url}/_simulator/else") as response:
            assert response.status == 404


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "agentdash.simulator", *arguments)
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "stdin"])
async def test_the_process_serves_and_ends(http: aiohttp.ClientSession, body: Body, tmp_path: Path, way: str) -> None:
    config = tmp_path / "simulator.json"
    config.write_text(SimulatorConfig(rules=(Rule("hold", Kind.HANG),)).to_json())
    process = await _start("--config", str(config), "--exit-with-parent")
    assert process.stdout is not None
    assert process.stdin is not None
    url = json.loads(await process.stdout.readline())["base_url"]
    async with http.post(f"{url}/v1/messages", json=body()) as response:
        assert response.status == 200
    held = asyncio.create_task(http.post(f"{url}/v1/messages", json=body("hold")))
    if way == "stdin":
        process.stdin.close()
    else:
        process.send_signal(getattr(signal, way))
    async with asyncio.timeout(5):
        assert await process.wait() == 0
    with pytest.raises(aiohttp.ClientError):
        await held
    assert process.stderr is not None
    assert await process.stderr.read() == b""
    process.stdin.close()


async def test_the_process_names_a_bad_config() -> None:
    process = await _start("--config", '{"sed": 1}')
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"unknown field 'sed'" in errors
    assert b"Traceback" not in errors


async def test_it_needs_neither_sdk_nor_ui_nor_engine() -> None:
    names = ("anthropic", "textual", "rich", "agentdash.engine", "agentdash.ui")
    code = f"import sys, agentdash.simulator; print([n for n in {names} if n in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    output, _ = await process.communicate()
    assert output.decode().strip() == "[]"
