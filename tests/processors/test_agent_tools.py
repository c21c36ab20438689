"""Which functions become tools, how they are described to the model, and what cannot be one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from agentdash.cli import main
from agentdash.config import Settings, load_settings
from agentdash.engine.processors.agent import AgentProcessor
from agentdash.engine.processors.choose import make_processor
from agentdash.engine.processors.tools import load_tools
from agentdash.errors import UsageError

pytest_plugins = ["tests.processors.toolbox"]

Toolbox = Callable[[str], ModuleType]
SEVERAL = '''
from os.path import join
from textwrap import dedent

def second(a: int) -> str:
    """The second one."""
    return ""

async def first(b: str = "x") -> str:
    """The first one.

    With more words.

    Args:
        b: what it is for
    """
    return ""

def bare(c: int) -> int:
    return c

def _own(d: int) -> int:
    """Not for the model."""
    return d

class Thing:
    """No function."""
'''


def names(tools: list[object]) -> list[str]:
    return [getattr(tool, "name", "") for tool in tools]


def test_all_of_a_module_are_its_own_public_functions_with_a_docstring(toolbox: Toolbox) -> None:
    assert names(load_tools(toolbox(SEVERAL).__name__)) == ["second", "first"]


def test_names_choose_and_order(toolbox: Toolbox) -> None:
    name = toolbox(SEVERAL).__name__
    assert names(load_tools(f"{name}:first,second")) == ["first", "second"]
    assert names(load_tools([f"{name}:first", f"{name}:_own"])) == ["first", "_own"]


def test_a_tool_is_described_by_its_docstring_and_type_hints(toolbox: Toolbox) -> None:
    [tool] = load_tools(f"{toolbox(SEVERAL).__name__}:first")
    assert tool.to_dict() == {
        "name": "first",
        "description": "The first one.\n\nWith more words.",
        "input_schema": {
            "type": "object",
            "properties": {"b": {"default": "x", "description": "what it is for", "title": "B", "type": "string"}},
            "additionalProperties": False,
        },
    }


def test_a_tool_of_the_sdk_stays_as_its_decorator_said(toolbox: Toolbox) -> None:
    tools = toolbox('''
from anthropic import beta_async_tool, beta_tool

@beta_tool(name="renamed", description="Said here.", strict=True)
def plain(a: int) -> str:
    """Not this."""
    return ""

@beta_async_tool
async def other(a: int) -> str:
    """Another."""
    return ""
''')
    first, second = (tool.to_dict() for tool in load_tools(tools.__name__))
    assert (first["name"], first["description"], first["strict"]) == ("renamed", "Said here.", True)
    assert second["name"] == "other"


BAD = [
    ("x = 1", "", "has no function with a docstring"),
    ("x = 1", ":x", "There is no function x in the module"),
    ("x = 1", ":nothing", "There is no function nothing in the module"),
    ("def f(a: int): ...", ":f", ":f cannot be a tool: it has no docstring"),
    ("def f(a):\n 'Doc.'", "", ":f cannot be a tool: its parameter a has no type hint"),
    ("class Odd: ...\ndef f(a: Odd):\n 'Doc.'", "", "its parameters cannot be described to a model: Unable to"),
    ("def f(a: 'Nope'):\n 'Doc.'", "", "its parameters cannot be described to a model: name 'Nope' is not defined"),
    ("from typing import Callable\ndef f(a: Callable[[], int]):\n 'Doc.'", "", "cannot be described to a model"),
    ("def f(a: int, /):\n 'Doc.'", "", "must be given by name"),
    ("def f(*a: int):\n 'Doc.'", "", "must be given by name"),
    ("def größe(a: int):\n 'Doc.'", "", "its name may only have"),
    ("def f(a: int):\n 'Doc.'", ":f,f", "two tools with the name f"),
    ("def f(a: int):\n 'Doc.'", ":", "is not of the form"),
    ("def f(a: int):\n 'Doc.'", ":f,", "is not of the form"),
]


@pytest.mark.parametrize(("text", "which", "said"), BAD, ids=[str(n) for n in range(len(BAD))])
def test_what_cannot_be_a_tool_is_said_at_the_start(toolbox: Toolbox, text: str, which: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_tools(toolbox(text).__name__ + which)
    assert said in str(caught.value)


def test_a_module_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot be imported: ModuleNotFoundError"):
        load_tools("no_such_module_of_tools")


def test_two_modules_with_tools_of_one_name(toolbox: Toolbox) -> None:
    one, two = (toolbox("def f(a: int):\n 'Doc.'").__name__ for _ in range(2))
    with pytest.raises(UsageError, match="two tools with the name f"):
        load_tools([one, two])


# -- settings --------------------------------------------------------------------------------------------------------
def test_the_settings_make_an_agent(toolbox: Toolbox) -> None:
    name = toolbox(SEVERAL).__name__
    assert isinstance(make_processor(Settings(processor="agent", tools=(name,), max_turns=3)), AgentProcessor)
    assert isinstance(make_processor(Settings(processor="agent")), AgentProcessor)


def test_tools_come_from_a_file_as_text_or_list_and_from_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "agentdash.toml"
    config.write_text('tools = ["a", "b:c,d"]\nmax_turns = 7')
    settings = load_settings({}, config=config, environ={})
    assert list(settings.tools or ()) == ["a", "b:c,d"]
    assert settings.max_turns == 7
    settings = load_settings({}, config=config, environ={"AGENTDASH_TOOLS": "a:b", "AGENTDASH_MAX_TURNS": "9"})
    assert (settings.tools, settings.max_turns) == ("a:b", 9)
    for text in ("tools = 3", "tools = [1]", "max_turns = 0"):
        config.write_text(text)
        with pytest.raises(UsageError, match=r"(tools|max_turns) must be"):
            load_settings({}, config=config, environ={})


def test_tools_are_for_an_agent_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "t.jsonl", "--tools", "a", "--processor", "messages"]) == 2
    assert "Tools are for --processor agent, not for messages." in capsys.readouterr().err
