"""Runs a task as a call of the user's own Python function."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from agentdash.engine.processors.base import TaskContext
from agentdash.engine.processors.messages import answer_of
from agentdash.engine.processors.threads import TaskThreads
from agentdash.engine.results import to_json
from agentdash.errors import UsageError
from agentdash.model import Answer, Task

TaskFunction = Callable[..., Any]


class TaskTimeoutError(Exception):
    """The user's function used up its time budget."""


class FunctionProcessor:
    """`Processor` around `f(task)`, `f(task, worker_id)` or a function that takes a parameter named `context`.

    `task` is the task's JSON object with its id (or the very dict a library caller gave). A coroutine function runs in
    the event loop, a plain one in a thread. With `context` the function is given a `TaskContext`: the leased client,
    progress and the cancel token; only then does the run need credentials. `timeout_s` is the task's time budget.
    """

    def __init__(self, function: TaskFunction, *, timeout_s: float | None = None) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object with `async def __call__`
        )
        self._positional, self._context_name = _parameters(function)
        self._threads = TaskThreads()
        self.needs_credentials = self._context_name is not None

    async def run(self, task: Task, context: TaskContext) -> Answer:
        """Call the function. Raises what it raises, and `TaskTimeoutError` when its time is over."""
        payload = task.payload if "id" in task.payload else {"id": task.id, **task.payload}
        named = {self._context_name: context} if self._context_name else {}
        call = partial(self._function, *(payload, context.worker_id)[: self._positional], **named)
        deadline = asyncio.timeout(self._timeout_s)
        try:
            async with deadline:
                value = await (call() if self._is_async else self._threads.run(call, context))
                if inspect.isawaitable(value):
                    value = await value
        except TimeoutError:
            if not deadline.expired():  # one of the function's own
                raise
            raise TaskTimeoutError(f"not finished within {self._timeout_s:g} s") from None
        return _answer(value)


def load_function(reference: str) -> TaskFunction:
    """The function that `MODULE:FUNCTION` names; MODULE may lie in the current directory.

    Raises `UsageError` if there is no such module or function, or if importing it fails.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise UsageError(f"{reference!r} is not of the form MODULE:FUNCTION.")
    found: Any = load_module(module_name)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UsageError(f"There is no function {name} in the module {module_name}.")
    function: TaskFunction = found
    return function


def load_module(name: str) -> ModuleType:
    """A module of the user's, which may lie in the current directory. Raises `UsageError` if importing it fails."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"The module {name} cannot be imported: {type(error).__name__}: {error}.") from error


def _parameters(function: TaskFunction) -> tuple[int, str | None]:
    """How many of (task, worker_id) it takes by position, and the name of its `context` parameter if it has one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 2, None
    context = next((p.name for p in parameters if p.name in ("context", "ctx") and p.kind is not p.VAR_KEYWORD), None)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 2, context
    by_position = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != context
    ]
    return min(2, len(by_position)), context


def _answer(value: Any) -> Answer:
    if isinstance(value, Answer):
        return value
    dump = getattr(value, "model_dump", None)
    if callable(dump) and getattr(value, "type", None) == "message":  # the SDK's Message
        return replace(answer_of(dump(mode="json"), getattr(value, "_request_id", None), None), value=value)
    if value is None:
        return Answer()
    if isinstance(value, str):
        return Answer(value, value=value)
    return Answer(text_of(value), value=value)


def text_of(value: Any) -> str:
    """What a function returned, as text to show: JSON where that is possible."""
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)
    except Exception:  # noqa: BLE001 - a circle, odd keys, a `__repr__` that raises: the answer counts, not its looks
        return to_json(value)
