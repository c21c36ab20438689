"""What an answer cost; an unknown model has no price."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.pricing import cost_usd
from agentdash.model import Usage

MODEL = "claude-sonnet-4-5"


def test_the_list_price() -> None:
    assert cost_usd(MODEL, Usage(10_000, 0)) == pytest.approx(0.03)
    assert cost_usd(MODEL, Usage(0, 10_000)) == pytest.approx(0.15)
    assert cost_usd(MODEL, Usage()) == 0


def test_cached_input_has_prices_of_its_own() -> None:
    assert cost_usd(MODEL, Usage(0, 0, 10_000, 0)) == pytest.approx(0.0375)
    assert cost_usd(MODEL, Usage(0, 0, 0, 10_000)) == pytest.approx(0.003)
    assert cost_usd(MODEL, Usage(1000, 1000, 1000, 1000)) == pytest.approx(0.003 + 0.015 + 0.00375 + 0.0003)


@pytest.mark.parametrize("model", ["no-such-model", "", "None", "gpt-4o", "\x00", "x" * 1000])
def test_an_unknown_model_is_not_guessed(model: str) -> None:
    assert cost_usd(model, Usage(1000, 1000)) is None


@given(st.text(max_size=30), *[st.integers(-5, 10**12)] * 4)
def test_nothing_raises(model: str, fresh: int, output: int, write: int, read: int) -> None:
    for name in (model, MODEL):
        cost = cost_usd(name, Usage(fresh, output, write, read))
        assert cost is None or cost >= 0
