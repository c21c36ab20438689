"""API credentials: what one is, and where they are loaded from. Keys are read from the environment only."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from agentdash.errors import CredentialsError
from agentdash.secret import Secret, redact

DEFAULT_BASE_URL = "https://api.anthropic.com"
_NUMBERED = re.compile(r"ANTHROPIC_API_KEY_([1-9]\d{0,3})\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HINT = "Set ANTHROPIC_API_KEY (or ANTHROPIC_API_KEY_1, _2, …), or try `agentdash demo`, which needs none."


@dataclass(slots=True, eq=False)
class APICredential:
    """One API key and where it is used.

    `is_exhausted`: not to be used until `exhausted_until` (seconds since the epoch; 0 means until it is asked for by
    hand). `is_invalid`: the server refused the key. `proven`: it has been answered once; until then it gets one request
    at a time, so that a dead key is not asked by every worker (`asked_at`, monotonic: since when one is on its way).
    """

    api_key: Secret
    base_url: str | None = None
    model: str | None = None
    is_exhausted: bool = False
    last_error: str | None = None
    name: str = "key-1"
    limit_group: str | None = None
    is_invalid: bool = False
    exhausted_until: float = 0.0
    organization: str | None = None
    proven: bool = False
    in_flight: int = 0
    asked_at: float = 0.0
    requests: int = 0
    rate_limited: int = 0
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        key: object = self.api_key
        if isinstance(key, str):  # a library user's plain string
            self.api_key = Secret(key)
        self.fingerprint = self.api_key.fingerprint
        if self.base_url:  # one key at two servers is two credentials
            named = f"{self.fingerprint} {self.server}".encode("utf-8", "surrogatepass")
            self.fingerprint = hashlib.sha256(named).hexdigest()[:16]

    @property
    def server(self) -> str:
        """The base URL it is used with."""
        return self.base_url or DEFAULT_BASE_URL

    def is_usable(self, now: float) -> bool:
        """Whether requests may be sent with it, its pool permitting."""
        if self.is_exhausted and 0 < self.exhausted_until <= now:
            self.is_exhausted, self.exhausted_until = False, 0.0
        return not (self.is_exhausted or self.is_invalid)


@dataclass(frozen=True, slots=True)
class LoadedCredentials:
    """What was found, and what the user should know about it (gaps, doubles)."""

    credentials: tuple[APICredential, ...]
    notes: tuple[str, ...] = ()


def load_credentials(
    environ: Mapping[str, str] | None = None, configured: Sequence[Mapping[str, Any]] = ()
) -> LoadedCredentials:
    """Load credentials: those of the config file, else the numbered ones, else `ANTHROPIC_API_KEY`.

    `configured` are the `[[credentials]]` tables of the config file: each names an environment variable
    (`api_key_env`), never a key. Raises `CredentialsError` for a key that cannot be sent as it is written; with no key
    at all the result is empty.
    """
    environ = os.environ if environ is None else environ
    notes: list[str] = []
    if configured:
        found = [_configured(entry, index, environ) for index, entry in enumerate(configured, 1)]
    elif numbers := sorted(int(m[1]) for name in environ if (m := _NUMBERED.match(name)) and environ[name].strip()):
        gaps = sorted(set(range(1, numbers[-1])) - set(numbers))
        if gaps:
            missing = ", ".join(f"ANTHROPIC_API_KEY_{n}" for n in gaps[:5]) + (", …" if len(gaps) > 5 else "")
            notes.append(
                f"{missing} {'is' if len(gaps) == 1 else 'are'} not set, although ANTHROPIC_API_KEY_{numbers[-1]} is"
            )
        found = [_from_environment(environ, f"_{number}", f"key-{number}") for number in numbers]
    elif environ.get("ANTHROPIC_API_KEY", "").strip():
        found = [_from_environment(environ, "", "key-1")]
    else:
        found = []
    unique: dict[tuple[str, str], APICredential] = {}
    for credential in found:
        first = unique.setdefault((credential.fingerprint, credential.server), credential)
        if first is not credential:
            notes.append(f"{credential.name} is the same key as {first.name} and is used once")
    return LoadedCredentials(tuple(unique.values()), tuple(notes))


def require_credentials(loaded: LoadedCredentials) -> tuple[APICredential, ...]:
    """The credentials, or `CredentialsError` with what to set when there are none."""
    if not loaded.credentials:
        raise CredentialsError("No API key is set.", hint=_HINT)
    return loaded.credentials


def _from_environment(environ: Mapping[str, str], suffix: str, name: str) -> APICredential:
    variable = f"ANTHROPIC_API_KEY{suffix}"
    url_variable = next((v for v in (f"ANTHROPIC_BASE_URL{suffix}", "ANTHROPIC_BASE_URL") if environ.get(v)), "")
    return APICredential(
        _checked_key(environ[variable], variable),
        base_url=_checked_url(environ.get(url_variable), url_variable),
        model=environ.get(f"ANTHROPIC_MODEL{suffix}") or environ.get("ANTHROPIC_MODEL") or None,
        name=name,
    )


def _configured(entry: Mapping[str, Any], index: int, environ: Mapping[str, str]) -> APICredential:
    where = f"credentials entry {index}"
    variable = entry.get("api_key_env")
    if not isinstance(variable, str) or not variable:
        raise CredentialsError(
            f"{where}: `api_key_env` must name the environment variable that holds the key.",
            hint="Keys are never written into the config file.",
        )
    if not _VARIABLE.fullmatch(variable):  # not shown: it may well be the key itself
        raise CredentialsError(
            f"{where}: `api_key_env` is not the name of an environment variable.",
            hint="Keys are never written into the config file: name the variable that holds the key.",
        )
    if not environ.get(variable, "").strip():
        raise CredentialsError(f"{where}: the environment variable {shown_variable(variable)} is not set.", hint=_HINT)
    key = _checked_key(environ[variable], variable)
    for field_name in ("name", "model", "limit_group"):
        if redact(str(entry.get(field_name, ""))) != str(entry.get(field_name, "")):
            raise CredentialsError(f"{where}: `{field_name}` holds a key.", hint="It is shown: choose another.")
    return APICredential(
        key,
        base_url=_checked_url(entry.get("base_url") or environ.get("ANTHROPIC_BASE_URL"), f"{where}: base_url"),
        model=entry.get("model"),
        name=str(entry.get("name") or f"key-{index}"),
        limit_group=entry.get("limit_group"),
    )


def shown_variable(name: str) -> str:
    """The name of an environment variable, unless it looks like a key that was written in its place."""
    return name if name == name.upper() and _VARIABLE.fullmatch(name) else "that `api_key_env` names"


def _checked_key(value: str, variable: str) -> Secret:
    """The key, or an error that names the variable and never shows the value."""
    key = value.strip(" ")
    if any(c in "\r\n" for c in key):
        raise CredentialsError(f"{variable} has a line break in it.", hint="Set it again without the line break.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CredentialsError(
            f"{variable} has a character in it that no key has (a blank, a control character, or not ASCII).",
            hint="Copy the key again.",
        )
    return Secret(key)


def _checked_url(value: str | None, where: str) -> str | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, fine = urlsplit(""), False
    if fine and "@" in parts.netloc:
        # It would be shown wherever the server is named.
        raise CredentialsError(f"{where} has a user name or password in it.", hint="Give the key in its own variable.")
    if fine and (parts.query or parts.fragment):
        # Paths are put behind it, so it never arrives as it is meant; and what stands there may well be a key.
        raise CredentialsError(f"{where} has a query or fragment in it.", hint="A base URL ends with its path.")
    if not fine or any(c.isspace() for c in value):
        raise CredentialsError(f"{where} is not an http or https URL.", hint="For example https://api.anthropic.com")
    return value.rstrip("/")
