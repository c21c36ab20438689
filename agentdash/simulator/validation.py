"""A request body, checked as the public API documents it: what it asks for, or the text of its 400."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

_KNOWN: Final = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "system",
        "metadata",
        "stop_sequences",
        "stream",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "service_tier",
        "container",
        "context_management",
        "mcp_servers",
        "output_config",
        "output_format",
        "inference_geo",
        "cache_control",
        "speed",
        "betas",
        "diagnostics",
        "compaction",
        "billing_policy",
        "fallbacks",
        "fallback_credit_token",
        "thread",
        "user_profile_id",
        "workspace_id",
    }
)
_FIELD_REQUIRED: Final = "Field required"
_REMINDER: Final = "<system-reminder>"  # an agent program's own block in a user message


@dataclass(slots=True)
class ParsedRequest:
    """What a body asks for. With an `error` the other fields hold what could still be read.

    `prompt` is the last user message; `task` the last one that holds no tool result, `tool_results` how many messages
    with results have come since.
    """

    prompt: str = ""
    task: str = ""
    tool_results: int = 0
    marker: str | None = None
    stream: bool = False
    model: str = ""
    max_tokens: int = 0
    input_tokens: int = 0
    tools: tuple[dict[str, Any], ...] = ()
    forced_tool: str | None = None
    must_use_tool: bool = False
    error: str | None = None

    @property
    def has_tool_result(self) -> bool:
        return self.tool_results > 0


def parse(body: bytes, *, counting: bool = False) -> ParsedRequest:
    """Read a body of `/v1/messages`, or with `counting` of `/v1/messages/count_tokens`."""
    parsed = ParsedRequest()
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        parsed.error = f"The request body is not valid JSON: {error}"
        return parsed
    if not isinstance(data, dict):
        parsed.error = "The request body is not a JSON object"
        return parsed
    parsed.stream = data.get("stream") is True
    metadata = data.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("user_id"), str):
        parsed.marker = metadata["user_id"][:256] or None
    messages = data.get("messages")
    if isinstance(messages, list):
        _read_messages(parsed, messages)
    parsed.error = _first_error(data, counting)
    if parsed.error is None:
        _read_rest(parsed, data)
    return parsed


def _read_messages(parsed: ParsedRequest, messages: list[Any]) -> None:
    """The prompt is the last user message's text; tokens are counted over all of them."""
    characters = 0
    for message in messages:
        if not isinstance(message, dict):
            continue
        content = message.get("content")
        length, text, has_tool_result = (len(content), content, False) if isinstance(content, str) else _read(content)
        characters += length
        if message.get("role") != "user" or (length and not text and not has_tool_result):
            continue
        parsed.prompt = text
        if has_tool_result:
            parsed.tool_results += 1
        else:
            parsed.task, parsed.tool_results = text, 0
    parsed.input_tokens = 4 * len(messages) + 3 + (characters + 3) // 4


def _read(content: Any) -> tuple[int, str, bool]:
    """How long the texts of a list of blocks are, what they say apart from an agent's reminders to the model, and
    whether one is a tool's result."""
    if not isinstance(content, list):
        return 0, "", False
    length = 0
    parts: list[str] = []
    has_tool_result = False
    for block in content:
        if not isinstance(block, dict):
            continue
        text = block.get("text")
        if block.get("type") == "tool_result":
            has_tool_result = True
            inner = block.get("content")
            text = inner if isinstance(inner, str) else _read(inner)[1]
        if isinstance(text, str):
            length += len(text) + (length > 0)
            if not text.startswith(_REMINDER):
                parts.append(text)
    return length, "\n".join(parts), has_tool_result


def _read_rest(parsed: ParsedRequest, data: dict[str, Any]) -> None:
    parsed.model = data["model"]
    parsed.max_tokens = data.get("max_tokens") or 0
    if system := data.get("system"):
        text = system if isinstance(system, str) else _read(system)[1]
        parsed.input_tokens += (len(text) + 3) // 4
    if tools := data.get("tools"):
        parsed.tools = tuple(tools)
        parsed.input_tokens += len(json.dumps(tools)) // 4
        choice = data.get("tool_choice")
        if isinstance(choice, dict):
            parsed.must_use_tool = choice.get("type") in ("any", "tool")
            parsed.forced_tool = choice.get("name") if choice.get("type") == "tool" else None


def _first_error(data: dict[str, Any], counting: bool) -> str | None:
    return (
        _required_error(data, counting)
        or _messages_error(data["messages"])
        or _optional_error(data)
        or next((f"{name}: Extra inputs are not permitted" for name in data if name not in _KNOWN), None)
    )


def _required_error(data: dict[str, Any], counting: bool) -> str | None:
    if "model" not in data:
        return f"model: {_FIELD_REQUIRED}"
    if not isinstance(data["model"], str):
        return "model: Input should be a valid string"
    if not data["model"]:
        return "model: String should have at least 1 character"
    if not counting:
        if "max_tokens" not in data:
            return f"max_tokens: {_FIELD_REQUIRED}"
        if type(data["max_tokens"]) is not int:
            return "max_tokens: Input should be a valid integer"
        if data["max_tokens"] < 1:
            return "max_tokens: Input should be greater than or equal to 1"
    return f"messages: {_FIELD_REQUIRED}" if "messages" not in data else None


def _messages_error(messages: Any) -> str | None:
    if not isinstance(messages, list):
        return "messages: Input should be a valid list"
    if not messages:
        return "messages: at least one message is required"
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        if not isinstance(message, dict):
            return f"{where}: Input should be a valid dictionary"
        for name in ("role", "content"):
            if name not in message:
                return f"{where}.{name}: {_FIELD_REQUIRED}"
        if message["role"] not in ("user", "assistant", "system"):
            return f"{where}.role: Input should be 'user' or 'assistant'"
        if message["role"] == "system" and message["content"] == []:
            continue  # the beta that sets options of a turn has messages with nothing else
        if error := _content_error(message["content"], where):
            return error
    return None


def _content_error(content: Any, where: str) -> str | None:
    if isinstance(content, str):
        return None if content else f"{where}: user messages must have non-empty content"
    if not isinstance(content, list):
        return f"{where}.content: Input should be a valid list"
    if not content:
        return f"{where}: user messages must have non-empty content"
    for number, block in enumerate(content):
        if not isinstance(block, dict):
            return f"{where}.content.{number}: Input should be a valid dictionary"
        if not isinstance(block.get("type"), str):
            return f"{where}.content.{number}.type: {_FIELD_REQUIRED}"
        if block["type"] == "text" and not isinstance(block.get("text"), str):
            return f"{where}.content.{number}.text.text: {_FIELD_REQUIRED}"
    return None


def _optional_error(data: dict[str, Any]) -> str | None:
    if not isinstance(data.get("stream", False), bool):
        return "stream: Input should be a valid boolean"
    if not isinstance(data.get("system", ""), str | list):
        return "system: Input should be a valid string"
    metadata = data.get("metadata")
    if metadata is not None:
        if not isinstance(metadata, dict):
            return "metadata: Input should be a valid dictionary"
        user_id = metadata.get("user_id")
        if user_id is not None and not isinstance(user_id, str):
            return "metadata.user_id: Input should be a valid string"
        if user_id is not None and len(user_id) > 256:
            return "metadata.user_id: String should have at most 256 characters"
    temperature = data.get("temperature", 1)
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        return "temperature: Input should be a valid number"
    if not 0 <= temperature <= 1:
        return "temperature: range: 0..1"
    return _tools_error(data.get("tools"))


def _tools_error(tools: Any) -> str | None:
    if tools is None:
        return None
    if not isinstance(tools, list):
        return "tools: Input should be a valid list"
    for number, tool in enumerate(tools):
        if not isinstance(tool, dict):
            return f"tools.{number}: Input should be a valid dictionary"
        if not isinstance(tool.get("name"), str):
            return f"tools.{number}.custom.name: {_FIELD_REQUIRED}"
    return None
