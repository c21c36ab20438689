"""Puts a streamed answer together again from the events of the Messages API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentdash.engine.failures import ServiceTroubleError

_APPENDED = {
    "text_delta": "text",
    "input_json_delta": "partial_json",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}
"""Delta type → the field that carries its piece."""

_PARTS = frozenset(
    {"message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"}
)
"""The events that a message is made of."""

_TARGET = {"input_json_delta": "input"}
"""Where the pieces end up, if not in the field of the same name."""

_MOST_BLOCKS = 10_000
"""A block takes a multiple of its bytes in memory."""


class MessageAssembler:
    """Feed it every event; `message` is the answer once `complete`.

    Events and deltas it does not know are passed over, as the API asks of its clients. Raises `ServiceTroubleError`
    for events that contradict each other.
    """

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.complete = False
        self._is_torn = False
        """Whether a call's input is no JSON: it was cut off, or is broken."""
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def feed(self, event: Any) -> str:
        """Take one event; returns the text it added, for showing."""
        try:
            return self._feed(event)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError) as error:
            raise ServiceTroubleError("garbled", f"the stream makes no sense: {type(error).__name__}") from error

    def finish(self) -> dict[str, Any]:
        """The whole message. Raises `ServiceTroubleError` if the stream was cut: it ended without saying so."""
        if not self.complete or self.message.get("stop_reason") is None:
            raise ServiceTroubleError("cut", "the stream ended before the message did")
        if self._is_torn and self.message["stop_reason"] != "max_tokens":
            raise ServiceTroubleError("garbled", "the input of a tool call is not JSON")
        return self.message

    def _feed(self, event: Mapping[str, Any]) -> str:
        kind = event["type"]
        if self.complete and kind in _PARTS:
            raise ValueError("it goes on behind its end")
        if kind == "content_block_delta":
            return self._delta(event["index"], event["delta"])
        if kind == "message_start":
            if self.message:
                raise ValueError("it begins twice")
            self.message = dict(event["message"])
            self.message["content"] = list(self.message.get("content") or [])
        elif kind == "content_block_start":
            block = dict(event["content_block"])
            if event["index"] != len(self.message["content"]):
                raise IndexError(event["index"])
            if event["index"] >= _MOST_BLOCKS:
                raise ServiceTroubleError("too large", f"the answer has more than {_MOST_BLOCKS} content blocks")
            self.message["content"].append(block)
            return str(block.get("text") or "")
        elif kind == "content_block_stop":
            self._close_block(event["index"])
        elif kind == "message_delta":
            self.message.update(event["delta"])
            usage = event.get("usage") or {}
            self.message["usage"] = dict(self.message.get("usage") or {}) | {
                name: value for name, value in usage.items() if value is not None
            }
        elif kind == "message_stop":
            for index in {index for index, _ in self._pieces}:  # blocks whose end was left out
                self._close_block(index)
            self.complete = True
        return ""

    def _delta(self, index: int, delta: Mapping[str, Any]) -> str:
        if not 0 <= index < len(self.message["content"]):
            raise IndexError(index)
        kind = delta["type"]
        field = _APPENDED.get(kind)
        if field is not None:
            piece: str = delta[field]
            self._pieces.setdefault((index, kind), []).append(piece)
            return piece if kind == "text_delta" else ""
        if kind == "citations_delta":
            block = self.message["content"][index]
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        return ""

    def _close_block(self, index: int) -> None:
        block = self.message["content"][index]
        for kind, field in _APPENDED.items():
            pieces = self._pieces.pop((index, kind), None)
            if pieces is None:
                continue
            text = "".join(pieces)
            if kind == "input_json_delta":
                try:
                    block[_TARGET[kind]] = json.loads(text) if text else {}
                except ValueError:  # where it is the answer's bound that cut it off, the answer is whole all the same
                    self._is_torn = True
            else:
                block[field] = (block.get(field) or "") + text
