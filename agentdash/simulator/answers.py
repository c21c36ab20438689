"""Believable answers: the same prompt and seed always give the same English text, so runs can be compared."""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass
from typing import Any, Final

_SENTENCES: Final = (
    "The short answer is yes, with two conditions that are easy to overlook.",
    "Most of the effect comes from a small number of cases, and those are the ones to look at first.",
    "The timeline shows a quiet first hour, then a sharp rise that nobody was paged for.",
    "Costs fell by about a fifth once the retries were capped.",
    "The original design assumed a single writer, and that assumption no longer holds.",
    "Before changing anything, measure the current behaviour for at least one full day.",
    "The numbers in the second table do not add up to the total in the first one.",
    "A smaller change would have the same benefit and could be undone in minutes.",
    "Customers noticed the delay long before the dashboards did.",
    "There is no evidence that the upgrade itself was the cause.",
    "The likely cause is a cache that was never invalidated after the migration.",
    "It would help to write down who decides when the two goals conflict.",
    "In practice the limit is reached on Monday mornings and almost never at other times.",
    "The team recovered by moving traffic away and restarting the workers one by one.",
    "Two of the five proposals can be combined without extra work.",
    "The risk is small but not zero, because the backup had not been tested this year.",
    "Response times stayed flat while the load doubled, which is a good sign.",
    "A reader new to the topic should start with the appendix.",
    "The main open question is how long the old format has to be supported.",
    "Three things went well: the alert was clear, the runbook was current, and the rollback was quick.",
    "Error rates returned to normal after twenty minutes.",
    "The survey covers four regions, and the results differ less than expected.",
    "Where the text says always, it means whenever the queue is not empty.",
    "As a next step, agree on one owner and one date.",
    "The contract allows either side to leave with ninety days of notice.",
    "On balance, the second option is simpler to operate and only slightly slower.",
    "The change is safe to deploy in any order, since both versions read both formats.",
    "None of the tests covered an empty input, and that is where it failed.",
    "The estimate is rough; a factor of two in either direction would not be surprising.",
    "Storage grows by roughly three gigabytes a week at the present rate.",
    "The simplest explanation fits all of the observations except one.",
    "That exception turned out to be a clock that was four minutes ahead.",
    "Training new colleagues took longer than building the tool.",
    "Demand is seasonal, so a single month says little about the year.",
    "The report recommends keeping the weekly review and dropping the daily one.",
    "If only one action is taken, it should be this one.",
)
_OPENINGS: Final = (
    "Here is a summary of “{topic}”.",
    "About “{topic}”: the main points are these.",
    "Looking at “{topic}”, a few things stand out.",
    "In brief, on “{topic}”:",
)

_PLACE: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says. `tool` is a `tool_use` block without its id."""

    text: str
    stop_reason: str
    output_tokens: int
    tool: dict[str, Any] | None = None


def count_tokens(text: str) -> int:
    """About four characters a token, at least one."""
    return max(1, (len(text) + 3) // 4)


class Answerer:
    """Composes answers; holds nothing but the seeded order of its sentences."""

    def __init__(self, seed: int, tokens: tuple[int, int]) -> None:
        self._seed = seed & 0xFFFFFFFF
        self._low, high = tokens
        self._spread = high - self._low + 1
        self._sentences = list(_SENTENCES)
        random.Random(seed).shuffle(self._sentences)

    def _digest(self, prompt: str) -> int:
        return zlib.crc32(prompt.encode("utf-8", "surrogatepass"), self._seed)

    def compose(self, prompt: str, max_tokens: int, tokens: int | None = None) -> Answer:
        """A text of about `tokens` tokens (default: drawn from the configured range by the prompt)."""
        digest = self._digest(prompt)
        wanted = 4 * (tokens or self._low + digest % self._spread)
        parts = [_OPENINGS[digest % len(_OPENINGS)].format(topic=_topic(prompt))]
        length = len(parts[0])
        count = len(self._sentences)
        position = (digest >> 8) % count
        while length < wanted:
            sentence = self._sentences[position % count]
            parts.append(sentence)
            length += len(sentence) + 1
            position += 1
        text = " ".join(parts)
        if length > 4 * max_tokens:
            return Answer(text[: 4 * max_tokens], "max_tokens", max_tokens)
        return Answer(text, "end_turn", count_tokens(text))

    def call_tool(self, prompt: str, tools: tuple[dict[str, Any], ...], name: str | None) -> Answer:
        """A sentence, then a call of the tool called `name` (default: one chosen by the prompt)."""
        digest = self._digest(prompt)
        tool = next((tool for tool in tools if tool["name"] == name), tools[digest % len(tools)])
        return _call(tool["name"], _fill(tool.get("input_schema"), _topic(prompt)))

    def play(self, name: str, scripted: dict[str, Any], groups: dict[str, str]) -> Answer:
        """A sentence, then the call of a script, with `groups` put in."""
        return _call(name, _put_in(scripted, groups))


def _call(name: str, arguments: Any) -> Answer:
    text = f"I'll use {name} for this."
    block = {"type": "tool_use", "name": name, "input": arguments}
    return Answer(text, "tool_use", count_tokens(text) + count_tokens(str(arguments)) + 20, block)


def _put_in(value: Any, groups: dict[str, str]) -> Any:
    """`value` with `{name}` in its strings replaced for each name in `groups`; other braces stay as they are."""
    if isinstance(value, dict):
        return {name: _put_in(inner, groups) for name, inner in value.items()}
    if isinstance(value, list):
        return [_put_in(inner, groups) for inner in value]
    if isinstance(value, str):
        return _PLACE.sub(lambda found: groups.get(found[1], found[0]), value)
    return value


def _topic(prompt: str) -> str:
    return " ".join(prompt[:80].split())[:60]


def _fill(schema: Any, topic: str, depth: int = 0) -> Any:
    """A small value of the shape a JSON schema asks for."""
    if not isinstance(schema, dict) or depth > 5:
        return {}
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        properties = schema.get("properties")
        wanted = properties if isinstance(properties, dict) else {}
        return {name: _fill(inner, topic, depth + 1) for name, inner in wanted.items()}
    if kind == "array":
        return [_fill(schema["items"], topic, depth + 1)] if "items" in schema else []
    return {"string": topic, "integer": 3, "number": 1.5, "boolean": True}.get(kind)
