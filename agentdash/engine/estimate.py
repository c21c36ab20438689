"""How many tokens a request will take, before it is sent: from its characters, corrected by what answers said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentdash.engine.cost import Cost
from agentdash.model import Usage

_TOKENS_A_CHARACTER = 0.27
_FRAME_TOKENS = 10
_FIRST_OUTPUT = 500.0
_MEMORY = 0.1
"""How much of a new answer goes into what is remembered."""
_FILE_CHARACTERS = 6000
"""What an image or a document counts, whose data says nothing about its tokens."""
_MOST_RATIO = 10.0


@dataclass(frozen=True, slots=True)
class RequestSize:
    """What is known of a request before it is sent: the characters of its texts, and the bound of its answer."""

    model: str = ""
    characters: int = 0
    max_tokens: int | None = None


class TokenEstimator:
    """Learns, for each model, the tokens a character and the usual length of an answer."""

    def __init__(self) -> None:
        self._ratio: dict[str, float] = {}
        self._output: dict[str, float] = {}

    def cost(self, size: RequestSize) -> Cost:
        """What a request of this size should take."""
        ratio = self._ratio.get(size.model, _TOKENS_A_CHARACTER)
        output = self._output.get(size.model, _FIRST_OUTPUT)
        if size.max_tokens is not None:
            output = min(output, size.max_tokens)
        return Cost(_FRAME_TOKENS + ratio * size.characters, output)

    def learn(self, size: RequestSize, usage: Usage | None) -> None:
        """An answer told what its request took. Long requests say more of the ratio than short ones."""
        if usage is None:
            return
        taken = counted_input(usage)
        if size.characters > 0 and taken > 0:
            ratio = min(_MOST_RATIO, max(0.0, taken - _FRAME_TOKENS) / size.characters)
            known = self._ratio.get(size.model)
            weight = min(1.0, size.characters / 400) * (1.0 if known is None else _MEMORY)
            known = _TOKENS_A_CHARACTER if known is None else known
            self._ratio[size.model] = known + weight * (ratio - known)
        known = self._output.get(size.model)
        output = float(usage.output_tokens)
        self._output[size.model] = output if known is None else known + _MEMORY * (output - known)


def counted_input(usage: Usage) -> int:
    """The input tokens that count against a limit: those read from the cache do not ("Cache-aware ITPM")."""
    return usage.input_tokens + usage.cache_creation_input_tokens


def characters_of(value: Any) -> int:
    """The characters of all texts in a request's JSON; the data of an image or a document counts a fixed number."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        if value.get("type") == "base64":
            return _FILE_CHARACTERS
        return sum(characters_of(part) for part in value.values())
    if isinstance(value, list | tuple):
        return sum(characters_of(part) for part in value)
    return 0
