"""What the headers of an answer tell of the limits it counted against. Pure: headers in, numbers out.

The names are those of the public API's documentation ("Rate limits", response headers): for each of requests, input
tokens, output tokens and tokens a limit a minute, what remains of it, and when it will be full again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from agentdash.engine.sanitising import clean_name

REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS, TOKENS = "requests", "input_tokens", "output_tokens", "tokens"
_HEADERS = {
    name: f"anthropic-ratelimit-{name.replace('_', '-')}-" for name in (REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS, TOKENS)
}
_MOST = 1e12
_LEAST = 0.01
"""Limits a minute below this one cannot be meant: one request in more than an hour and a half."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit: `per_minute`, and what `remaining` of it was left when the answer was made (None: not said)."""

    per_minute: float
    remaining: float | None = None


@dataclass(frozen=True, slots=True)
class LimitReading:
    """Everything one answer told: whose limits they are, and where each of them stands."""

    organization: str | None = None
    workspace: str | None = None
    standings: Mapping[str, Standing] | None = None

    @property
    def advertised(self) -> tuple[tuple[str, float], ...]:
        """The limits a minute, without what is left of them: two keys with equal ones share them."""
        return tuple(sorted((name, standing.per_minute) for name, standing in (self.standings or {}).items()))


NOTHING_READ = LimitReading()


def read_limits(headers: Mapping[str, str]) -> LimitReading:
    """Read the limit headers. What is missing or no number is left out; nothing is ever raised.

    `tokens` says the same once more where input and output tokens have limits of their own, and is left out then. The
    `reset` times are not read: they are rounded, another machine's clock, and follow from the other two.
    """
    told = _ours(headers)
    organization = _name(told.get("anthropic-organization-id"))
    standings: dict[str, Standing] = {}
    for name, prefix in _HEADERS.items():
        limit = _number(told.get(f"{prefix}limit"))
        if limit is not None and limit >= _LEAST and not (name == TOKENS and INPUT_TOKENS in standings):
            standings[name] = Standing(limit, _number(told.get(f"{prefix}remaining")))
    if not standings and organization is None:
        return NOTHING_READ
    return LimitReading(organization, _name(told.get("anthropic-workspace-id")), standings)


def _ours(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Those of an answer's headers that tell of limits: the SDK's mapping walks all of them at each question."""
    raw: list[tuple[bytes, bytes]] | None = getattr(headers, "raw", None)
    if raw is None:
        return headers
    prefix = b"anthropic-"
    named = ((name.lower(), value) for name, value in raw)
    return {n.decode("latin-1"): value.decode("latin-1") for n, value in named if n.startswith(prefix)}


@lru_cache(maxsize=256)
def _name(value: str | None) -> str | None:
    """Safe to keep and show; the few that there are come with every answer."""
    return clean_name(value)


def _number(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= _MOST else None
