"""How a conversation between a model and its tools is shown while a task runs: a line for each call and each result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_LONGEST: Final = 300


def shown(block: Mapping[str, Any]) -> str:
    """A content block of the Messages API as text to show; empty for what is not shown."""
    kind = block.get("type")
    if kind == "text":
        return f"{_text(block.get('text'))}\n"
    if kind == "tool_use":
        given = block.get("input")
        words = next((v for v in given.values() if isinstance(v, str)), "") if isinstance(given, Mapping) else ""
        return f"▸ {short(block.get('name'))} {short(words)}\n"
    if kind == "tool_result":
        content = block.get("content")
        parts = content if isinstance(content, list) else [content]
        words = " ".join(_text(part.get("text") if isinstance(part, Mapping) else part) for part in parts)
        return f"  {'✖ ' if block.get('is_error') else ''}{short(words)}\n"
    return ""


def short(value: Any) -> str:
    """Text as one line of at most 300 characters; empty for what is no text."""
    words = " ".join(_text(value)[: 4 * _LONGEST].split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
