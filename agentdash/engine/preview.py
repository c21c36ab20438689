"""The beginning of a task's prompt, read from the beginning of its body: a list must not parse megabytes for a line.

The body is JSON, but cut anywhere. What is there is read as far as it goes, and an end in the middle is no error.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

PREVIEW_CHARS = 200
PREVIEW_BYTES = 2048
"""Enough for so many characters of a prompt in its longest writing (`\\u001b`), with what stands before it."""
SEARCHED_BYTES = 16384
"""Where the prompt is not the first field: how far it is looked for."""
PROMPT_FIRST = '{"prompt":"'
"""How the body of a task with a prompt begins, as the intake writes it."""

_STRING = re.compile(r'(?:[^"\\]+|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])*')
_SCALAR = re.compile(r"[^\s,\]}]*")
_BLANKS = re.compile(r"[ \t\r\n]*")
_MAX_DEPTH = 110  # the intake takes a hundred levels


def preview(text: str) -> str:
    """The first characters of the prompt, where `text` is a body or the beginning of one.

    The text of the first user message for the Message Batches form, and the JSON itself for a task of another kind.
    """
    if text.startswith(PROMPT_FIRST):
        return _string(text, len(PROMPT_FIRST))[0][:PREVIEW_CHARS]
    return (_prompt(beginning_of(text)) or text)[:PREVIEW_CHARS]


def beginning_of(text: str) -> Any:
    """The JSON value that `text` is the beginning of, with as much in it as can be read."""
    reader = _Reader(text)
    try:
        return reader.value(0)
    except _EndError as end:
        return end.value


def _prompt(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    if isinstance(prompt := body.get("prompt"), str):
        return prompt
    params = body.get("params")
    messages = params.get("messages") if isinstance(params, dict) else None
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role", "user") == "user":
            return _content(message.get("content"))
    return ""


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") for block in blocks if isinstance(block, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def _string(text: str, start: int) -> tuple[str, int, bool]:
    """The string whose first character is at `start`, where it ends, and whether its end is there."""
    found = _STRING.match(text, start)
    end = found.end() if found else start
    value: str = json.loads(f'"{text[start:end]}"', strict=False)
    whole = text.startswith('"', end)
    if not whole and value and "\ud800" <= value[-1] <= "\udbff":
        value = value[:-1]  # the first half of a pair whose second is cut off
    return value, end + whole, whole


class _EndError(Exception):
    """The text ended, or went on in no way JSON does, inside `value`."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class _Reader:
    """Reads JSON from left to right. Where the text ends each level hands up what it has."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self, depth: int) -> Any:
        first = self._next()
        if depth > _MAX_DEPTH:
            raise _EndError(None)
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        if first == '"':
            return self._text_value()
        return self._scalar()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._at += 1
        if self._next(found) == "}":
            self._at += 1
            return found
        while True:
            if self._next(found) != '"':
                raise _EndError(found)
            try:
                key = self._text_value()
            except _EndError:
                raise _EndError(found) from None
            if self._next(found) != ":":
                raise _EndError(found)
            self._at += 1
            try:
                found[key] = self.value(depth + 1)
            except _EndError as end:
                found[key] = end.value
                self._end(found)
            if self._closes("}", found):
                return found

    def _array(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self._at += 1
        if self._next(found) == "]":
            self._at += 1
            return found
        while True:
            try:
                found.append(self.value(depth + 1))
            except _EndError as end:
                found.append(end.value)
                self._end(found)
            if self._closes("]", found):
                return found

    def _closes(self, bracket: str, found: Any) -> bool:
        """Step over the comma (False) or the closing bracket (True)."""
        after = self._next(found)
        if after not in (",", bracket):
            raise _EndError(found)
        self._at += 1
        return after == bracket

    def _text_value(self) -> str:
        value, self._at, whole = _string(self._text, self._at + 1)
        if not whole:
            raise _EndError(value)
        return value

    def _scalar(self) -> Any:
        found = _SCALAR.match(self._text, self._at)
        word = found[0] if found else ""
        self._at += len(word)
        try:
            return json.loads(word)
        except ValueError:
            raise _EndError(None) from None

    def _next(self, found: Any = None) -> str:
        """The next character that is not blank."""
        blanks = _BLANKS.match(self._text, self._at)
        self._at = blanks.end() if blanks else self._at
        if self._at >= len(self._text):
            raise _EndError(found)
        return self._text[self._at]

    def _end(self, found: Any) -> NoReturn:
        raise _EndError(found) from None
