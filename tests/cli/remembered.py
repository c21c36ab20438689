"""Three made-up keys, and a project that remembers something of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.store import CredentialRecord, SqliteTaskStore
from agentdash.secret import Secret

KEYS = [f"made-up-key-number-{n}-abcd{n}" for n in (1, 2, 3)]
MARKS = [Secret(key).fingerprint for key in KEYS]
FAR = 4_000_000_000.0
"""A day in 2096: later than any test."""


def set_keys(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Have key-1 and so on in the environment."""
    for number in numbers:
        monkeypatch.setenv(f"ANTHROPIC_API_KEY_{number}", KEYS[number - 1])


def remember(project: Path, *changes: dict[str, Any], active: int | None = None) -> None:
    """Save records of key-1, key-2, …, as many as there are `changes`, as a run does."""
    records = [CredentialRecord(MARKS[n], f"key-{n + 1}", **more) for n, more in enumerate(changes)]

    async def save() -> None:
        store = SqliteTaskStore(project)
        await store.save_credentials(records, None if active is None else MARKS[active - 1])
        await store.close()

    asyncio.run(save())
