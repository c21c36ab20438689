"""Agents by name: the built-in table, what a config file makes of it, and what it may not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentdash.config import Settings, load_settings
from agentdash.engine.command.choose import command_processor
from agentdash.engine.command.claude import ClaudeReader
from agentdash.engine.command.environment import child_environment
from agentdash.engine.command.presets import PRESETS, failure_rules, find_preset, for_command
from agentdash.engine.command.recipe import Recipe
from agentdash.engine.command.verdict import Ended, PlainReader, describe_end
from agentdash.engine.credentials import APICredential
from agentdash.errors import UsageError
from agentdash.model import FailureClass
from agentdash.secret import Secret

TOML = """
processor = "mine"

[presets.mine]
command = "mytool --json {prompt}"
env = { MODE = "batch" }
pass_env = ["MYTOOL_*"]
base_url_suffix = "/v1"
[presets.mine.options]
model = ["--model", "{model}"]
[[presets.mine.failures]]
class = "limited"
pattern = "slow down"
retry_after = 20

[presets.claude]
stdin = "{prompt}"
[presets.claude.options]
max_cost = ["--max-budget-usd", "{max_cost}", "--strict"]
"""


def from_file(folder: Path, text: str, **flags: Any) -> Settings:
    (folder / "agentdash.toml").write_text(text)
    return load_settings({"project": folder, **flags}, environ={})


def command(recipe: Recipe, **values: str) -> list[str]:
    return recipe.arguments({"prompt": "P", **values}, {})


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_built_in_agent_gets_the_prompt_exactly_once_and_needs_a_key(name: str) -> None:
    recipe = find_preset(name, {})
    arguments, given = command(recipe, model="m"), recipe.input({"prompt": "P"}, {})
    assert sum("P" in argument.partition("=")[2] for argument in arguments) + (b"P" in (given or b"")) == 1
    assert any("m" in argument for argument in arguments)
    assert recipe.needs_key


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_no_prompt_can_be_taken_for_an_option(name: str) -> None:
    recipe = find_preset(name, {})
    assert "--help" not in recipe.arguments({"prompt": "--help"}, {})


def test_a_config_file_adds_agents_and_changes_those_that_are_there(tmp_path: Path) -> None:
    settings = from_file(tmp_path, TOML)
    mine = find_preset("mine", settings.presets)
    assert command(mine, model="m-1") == ["mytool", "--json", "P", "--model", "m-1"]
    assert command(mine) == ["mytool", "--json", "P"]
    assert (mine.stdin, mine.passed, mine.environment) == (None, ("MYTOOL_*",), {"MODE": "batch"})
    assert mine.base_url_suffix == "/v1"
    assert [rule.failure_class for rule in mine.rules] == [FailureClass.LIMITED]
    claude, built_in = find_preset("claude", settings.presets), PRESETS["claude"]
    assert (claude.stdin, claude.command, claude.environment) == ("{prompt}", built_in.command, built_in.environment)
    assert command(claude, max_cost="2")[-3:] == ["--max-budget-usd", "2", "--strict"]
    assert isinstance(claude.new_reader({}), ClaudeReader)
    assert command_processor(settings).needs_credentials
    keyless = from_file(tmp_path, TOML.replace("base_url_suffix =", "needs_key = false\nbase_url_suffix ="))
    assert not command_processor(keyless).needs_credentials


BAD = {
    'command = ""': "command must be",
    "command = 7": "command must be",
    'command = ["a", 7]': "command must be",
    'command = "a \'b"': "No closing quotation",
    'command = "a {promt}"': "no placeholder {promt}",
    'stdin = "{prompt}"': "command is missing",
    'command = "a"\nouput = "text"': "unknown name 'ouput'",
    'command = "a"\noutput = "html"': "output must be one of",
    'command = "a"\nneeds_key = "yes"': "needs_key must be",
    'command = "a"\nenv = { A = 1 }': "env must be",
    'command = "a"\noptions = { model = "x" }': "options must be",
    'command = "a"\n[[presets.mine.failures]]\npattern = "x"': "class is missing",
    'command = "a"\n[[presets.mine.failures]]\nclass = "crash"': "class must be one of",
    'command = "a"\n[[presets.mine.failures]]\nclass = "task"\npattern = "("': "no regular expression",
    'command = "a"\n[[presets.mine.failures]]\nclass = "task"\nretry_after = -1': "retry_after must be",
    'command = "a"\n[[presets.mine.failures]]\nclass = "task"\nexit = 1': "unknown name 'exit'",
}


@pytest.mark.parametrize("text", BAD)
def test_what_a_preset_may_not_say_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        command_processor(from_file(tmp_path, f"processor = 'mine'\n[presets.mine]\n{text}\n"))
    assert "presets.mine" in str(refused.value)
    assert BAD[text] in str(refused.value)


@pytest.mark.parametrize(
    ("name", "meant"), [("claud", "claude"), ("min-swe-agent", "mini-swe-agent"), ("Messages", None), ("x", None)]
)
def test_an_agent_that_nobody_knows_is_refused_with_the_nearest_one(name: str, meant: str | None) -> None:
    with pytest.raises(UsageError, match="There is no processor") as refused:
        find_preset(name, {})
    assert (f"Did you mean '{meant}'?" in str(refused.value.hint)) is (meant is not None)


def test_presets_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    for text in ("presets = 1", "[presets]\nmine = 'x'", "[[presets]]\na = 1"):
        with pytest.raises(UsageError, match="presets must be"):
            from_file(tmp_path, text)


def test_further_arguments_stand_behind_an_agents_own(tmp_path: Path) -> None:
    more = "--allowedTools 'Bash(git *)' --add-dir {workdir}"
    settings = from_file(tmp_path, "", processor="claude", command_args=more)
    recipe = command_processor(settings)._recipe
    assert recipe.command[-4:] == ("--allowedTools", "Bash(git *)", "--add-dir", "{workdir}")
    with pytest.raises(UsageError, match="args"):
        command_processor(from_file(tmp_path, "", processor="claude", command_args="{nope}"))
    with pytest.raises(UsageError, match="do not go together"):
        command_processor(from_file(tmp_path, "", processor="claude", command="x"))


def test_claude_code_is_known_by_its_options_whoever_wrote_them() -> None:
    def made(text: str) -> Recipe:
        return for_command(text, stdin=None, shell=False, rules=(), needs_key=False)

    ours = made("/opt/bin/claude -p {prompt} --output-format stream-json --verbose")
    assert isinstance(ours.new_reader({}), ClaudeReader)
    assert ours.needs_key
    assert ours.environment["CLAUDE_CODE_MAX_RETRIES"] == "2"
    assert command(ours, session="s")[-2:] == ["--resume", "s"]
    assert isinstance(made("claude -p {prompt}").new_reader({}), PlainReader)
    assert isinstance(made("other --output-format stream-json").new_reader({}), PlainReader)


def test_a_program_is_given_the_address_in_the_form_it_wants() -> None:
    credential = APICredential(Secret("sk-ant-address-123456"), base_url="http://127.0.0.1:8000/")
    given = child_environment({}, credential, fixed={}, base_url_suffix="/v1", task_id="t", attempt=1)
    assert given["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8000/v1"
    plain = APICredential(Secret("sk-ant-address-123456"))
    assert "ANTHROPIC_BASE_URL" not in child_environment({}, plain, fixed={}, task_id="t", attempt=1)


def test_the_last_words_are_told_without_their_colours() -> None:
    assert describe_end(Ended(1, "\x1b[91m\x1b[1mError: \x1b[0mno key\n\n")) == "exit code 1: Error: no key"


def test_rules_that_are_no_tables_are_refused() -> None:
    for bad in ("x", [1], {"class": "task"}):
        with pytest.raises(UsageError):
            failure_rules(bad, "command_failures")
