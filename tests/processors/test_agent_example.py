"""The example of an agent with tools of one's own does what README says, as a user starts it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from agentdash.simulator import Kind, Rule, Simulator, SimulatorConfig
from agentdash.simulator.rules import ToolCall

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAYED = SimulatorConfig(
    rules=(
        Rule(
            "offer for one (?P<name>desk)",
            Kind.TOOL_USE,
            calls=(
                ToolCall("find_article", {"name": "{name}"}),
                ToolCall("add_tax", {"net": "249.00", "country": "fr"}),
            ),
        ),
        Rule("four chairs", Kind.TOOL_USE, calls=(ToolCall("find_article", {"name": "chairs"}),)),
    )
)


async def test_the_example_runs_from_the_command_line(tmp_path: Path) -> None:
    async with Simulator(PLAYED) as simulator:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "AGENTDASH_"))},
            "ANTHROPIC_API_KEY": simulator.config.keys[0].key,
            "ANTHROPIC_BASE_URL": simulator.base_url,
        }
        command = "run agent.jsonl --tools agent_tools --headless --json --model claude-haiku-4-5 --project"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "agentdash", *command.split(), str(tmp_path)),
            cwd=EXAMPLES,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        results = [record.prompt for record in simulator.records if "\n" not in record.prompt]
    assert process.returncode == 0, err.decode()
    assert b"Traceback" not in err
    status = json.loads(out.splitlines()[-1])
    lines = {line["custom_id"]: line for line in map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())}
    assert {name: line["agentdash"]["value"] for name, line in lines.items()} == {
        "offer-1": {"turns": 3, "tool_calls": {"find_article": 1, "add_tax": 1}},
        "offer-2": {"turns": 2, "tool_calls": {"find_article": 1}},
    }
    assert '{"name": "desk", "in_stock": 3, "price": "249.00"}' in results
    assert "298.80" in results
    assert "KeyError('chairs')" in results
    assert all(line["result"]["message"]["stop_reason"] == "end_turn" for line in lines.values())
    assert status["cost_usd"] > 0
