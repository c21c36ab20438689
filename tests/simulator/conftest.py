"""A clock that tests move, and one request in each of two ways: raw, and through the official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import anthropic
import pytest
from anthropic import DefaultAioHttpClient

KEY = "sim-key-1-0000"


class FakeClock:
    """Time that stands still until it is moved; sleeping moves it."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return 1_795_000_000.0 + self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += max(0.0, seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session


@pytest.fixture
async def sdk() -> AsyncIterator[Callable[..., anthropic.AsyncAnthropic]]:
    opened: list[anthropic.AsyncAnthropic] = []

    def client(base_url: str, key: str = KEY) -> anthropic.AsyncAnthropic:
        made = anthropic.AsyncAnthropic(
            api_key=key, base_url=base_url, max_retries=0, timeout=5.0, http_client=DefaultAioHttpClient()
        )
        opened.append(made)
        return made

    yield client
    for made in opened:
        await made.close()


def _body(prompt: str = "Summarise the report", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": "claude-fable-5-2", "max_tokens": 1024, "messages": messages, **fields}


@pytest.fixture
def body() -> Callable[..., dict[str, Any]]:
    return _body
