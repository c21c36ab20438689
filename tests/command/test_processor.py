"""A task as a command: real programs, from the placeholders to the end of what they started."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.children.guardian import begun_at
from agentdash.engine.command.presets import find_preset, for_command
from agentdash.engine.command.processor import CommandProcessor, CommandSettings
from agentdash.engine.command.recipe import Recipe
from agentdash.engine.command.verdict import FailureRule
from agentdash.engine.credentials import APICredential
from agentdash.engine.failures import StatedFailureError
from agentdash.engine.processors.base import TaskContext
from agentdash.model import Answer, Failure, FailureClass, Task
from agentdash.secret import Secret

KEY = "sk-ant-command-7Hh6Gg5Ff4Dd3Ss2"
STANDIN = str(Path(__file__).parents[1] / "agents" / "standin.py")
SESSION = "00000000-0000-4000-8000-000000000001"


class Project:
    """A project whose tasks are commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / ".agentdash"
        self.state.mkdir()
        self.shown = ""
        self.attempt = 0

    @asynccontextmanager
    async def processor(self, recipe: Recipe, **settings: Any) -> AsyncIterator[CommandProcessor]:
        made = CommandProcessor(recipe, CommandSettings(self.folder, self.state, **{"grace_s": 5, **settings}))
        try:
            yield made
        finally:
            await made.close()

    async def run(self, recipe: Recipe, payload: Mapping[str, Any] | None = None, **settings: Any) -> Answer:
        self.attempt += 1
        context = TaskContext("worker-1", self.attempt, APICredential(Secret(KEY), base_url="http://127.0.0.1:9"))
        context.progress = self._show
        task = Task(1, "t1", payload or {"prompt": "say $HOME -n 'x'"})
        async with self.processor(recipe, **settings) as processor:
            return await processor.run(task, context)

    async def failure(self, recipe: Recipe, payload: Mapping[str, Any] | None = None, **settings: Any) -> Failure:
        with pytest.raises(StatedFailureError) as stated:
            await self.run(recipe, payload, **settings)
        return stated.value.failure

    def _show(self, text: str) -> None:
        self.shown += text

    def log(self, attempt: int = 1) -> str:
        return (self.state / "attempts" / "task-t1" / f"{attempt}.log").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def command(*arguments: str, **more: Any) -> Recipe:
    return replace(for_command(arguments, stdin=None, shell=False, rules=(), needs_key=True), **more)


def script(text: str, **more: Any) -> Recipe:
    return command("sh", "-c", text, **more)


# -- what a program is given -------------------------------------------------------------------------------------------
async def test_the_prompt_is_an_argument_where_it_is_named_and_else_what_is_read(project: Project) -> None:
    assert (await project.run(command("printf", "%s|", "{prompt}", "{id}"))).output == "say $HOME -n 'x'|t1|"
    assert (await project.run(command("cat"))).output == "say $HOME -n 'x'"


async def test_a_shell_is_used_only_when_asked_for_and_gets_values_quoted(project: Project) -> None:
    recipe = for_command("printf %s {prompt} | tr a-z A-Z", stdin=None, shell=True, rules=(), needs_key=False)
    assert (await project.run(recipe)).output == "SAY $HOME -N 'X'"


async def test_it_works_in_the_tasks_folder(project: Project) -> None:
    (project.folder / "sub").mkdir()
    here, there = str(project.folder), str(project.folder / "sub")
    assert (await project.run(command("pwd"))).output == f"{here}\n"
    assert (await project.run(command("pwd"), {"prompt": "p", "workdir": "sub"})).output == f"{there}\n"
    failure = await project.failure(command("pwd"), {"prompt": "p", "workdir": "nowhere"})
    assert (failure.error_type, failure.permanent) == ("NoWorkdir", True)
    assert "nowhere" in failure.message


async def test_the_leased_key_goes_to_the_program_and_nothing_else_of_the_users_does(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "ANTHROPIC_API_KEY": "sk-ant-not-the-leased-one-1234",
        "ANTHROPIC_AUTH_TOKEN": "token-of-another-tool-1234",
        "AWS_SECRET_ACCESS_KEY": "aws",
        "SSH_AUTH_SOCK": "/nowhere",
        "MY_TOOL_HOME": "/opt/tool",
        "LC_TIME": "C",
    }.items():
        monkeypatch.setenv(name, value)
    recipe = script(
        f'echo "$ANTHROPIC_API_KEY" | grep -cx {KEY}; env | cut -d= -f1 | sort',
        passed=("MY_TOOL_*",),
        environment={"FIXED": "1"},
    )
    count, *names = (await project.run(recipe)).output.split()
    assert count == "1"
    assert {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "AGENTDASH_TASK_ID"} < set(names)
    assert {"FIXED", "MY_TOOL_HOME", "LC_TIME"} < set(names)
    assert not {"ANTHROPIC_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK"} & set(names)


async def test_metadata_that_a_task_does_not_have_fails_it_for_good(project: Project) -> None:
    failure = await project.failure(command("echo", "{metadata.repo}"))
    assert (failure.error_type, failure.permanent) == ("MissingValue", True)


async def test_what_cannot_be_an_argument_fails_the_task_for_good(project: Project) -> None:
    failure = await project.failure(command("echo", "{prompt}"), {"prompt": "a\0b"})
    assert (failure.error_type, failure.permanent) == ("BadArgument", True)
    failure = await project.failure(command("echo", "{prompt}"), {"prompt": "x" * 300_000})
    assert (failure.error_type, failure.permanent) == ("ArgumentsTooLong", True)
    assert (await project.run(command("wc", "-c"), {"prompt": "x" * 300_000})).output.strip() == "300000"


@pytest.mark.parametrize("program", ["no-such-program", "./no-such-program", "/no/such/program", "/etc/passwd"])
async def test_a_program_that_is_not_there_fails_the_task_for_good(project: Project, program: str) -> None:
    failure = await project.failure(command(program))
    assert (failure.error_type, failure.permanent) == ("NotStarted", True)


# -- what it writes ----------------------------------------------------------------------------------------------------
async def test_all_it_writes_is_shown_and_kept_for_the_owner_only(project: Project) -> None:
    answer = await project.run(script("echo out; echo err >&2"))
    assert answer.output == "out\n"
    assert sorted(project.shown.split()) == sorted(project.log().split()) == ["err", "out"]
    for path in (project.state / "attempts").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


async def test_a_key_that_it_writes_is_seen_nowhere(project: Project) -> None:
    answer = await project.run(script('echo "key: $ANTHROPIC_API_KEY"; echo "$ANTHROPIC_API_KEY" >&2'))
    assert answer.output == "key: [redacted]\n"
    failure = await project.failure(script('echo "$ANTHROPIC_API_KEY" >&2; exit 1'))
    for text in (project.shown, project.log(1), project.log(2), failure.message):
        assert "[redacted]" in text
        assert KEY not in text


async def test_endless_output_is_bounded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST_BYTES": 1 << 18, "_KEPT_HEAD": 1 << 10, "_KEPT_TAIL": 1 << 12}.items():
        monkeypatch.setattr(f"agentdash.engine.command.attempts.{name}", value)
    answer = await project.run(script("seq 190000; echo the end"))
    assert len(answer.output) < (1 << 20) + 100
    assert answer.output.startswith("1\n2\n")
    assert answer.output.endswith("the end\n")
    assert len(project.log()) < (1 << 20)
    assert project.log().startswith("1\n2\n")
    assert project.log().endswith("the end\n")


async def test_output_that_cannot_be_kept_costs_nothing_else(project: Project) -> None:
    (project.state / "attempts").write_text("in the way")
    assert (await project.run(script("echo out"))).output == "out\n"


# -- how it ends -------------------------------------------------------------------------------------------------------
async def test_an_exit_code_is_the_tasks_own_failure_with_its_last_words(project: Project) -> None:
    failure = await project.failure(script("echo all well; echo 'no such thing' >&2; exit 7"))
    assert (failure.failure_class, failure.message) == (FailureClass.TASK, "exit code 7: no such thing")
    assert (await project.failure(script("kill -SEGV $$"))).message == "ended by SIGSEGV"


async def test_rules_say_who_pays_for_an_end(project: Project) -> None:
    import re

    rules = (
        FailureRule(FailureClass.LIMITED, re.compile("rate limit"), retry_after=30),
        FailureRule(FailureClass.OVERLOAD, exit_code=75),
        FailureRule(None, exit_code=2),
    )
    limited = await project.failure(script("echo 'rate limit' >&2; exit 1", rules=rules))
    assert (limited.failure_class, limited.retry_after) == (FailureClass.LIMITED, 30)
    assert (await project.failure(script("exit 75", rules=rules))).failure_class is FailureClass.OVERLOAD
    assert (await project.run(script("echo found; exit 2", rules=rules))).value == {"exit_code": 2}
    assert (await project.run(script("echo 'rate limit'", rules=rules))).output == "rate limit\n"  # it went well


async def test_a_time_budget_ends_it_and_what_it_started(project: Project) -> None:
    (project.folder / "pids").touch()
    failure = await project.failure(script("sleep 1000 & echo $! > pids; echo $$ >> pids; wait"), timeout_s=0.5)
    assert (failure.failure_class, failure.message) == (FailureClass.TASK, "not finished within 0.5 s")
    for pid in (project.folder / "pids").read_text().split():
        assert begun_at(int(pid)) is None


async def test_who_is_cancelled_has_ended_it(project: Project) -> None:
    running = asyncio.create_task(project.run(script("setsid sleep 1000 & echo $!; echo $$; wait")))
    async with asyncio.timeout(20):
        while len(project.shown.split()) < 2:  # noqa: ASYNC110 - as a user looks
            await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert all(begun_at(int(pid)) is None for pid in project.shown.split())


async def test_what_it_leaves_running_is_ended_and_does_not_hold_its_answer(project: Project) -> None:
    answer = await project.run(script("sleep 1000 & echo $!"))
    assert begun_at(int(answer.output)) is None


# -- sessions ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def calls(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = project.folder / "calls.jsonl"
    monkeypatch.setenv("STANDIN_CALLS", str(path))
    return path


def claude(case: str) -> Recipe:
    preset = find_preset("claude", {})
    return replace(preset, command=(sys.executable, STANDIN, case), passed=("STANDIN_CALLS",))


async def test_a_retried_task_goes_on_with_its_session(project: Project, calls: Path) -> None:
    payload = {"prompt": "/clear the table", "model": "m-1", "system": "Be brief."}
    assert (await project.failure(claude("overloaded-midway"), payload)).failure_class is FailureClass.OVERLOAD
    answer = await project.run(claude("resumed"), payload)
    first, then = [json.loads(line) for line in calls.read_text().splitlines()]
    assert first["arguments"] == ["--model", "m-1", "--append-system-prompt", "Be brief."]
    assert first["stdin"] == " /clear the table"  # a slash at the beginning would be a command of its own
    assert then["arguments"][-2:] == ["--resume", SESSION]
    assert "go on with the task" in then["stdin"]
    assert first["environment"]["CLAUDE_CODE_MAX_RETRIES"] == "2"
    assert answer.cost_usd == 0.09816
    assert answer.value["session_id"] == SESSION


async def test_a_session_that_is_gone_is_begun_anew(project: Project, calls: Path) -> None:
    await project.failure(claude("killed"))
    await project.failure(claude("session-unknown"))
    await project.run(claude("success"))
    arguments = [json.loads(line)["arguments"] for line in calls.read_text().splitlines()]
    assert arguments == [[], ["--resume", SESSION], []]


async def test_where_nothing_was_answered_the_prompt_is_given_again(project: Project, calls: Path) -> None:
    await project.failure(claude("refused-key"))
    await project.run(claude("success"))
    prompts = [json.loads(line)["stdin"] for line in calls.read_text().splitlines()]
    assert prompts == [" say $HOME -n 'x'"] * 2


async def test_a_damaged_session_file_begins_anew(project: Project, calls: Path) -> None:
    await project.failure(claude("killed"))
    for damage in (b"", b"[]", b"\xff", b'{"id": 7}', b'{"id": ["a"]}'):
        (project.state / "attempts" / "task-t1" / "session.json").write_bytes(damage)
        await project.run(claude("success"))
    arguments = [json.loads(line)["arguments"] for line in calls.read_text().splitlines()]
    assert arguments == [[]] * 6


def test_no_environment_of_ours_is_changed(project: Project) -> None:
    assert "AGENTDASH_MARK" not in os.environ


async def test_a_project_that_is_gone_for_a_moment_costs_no_task_its_life(project: Project) -> None:
    gone = project.folder.with_name("gone")
    project.folder.rename(gone)
    failure = await project.failure(command("true"))
    assert (failure.failure_class, failure.permanent) == (FailureClass.SERVICE, False)
    gone.rename(project.folder)
    (project.state / "children").write_text("in the way")
    failure = await project.failure(command("true"))
    assert (failure.failure_class, failure.permanent) == (FailureClass.SERVICE, False)
