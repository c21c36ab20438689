"""The tools of an agent: the user's Python functions, described to the model and called for it by the SDK's helpers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from agentdash.engine.processors.function import load_module, text_of
from agentdash.engine.processors.threads import TaskThreads
from agentdash.errors import UsageError
from agentdash.text import without_middle

MOST_RESULT_CHARS = 100_000
"""Of a tool's result, which is sent again with each further request of its loop; of a longer one the middle is left
out."""
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_NAMES = "NAME,NAME"
_BLOCKS = frozenset({"text", "image", "document", "search_result"})
"""The content blocks that the API takes as a part of a result."""


def load_tools(references: str | Sequence[str]) -> list[Any]:
    """The SDK's tools (`BetaAsyncFunctionTool`) for `MODULE` (each public function in it that has a docstring) or
    `MODULE:NAME,NAME`; MODULE may lie in the current directory. What is a tool of the SDK already stays as it is said.

    Raises `UsageError` for what is not there, what cannot be described to a model, and two tools of one name.
    """
    tools: list[Any] = []
    threads = TaskThreads()
    for reference in [references] if isinstance(references, str) else references:
        for where, found in _find(reference):
            tool = _runnable(_described(found, where), threads)
            if not _NAME.fullmatch(tool.name):
                raise UsageError(f"{where} cannot be a tool: its name may only have a-z, A-Z, 0-9, _ and -.")
            if any(tool.name == known.name for known in tools):
                raise UsageError(f"There are two tools with the name {tool.name}.", hint="Name the functions you mean.")
            tools.append(tool)
    return tools


def _find(reference: str) -> Iterator[tuple[str, Any]]:
    """What a reference names, each with words that say where it is."""
    module_name, colon, names = reference.partition(":")
    if not module_name or (colon and not all(names.split(","))):
        raise UsageError(f"{reference!r} is not of the form MODULE or MODULE:{_NAMES}.")
    module = load_module(module_name)
    for name in names.split(",") if colon else _public(module):
        found = getattr(module, name, None)
        if not inspect.isroutine(found) and not _is_described(found):
            raise UsageError(f"There is no function {name} in the module {module_name}.")
        yield f"{module_name}:{name}", found


def _public(module: ModuleType) -> list[str]:
    """The module's own functions with a docstring, but for those that begin with an underscore."""
    names = [
        name
        for name, found in vars(module).items()
        if not name.startswith("_")
        and (function := getattr(found, "func", found) if _is_described(found) else found).__doc__
        and inspect.isfunction(function)
        and function.__module__ == module.__name__
    ]
    if not names:
        raise UsageError(f"The module {module.__name__} has no function with a docstring.")
    return names


def _is_described(found: Any) -> bool:
    """Whether it is a tool of the SDK already: a function under its decorator."""
    from anthropic.lib.tools import BetaAsyncFunctionTool, BetaFunctionTool

    return isinstance(found, BetaFunctionTool | BetaAsyncFunctionTool)


def _described(found: Any, where: str) -> Any:
    """A tool of the SDK's for a function."""
    from anthropic import beta_async_tool, beta_tool

    if _is_described(found):
        return found
    if not (found.__doc__ or "").strip():
        raise UsageError(
            f"{where} cannot be a tool: it has no docstring.", hint="It tells the model what the tool does."
        )
    is_async = inspect.iscoroutinefunction(found)
    try:
        for parameter in inspect.signature(found).parameters.values():
            if parameter.annotation is parameter.empty:
                raise UsageError(f"{where} cannot be a tool: its parameter {parameter.name} has no type hint.")
        make: Callable[[Any], Any] = beta_async_tool if is_async else beta_tool
        tool = make(found)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - types may bring descriptions of their own, which raise anything
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UsageError(f"{where} cannot be a tool: its parameters cannot be described to a model: {reason}") from None
    if tool.input_schema.get("type") != "object":
        raise UsageError(f"{where} cannot be a tool: its parameters must be given by name, without / and *args.")
    return tool


def _runnable(tool: Any, threads: TaskThreads) -> Any:
    """The tool as the SDK's loop calls it: a plain function in a thread, the result as what the API takes."""
    import pydantic
    from anthropic import beta_async_tool
    from anthropic.lib.tools import BetaFunctionTool, ToolError

    async def call(**given: Any) -> Any:
        try:
            if isinstance(tool, BetaFunctionTool):
                value = await threads.run(partial(tool.call, given))
            else:
                value = await tool.call(given)
            if inspect.isawaitable(value):
                value = await value
        except ValueError as error:
            if isinstance(error.__cause__, pydantic.ValidationError):  # what is wrong with them helps the model
                raise ToolError(f"{error}: {error.__cause__}") from None
            raise
        except SystemExit as error:  # ends no task, and no run
            raise ToolError(f"{error!r}") from None
        return _content(value)

    runnable: Any = beta_async_tool(call, name=tool.name, description=tool.description, input_schema=tool.input_schema)
    runnable.to_dict = tool.to_dict  # with what its own decorator was told
    return runnable


def _content(value: Any) -> Any:
    """A result in the API's form: text, or content blocks as they are; everything else as JSON."""
    if isinstance(value, list) and value and all(isinstance(b, dict) and b.get("type") in _BLOCKS for b in value):
        return value
    text = value if isinstance(value, str) else "" if value is None else text_of(value)
    return without_middle(text, MOST_RESULT_CHARS)
