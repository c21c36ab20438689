"""`agentdash keys`: the keys that a run would use and what the project remembers of them; never a key itself."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click

from agentdash.cli.options import config_option, json_option, project_option
from agentdash.cli.output import duration, say, say_json, table, tell
from agentdash.cli.project import open_project
from agentdash.config import load_settings
from agentdash.engine.credentials import APICredential, load_credentials
from agentdash.engine.status import stored_credential_dict
from agentdash.engine.store import CredentialRecord
from agentdash.engine.store.sqlite import DATABASE, STATE_DIR
from agentdash.text import clean


@click.command(short_help="List the keys, never in full.")
@project_option
@config_option
@json_option
def keys(project: Path, config: Path | None, as_json: bool) -> None:
    """List the keys by name and last characters, with their limits' state."""
    settings = load_settings({"project": project}, config=config)
    loaded = load_credentials(configured=settings.credentials)
    records, active = _remembered(project)
    now = time.time()
    found = [_key_dict(c, records.pop(c.fingerprint, None), active, now) for c in loaded.credentials]
    found += [_key_dict(None, record, active, now) for record in records.values()]
    for note in loaded.notes:
        tell(f"Warning: {clean(note)}")
    if as_json:
        say_json(found)
    elif found:
        heads = ("key", "ends", "loaded", "server", "organization", "state", "requests", "429s", "last error")
        table(heads, map(_row, found))
    else:
        say("No API key is set: set ANTHROPIC_API_KEY (or ANTHROPIC_API_KEY_1, _2, …).")


def without_userinfo(url: str) -> str:
    """`url` without a user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _remembered(project: Path) -> tuple[dict[str, CredentialRecord], str | None]:
    if not (project / STATE_DIR / DATABASE).exists():
        return {}, None
    with open_project(project) as store:
        return {record.fingerprint: record for record in store.credentials()}, store.active_credential()


def _key_dict(
    credential: APICredential | None, record: CredentialRecord | None, active: str | None, now: float
) -> dict[str, Any]:
    """One key: what is loaded, and what the project remembers of it."""
    remembered = record or CredentialRecord(credential.fingerprint if credential else "", "")
    found = stored_credential_dict(remembered, active, now)
    if credential is not None:
        found["name"] = credential.name
    return found | {
        "ends": credential.api_key.hint if credential else None,
        "loaded": credential is not None,
        "base_url": without_userinfo(credential.server) if credential else None,
        "model": credential.model if credential else None,
        "limit_group": credential.limit_group if credential else None,
        "pool": asdict(remembered)["pool"],
    }


def _row(key: dict[str, Any]) -> tuple[object, ...]:
    wait = f" {duration(key['cooldown_s'])}" if key["cooldown_s"] else ""
    name = f"{key['name']}{' (active)' if key['active'] else ''}"
    used = (f"{key['state']}{wait}", key["requests"], key["rate_limited"], key["last_error"] or "")
    organization = (key["organization"] or "–")[:8]
    return (name, key["ends"] or "–", "yes" if key["loaded"] else "no", key["base_url"] or "–", organization, *used)
