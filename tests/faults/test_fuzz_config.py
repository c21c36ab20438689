"""Any TOML and any bytes as settings: settings, or one error that names the file and what is wrong in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentdash.cli.keys import without_userinfo
from agentdash.config import _KNOWN, Settings, load_settings
from agentdash.engine.credentials import load_credentials
from agentdash.errors import CredentialsError, UsageError
from tests.faults.mutation import mutated, outcome

WHOLE = b"""
# A file as it may be.
workers = "auto"
max_workers = 64
model = "claude-sonnet-5-5"
max_tokens = 1000
timeout_s = 30.5
stream = false
results = "out/results.jsonl"
log_level = "debug"

[keys]
pause = "p"

[[credentials]]
name = "one"
api_key_env = "MY_KEY"
base_url = "https://example.org/v1"
limit_group = "a"
"""
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXT | st.sampled_from(["auto", "debug", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(_KNOWN) | TEXT
ENTRIES = st.dictionaries(
    st.sampled_from(["name", "api_key_env", "base_url", "model", "limit_group"]), TEXT, max_size=5
)
FILES = st.dictionaries(NAMES, VALUES, max_size=4) | st.fixed_dictionaries(
    {"credentials": st.lists(ENTRIES, max_size=3) | VALUES}
)
MANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples."""
    return tmp_path_factory.mktemp("config") / "agentdash.toml"


def toml(value: Any) -> str:
    """A value as TOML writes it, tables inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(name)} = {toml(inner)}' for name, inner in value.items())}}}"
    return str(value)


def take(path: Path) -> None:
    """Load it as a run does, with its keys."""
    variables = {"MY_KEY": "a-key-of-mine-4711"}
    found = outcome(lambda: load_settings({}, config=path, environ=variables), UsageError)
    if isinstance(found, UsageError):
        assert str(path) in found.message
        assert len(found.message) < 3000
        return
    assert isinstance(found, Settings)
    for entry in found.credentials:
        without_userinfo(entry.get("base_url", ""))
    loaded = outcome(lambda: load_credentials(variables, found.credentials), CredentialsError)
    if isinstance(loaded, CredentialsError):
        assert "a-key-of-mine" not in f"{loaded.message} {loaded.hint}"


@MANY
@given(FILES)
@example({"workers": 10**30})
@example({"timeout_s": float("nan")})
@example({"results": "a\0b"})
@example({"credentials": [{"base_url": "http://[", "api_key_env": "MY_KEY"}]})
@example({"credentials": [{"base_url": "http://a:99999999999999999999/", "api_key_env": "MY_KEY"}]})
def test_valid_toml(path: Path, content: dict[str, Any]) -> None:
    path.write_text("".join(f"{toml(name)} = {toml(value)}\n" for name, value in content.items()), encoding="utf-8")
    take(path)


@MANY
@given(mutated(WHOLE))
@example(b"a = " + b"[" * 5000)
@example(b"a." * 5000 + b"b = 1")
@example(b"workers = " + b"9" * 5000)
@example(b"\xff\xfe")
def test_changed_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    take(path)
