"""A task's fields: what each may hold, and the canonical text that tells whether two tasks are the same.

Every format ends here, so that a CSV row and a JSON line with one content are one task with one hash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from hashlib import blake2b
from typing import Any

from agentdash.engine.intake.bad import Reject, shown
from agentdash.engine.intake.jsontext import encode_text, encode_value
from agentdash.engine.resources import MAX_RESOURCE_CHARS, lock_id
from agentdash.model import MAX_PRIORITY, TaskSpec

MAX_ID_CHARS = 200
MAX_MAX_TOKENS = 2**31 - 1

_FIELDS = frozenset({"id", "prompt", "system", "model", "max_tokens", "priority", "metadata"})
_BATCH_FIELDS = frozenset({"custom_id", "params"})
_UNSAFE_ID = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number that is not an integer",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def task_spec(task: Any, source: str) -> TaskSpec:
    """The task that the decoded JSON value `task` states; `source` is its `file:line`.

    Raises Reject with the first thing that is wrong with it.
    """
    if type(task) is not dict:
        raise Reject(f"a task must be an object, found {_kind(task)}")
    if not task.keys() <= _FIELDS:
        if "custom_id" in task or "params" in task:
            return _batch_request(task, source)
        if unknown := task.keys() - _FIELDS - EXTENSION_FIELDS.keys():
            raise Reject(unknown_names("field", (key for key in task if key in unknown), _known_fields()))
    prompt = task.get("prompt")
    if type(prompt) is not str:
        raise Reject(_wrong("prompt", "a string", prompt) if "prompt" in task else "prompt is missing")
    if not prompt or prompt.isspace():
        raise Reject("prompt is empty")
    # Most tasks are an id and a prompt, and an encoded string costs a quarter of an encoded object.
    if len(task) == 2 and "id" in task:
        return _spec(task, "id", f'{{"prompt":{encode_text(prompt)}}}', 0, source)
    priority = _integer(task, "priority", -MAX_PRIORITY, MAX_PRIORITY) if "priority" in task else 0
    return _spec(task, "id", f'{{"prompt":{encode_text(prompt)}{_options(task)}}}', priority, source)


def unknown_names(what: str, names: Iterable[str], known: Iterable[str]) -> str:
    """The reason for names nobody knows, each with the nearest known one."""
    choices = list(known)
    found = []
    for name in names:
        near = get_close_matches(name[:MAX_ID_CHARS].strip().lower(), choices, n=1)
        found.append(shown(name) + (f" (did you mean '{near[0]}'?)" if near else ""))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"unknown {what}{'s' if len(found) > 1 else ''} {', '.join(found[:5])}{more}"


def _options(task: dict[str, Any]) -> str:
    """The body's text for what is there beside the prompt, in one fixed order whatever the order in the file."""
    text = ""
    for name in ("system", "model"):
        if name in task:
            text += f',"{name}":{encode_text(_string(task, name, empty=name == "system"))}'
    if "max_tokens" in task:
        text += f',"max_tokens":{_integer(task, "max_tokens", 1, MAX_MAX_TOKENS)}'
    if "metadata" in task:
        metadata = task["metadata"]
        if type(metadata) is not dict:
            raise Reject(_wrong("metadata", "an object", metadata))
        text += f',"metadata":{encode_value(metadata, sort_keys=True)}'
    for name, check in EXTENSION_FIELDS.items():
        if name in task:
            text += f',"{name}":{encode_value(check(name, task[name]), sort_keys=True)}'
    return text


def _batch_request(task: dict[str, Any], source: str) -> TaskSpec:
    """A request of the Message Batches form; `params` is sent as it is, so only what must be there is looked at."""
    if not task.keys() <= _BATCH_FIELDS:
        extra = [key for key in task if key not in _BATCH_FIELDS]
        ours = [key for key in extra if key in _FIELDS or key in EXTENSION_FIELDS]
        if ours:
            raise Reject(f"{', '.join(ours)} not allowed next to custom_id and params: the two forms do not mix")
        raise Reject(unknown_names("field", extra, _BATCH_FIELDS))
    for name in ("custom_id", "params"):
        if name not in task:
            raise Reject(f"{name} is missing (the Message Batches form has custom_id and params)")
    params = task["params"]
    if type(params) is not dict:
        raise Reject(_wrong("params", "an object", params))
    for name in ("model", "max_tokens", "messages"):
        if name not in params:
            raise Reject(f"params.{name} is missing")
    _string(params, "model", prefix="params.")
    _integer(params, "max_tokens", 1, MAX_MAX_TOKENS, prefix="params.")
    messages = params["messages"]
    if type(messages) is not list:
        raise Reject(_wrong("params.messages", "an array", messages))
    if not messages:
        raise Reject("params.messages is empty")
    return _spec(task, "custom_id", '{"params":' + encode_value(params) + "}", 0, source)


def _spec(task: dict[str, Any], id_field: str, body: str, priority: int, source: str) -> TaskSpec:
    try:
        # A newline never stands raw in the body, so it parts body and priority without doubt.
        digest = blake2b(f"{body}\n{priority}".encode(), digest_size=16).digest()
    except UnicodeEncodeError:
        raise Reject(_lone_surrogate(task)) from None
    if id_field not in task:
        made = blake2b(body.encode(), digest_size=8).hexdigest()
        return TaskSpec(made, body, digest, priority, source, True, *_links(task))
    task_id = task[id_field]
    if type(task_id) is not str:
        raise Reject(_wrong(id_field, "a string", task_id))
    if not task_id:
        raise Reject(f"{id_field} is empty")
    if len(task_id) > MAX_ID_CHARS:
        raise Reject(f"{id_field} has {len(task_id):,} characters, at most {MAX_ID_CHARS} are allowed")
    if (not task_id.isascii() or not task_id.isprintable()) and (unsafe := _UNSAFE_ID.search(task_id)):
        raise Reject(f"{id_field} holds {_char_name(unsafe[0])} at character {unsafe.start() + 1}")
    if len(task) == 2 or not ("after" in task or "lock" in task):
        return TaskSpec(task_id, body, digest, priority, source, False)
    after, locks = _links(task)
    if task_id in after:
        raise Reject("after names the task itself")
    if task_id in map(lock_id, locks):
        raise Reject(f"lock would be named {shown(task_id)}, as the task's own")
    return TaskSpec(task_id, body, digest, priority, source, False, after, locks)


def _links(task: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the task waits for, and the resources that it needs for itself."""
    after, locks = (_names(name, task[name]) if name in task else () for name in ("after", "lock"))
    return tuple(after), tuple(locks)


def _string(holder: dict[str, Any], name: str, *, empty: bool = False, prefix: str = "") -> str:
    value = holder[name]
    if type(value) is not str:
        raise Reject(_wrong(prefix + name, "a string", value))
    if not empty and (not value or value.isspace()):
        raise Reject(f"{prefix}{name} is empty")
    return value


def _integer(holder: dict[str, Any], name: str, least: int, most: int, *, prefix: str = "") -> int:
    value = holder[name]
    if type(value) is not int:
        raise Reject(_wrong(prefix + name, "an integer", value))
    if not least <= value <= most:
        raise Reject(f"{prefix}{name} must be from {least:,} to {most:,}")
    return value


def _wrong(name: str, expected: str, value: Any) -> str:
    return f"{name} must be {expected}, found {_kind(value)}"


def _workdir(name: str, value: Any) -> str:
    if type(value) is not str:
        raise Reject(_wrong(name, "a string", value))
    if not value or value.isspace() or "\0" in value:
        raise Reject(f"{name} is no path")
    return value


def _dollars(name: str, value: Any) -> float | int:
    if type(value) not in (int, float):
        raise Reject(_wrong(name, "a number", value))
    if not 0 < value < 1e9:
        raise Reject(f"{name} must be above 0")
    number: float | int = value
    return number


def _names(name: str, value: Any) -> list[str]:
    """One name, or an array of them, as a list without repetitions; of resources in the order of their names."""
    names = [value] if type(value) is str else value
    if type(names) is not list:
        raise Reject(_wrong(name, "a string or an array of strings", value))
    most = MAX_ID_CHARS if name == "after" else MAX_RESOURCE_CHARS
    for one in names:
        if type(one) is not str:
            raise Reject(_wrong(name, "a string or an array of strings", one) + " in it")
        if not one or one.isspace():
            raise Reject(f"{name} holds an empty name")
        if len(one) > most:
            raise Reject(f"{name} holds a name of {len(one):,} characters, at most {most} are allowed")
        if unsafe := _UNSAFE_ID.search(one):
            raise Reject(f"{name} holds {_char_name(unsafe[0])} at character {unsafe.start() + 1} of a name")
    return list(dict.fromkeys(names if name == "after" else sorted(names)))


EXTENSION_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "workdir": _workdir,
    "max_cost": _dollars,
    "after": _names,
    "lock": _names,
}
"""Further fields of a task beside `prompt`: name -> check, called with the field's name and value.

A check returns the value to keep in the body or raises Reject. They follow `metadata` there, in the table's order.
"""


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _char_name(char: str) -> str:
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        return f"the lone surrogate \\u{code:04x}"
    return f"the {'line separator' if code > 0xFF else 'control character'} U+{code:04X}"


def _lone_surrogate(task: dict[str, Any]) -> str:
    for name, value in task.items():
        text = value if type(value) is str else encode_value(value)
        if found := _SURROGATE.search(text):
            return f"{name} holds {_char_name(found[0])}, which is no character"
    return "the task holds a lone surrogate, which is no character"


def _known_fields() -> list[str]:
    return sorted(_FIELDS | EXTENSION_FIELDS.keys() | _BATCH_FIELDS)
