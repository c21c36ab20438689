"""What an answer cost, from the maintained price list of `genai-prices`; an unknown model is never guessed."""

from __future__ import annotations

from functools import lru_cache

from agentdash.model import Usage


def cost_usd(model: str, usage: Usage) -> float | None:
    """The price of one answer in US dollars, None where the model's price is not known."""
    return _cost(
        model,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_creation_input_tokens,
        usage.cache_read_input_tokens,
    )


def load_prices() -> None:
    """Read the price list, a tenth of a second's work: done in a thread before the first answer asks for it."""
    cost_usd("claude-haiku-5-5", Usage(1, 1))


@lru_cache(maxsize=4096)
def _cost(model: str, fresh: int, output: int, cache_write: int, cache_read: int) -> float | None:
    from genai_prices import Usage as PricedUsage  # late: only runs that cost something need the list
    from genai_prices import calc_price

    try:
        # The API counts cached input apart from `input_tokens`; the price list counts it as a part of all input.
        priced = PricedUsage(
            input_tokens=fresh + cache_write + cache_read,
            output_tokens=output,
            cache_write_tokens=cache_write,
            cache_read_tokens=cache_read,
        )
        return float(calc_price(priced, model, provider_id="anthropic").total_price)
    except (LookupError, ValueError):  # an unknown model, or counts that no API should send
        return None
