"""`agentdash keys`: the keys that a run would use and what the project remembers of them; never a key itself."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agentdash.cli.options import config_option, json_option, project_option
from agentdash.cli.output import amount, duration, local_time, say, say_json, table, tell
from agentdash.cli.project import open_project
from agentdash.clock import isoformat
from agentdash.config import load_settings
from agentdash.engine.credentials import APICredential, load_credentials
from agentdash.engine.status import stored_credential_dict
from agentdash.engine.store import CredentialRecord
from agentdash.engine.store.sqlite import DATABASE, STATE_DIR
from agentdash.text import clean

_LIMITED = ("requests", "input_tokens", "output_tokens")
_HEADS = ("key", "ends", "loaded", "server", "organization", "state", "limits", "requests", "429s", "last error")
_OUT_OF_USE = frozenset({"exhausted", "invalid"})


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that is set here (`credential`), that the project remembers (`record`), or both."""

    credential: APICredential | None
    record: CredentialRecord

    @property
    def name(self) -> str:
        """What it is called now; the project may remember it by another name."""
        return self.credential.name if self.credential is not None else self.record.name

    @property
    def fingerprint(self) -> str:
        return self.record.fingerprint


def known_keys(credentials: Sequence[APICredential], records: Sequence[CredentialRecord]) -> list[KnownKey]:
    """The keys that are set here, in their order, then the others that the project remembers."""
    remembered = {record.fingerprint: record for record in records}
    unknown = (CredentialRecord(c.fingerprint, c.name) for c in credentials)
    found = [KnownKey(c, remembered.pop(c.fingerprint, new)) for c, new in zip(credentials, unknown, strict=True)]
    return found + [KnownKey(None, record) for record in remembered.values()]


@click.command(short_help="List the keys, never in full.")
@project_option
@config_option
@json_option
def keys(project: Path, config: Path | None, as_json: bool) -> None:
    """List the keys by name and last characters, with their state and what was learned of their limits."""
    settings = load_settings({"project": project}, config=config)
    loaded = load_credentials(configured=settings.credentials)
    records, active = _remembered(project)
    now = time.time()
    found = [_key_dict(key, active, now) for key in known_keys(loaded.credentials, records)]
    for note in loaded.notes:
        tell(f"Warning: {clean(note)}")
    if as_json:
        say_json(found)
    elif found:
        table(_HEADS, map(_row, found))
        for remark in _remarks(found):
            say(remark)
    else:
        say("No API key is set: set ANTHROPIC_API_KEY (or ANTHROPIC_API_KEY_1, _2, …).")


def without_userinfo(url: str) -> str:
    """`url`, well formed or not, without what may be secret: user name and password, query and fragment."""
    before, _, host = url.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    return re.split(r"[?#]", f"{scheme}//{host}" if slashes else host, maxsplit=1)[0]


def learned_limits(learned: str) -> dict[str, Any] | None:
    """The limits in a record's `learned`, a minute, with their bursts (None where not known); None if there are none.

    What makes no sense is left out: another version of the program may have written it.
    """
    try:
        parts = json.loads(learned or "{}")
    except (ValueError, RecursionError):
        return None
    limits = {name: _limit(parts.get(name)) for name in _LIMITED} if isinstance(parts, dict) else {}
    return limits if any(limits.values()) else None


def _limit(part: object) -> dict[str, float | None] | None:
    if not isinstance(part, dict) or not (per_minute := _number(part.get("per_minute"))):
        return None
    return {"per_minute": per_minute, "burst": _number(part.get("burst"))}


def _number(value: object) -> float | None:
    """A finite number that is not negative, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < math.inf else None


def _remembered(project: Path) -> tuple[list[CredentialRecord], str | None]:
    if not (project / STATE_DIR / DATABASE).exists():
        return [], None
    with open_project(project) as store:
        return store.credentials(), store.active_credential()


def _key_dict(key: KnownKey, active: str | None, now: float) -> dict[str, Any]:
    """One key: what is loaded, and what the project remembers of it."""
    credential, record = key.credential, key.record
    found = stored_credential_dict(record, active, now) | {"name": key.name}
    ends = {"exhausted": record.exhausted_until, "cooling": record.cooldown_until}
    return found | {
        "until": _moment(ends.get(found["state"], 0.0)),
        "ends": credential.api_key.hint if credential else None,
        "loaded": credential is not None,
        "base_url": without_userinfo(credential.server) if credential else None,
        "model": credential.model if credential else None,
        "limit_group": credential.limit_group if credential else None,
        "pool": record.pool,
        "limits": learned_limits(record.learned),
    }


def _moment(timestamp: float) -> str | None:
    """As ISO 8601; None for no moment, and for one that no calendar has."""
    try:
        return isoformat(timestamp) if timestamp > 0 else None
    except (OSError, OverflowError, ValueError):
        return None


def _row(key: dict[str, Any]) -> tuple[object, ...]:
    name = f"{key['name']}{' (active)' if key['active'] else ''}"
    used = (_state(key), _limits(key["limits"]), key["requests"], key["rate_limited"], key["last_error"] or "")
    organization = (key["organization"] or "–")[:8]
    return (name, key["ends"] or "–", "yes" if key["loaded"] else "no", key["base_url"] or "–", organization, *used)


def _state(key: dict[str, Any]) -> str:
    if not key["cooldown_s"]:
        return str(key["state"])
    if key["state"] == "exhausted":  # days or weeks: a date says more than a countdown
        return f"exhausted until {local_time(time.time() + key['cooldown_s'], '%Y-%m-%d %H:%M')}"
    return f"{key['state']} {duration(key['cooldown_s'])}"


def _limits(limits: dict[str, Any] | None) -> str:
    """`20/s, burst 20, in 240k/min, out 60k/min`: what is known of it."""
    if limits is None:
        return "–"
    words: list[str] = []
    if requests := limits["requests"]:
        words.append(_rate(requests["per_minute"]))
        words += [f"burst {requests['burst']:,.0f}"] if requests["burst"] is not None else []
    for name, word in (("input_tokens", "in"), ("output_tokens", "out")):
        if tokens := limits[name]:
            words.append(f"{word} {_short(tokens['per_minute'])}/min")
    return ", ".join(words)


def _rate(per_minute: float) -> str:
    """Requests a second, or a minute where they are fewer than one a second."""
    rate, unit = (per_minute / 60, "s") if per_minute >= 60 else (per_minute, "min")
    return f"{_short(rate) if rate >= 100 else f'{rate:.3g}'}/{unit}"


def _short(number: float) -> str:
    """`amount` without a fraction that is nothing: 50k, 1.5M."""
    text = amount(number)
    return text.replace(".0", "") if not text[-1].isdigit() else text


def _remarks(found: Sequence[dict[str, Any]]) -> list[str]:
    """What is worth knowing about these keys."""
    remarks: list[str] = []
    own = [key for key in found if key["loaded"]] or found
    pools, organizations = ({key[name] for key in own} for name in ("pool", "organization"))
    if len(own) > 1 and len(pools) == 1 and None not in pools:
        what = "1 organisation" if len(organizations) == 1 and None not in organizations else "1 limit"
        remarks.append(f"{len(own):,} keys, {what}: rotating adds no capacity")
    if any(key["state"] in _OUT_OF_USE for key in own):
        remarks.append("`agentdash rotate KEY` gives an exhausted or invalid key another chance")
    return remarks
