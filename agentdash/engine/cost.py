"""What a request takes from each limit of its pool."""

from __future__ import annotations

from dataclasses import dataclass

from agentdash.engine.limitheaders import INPUT_TOKENS, OUTPUT_TOKENS, REQUESTS

_MEMORY = 0.05
"""How much of one more request goes into an average of many."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request will take from each limit, as estimated before it is sent. Tokens; requests are always one."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0

    def of(self, limit: str) -> float:
        """In the units of a limit."""
        if limit == REQUESTS:
            return 1.0
        if limit == INPUT_TOKENS:
            return self.input_tokens
        if limit == OUTPUT_TOKENS:
            return self.output_tokens
        return self.input_tokens + self.output_tokens

    def towards(self, other: Cost) -> Cost:
        """This cost as an average that has met one more."""
        return Cost(
            self.input_tokens + _MEMORY * (other.input_tokens - self.input_tokens),
            self.output_tokens + _MEMORY * (other.output_tokens - self.output_tokens),
        )


ONE_REQUEST = Cost()
