"""How many tokens a request is thought to take before it is sent."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.cost import Cost
from agentdash.engine.estimate import RequestSize, TokenEstimator, characters_of, counted_input
from agentdash.model import Usage


def test_before_the_first_answer_it_is_about_four_characters_a_token() -> None:
    cost = TokenEstimator().cost(RequestSize("m", 40_000))
    assert 9_000 < cost.input_tokens < 14_000
    assert cost.output_tokens > 100


def test_an_answer_is_never_thought_longer_than_its_bound() -> None:
    assert TokenEstimator().cost(RequestSize("m", 100, 20)).output_tokens == 20
    assert TokenEstimator().cost(RequestSize("m", 100, None)).output_tokens > 20


def test_an_empty_request_takes_a_little() -> None:
    assert 0 < TokenEstimator().cost(RequestSize()).input_tokens < 50


def test_it_learns_what_the_characters_of_these_texts_take() -> None:
    """Texts of a language whose characters are a token each, of any length."""
    estimator, rng = TokenEstimator(), random.Random(0)
    for _ in range(50):
        characters = rng.randint(500, 20_000)
        estimator.learn(RequestSize("m", characters), Usage(int(characters * rng.uniform(0.9, 1.1)), 80))
    cost = estimator.cost(RequestSize("m", 10_000, 500))
    assert cost.input_tokens == pytest.approx(10_000, rel=0.1)
    assert cost.output_tokens == pytest.approx(80)


def test_models_are_learned_apart() -> None:
    estimator = TokenEstimator()
    estimator.learn(RequestSize("a", 10_000), Usage(10_000, 10))
    assert estimator.cost(RequestSize("b", 10_000)) == TokenEstimator().cost(RequestSize("b", 10_000))
    assert estimator.cost(RequestSize("a", 10_000)) != estimator.cost(RequestSize("b", 10_000))


def test_one_odd_answer_does_not_throw_it_over() -> None:
    estimator = TokenEstimator()
    for _ in range(50):
        estimator.learn(RequestSize("m", 4_000), Usage(1_000, 100))
    estimator.learn(RequestSize("m", 4_000), Usage(4_000, 4_000))
    cost = estimator.cost(RequestSize("m", 4_000))
    assert cost.input_tokens < 1_500
    assert cost.output_tokens < 600


def test_a_short_request_says_little_of_the_ratio() -> None:
    estimator = TokenEstimator()
    estimator.learn(RequestSize("m", 40_000), Usage(10_010, 10))
    for _ in range(10):
        estimator.learn(RequestSize("m", 2), Usage(300, 10))  # tools and images that nobody counted
    assert estimator.cost(RequestSize("m", 40_000)).input_tokens < 30_000


def test_an_answer_without_usage_teaches_nothing() -> None:
    estimator = TokenEstimator()
    estimator.learn(RequestSize("m", 400), None)
    assert estimator.cost(RequestSize("m", 400)) == TokenEstimator().cost(RequestSize("m", 400))


def test_what_the_cache_gave_does_not_count_and_what_went_into_it_does() -> None:
    assert counted_input(Usage(10, 5, cache_creation_input_tokens=200, cache_read_input_tokens=5_000)) == 210


def test_characters_are_those_of_texts_wherever_they_stand() -> None:
    body = {
        "system": "12345",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x" * 100}, ("ab", "cd")]},
            {"role": "user", "content": "y" * 20},
        ],
        "max_tokens": 500,
        "stream": True,
        "stop": None,
    }
    assert 129 <= characters_of(body) <= 150  # the names of roles and types are a few more
    assert characters_of(None) == characters_of(17) == 0


def test_an_image_counts_the_same_whatever_its_size() -> None:
    small = {"type": "base64", "media_type": "image/png", "data": "x" * 10}
    large = small | {"data": "x" * 1_000_000}
    assert characters_of(small) == characters_of(large) > 1_000


def test_a_cost_in_the_units_of_each_limit() -> None:
    cost = Cost(300, 50)
    assert [cost.of(name) for name in ("requests", "input_tokens", "output_tokens", "tokens")] == [1, 300, 50, 350]


@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**6)),
        max_size=30,
    ),
    st.integers(0, 10**7),
)
def test_whatever_was_answered_an_estimate_can_be_reckoned_with(
    answers: list[tuple[int, int, int]], characters: int
) -> None:
    estimator = TokenEstimator()
    for size, tokens, output in answers:
        estimator.learn(RequestSize("m", size), Usage(tokens, output))
    cost = estimator.cost(RequestSize("m", characters, 1_000))
    assert 0 < cost.input_tokens <= 11 * characters + 100 < math.inf
    assert 0 <= cost.output_tokens <= 1_000


@pytest.mark.parametrize("tokens", [9, 300])
def test_a_first_answer_to_two_characters_says_little_of_forty_thousand(tokens: int) -> None:
    estimator = TokenEstimator()
    estimator.learn(RequestSize("m", 2), Usage(tokens, 5))
    assert 5_000 < estimator.cost(RequestSize("m", 40_000)).input_tokens < 50_000
