"""`agentdash rotate`: make another key the active one, in a run that is at work and in one that has stopped.

The store is told which key is active; runs on the folder see that within a second. Nothing is asked of a run itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agentdash.cli.keys import KnownKey, known_keys
from agentdash.cli.options import config_option, json_option, project_option
from agentdash.cli.output import duration, local_time, say, say_json
from agentdash.cli.project import open_project
from agentdash.config import load_settings
from agentdash.engine.credentials import load_credentials
from agentdash.engine.status import live_processes, stored_credential_dict
from agentdash.engine.store import CredentialRecord, SqliteTaskStore
from agentdash.errors import UsageError
from agentdash.model import Totals
from agentdash.text import clean

_LIST_HINT = "`agentdash keys` lists them."
_LATER_S = 0.001


@dataclass(frozen=True, slots=True)
class _Choice:
    """The keys to choose from, in their order, among `everything` that is known.

    `live`: a run that uses keys is at work now. `theirs`: the keys to choose from are those of such runs.
    """

    keys: Sequence[KnownKey]
    everything: Sequence[KnownKey]
    live: bool
    theirs: bool
    active: str | None
    now: float

    @property
    def current(self) -> KnownKey | None:
        """The active key; where none was ever active a run begins with the first."""
        found = [key for key in self.keys if key.fingerprint == self.active]
        return next(iter([*found, *self.keys]), None)

    def state(self, key: KnownKey) -> str:
        """ready, cooling, exhausted or invalid, as the project remembers it."""
        return str(stored_credential_dict(key.record, self.active, self.now)["state"])

    def named(self, name: str) -> KnownKey:
        """The key of that name. Raises `UsageError` if there is none, or more than one."""
        found = [key for key in self.keys if key.name == name]
        if not found and not self.theirs:  # remembered only: a run may well have it
            found = [key for key in self.everything if key.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{clean(name)} is the name of {len(found)} keys of this project; nothing was changed.",
                hint="Set the keys' variables in this terminal as for the run.",
            )
        names = ", ".join(clean(key.name) for key in self.keys) or "none"
        if any(key.name == name for key in self.everything):
            raise UsageError(
                f"The run at work does not have {clean(name)}; nothing was changed. It has: {names}.",
                hint="Keys are loaded at the start of a run.",
            )
        raise UsageError(f"There is no key {clean(name)}; nothing was changed. There are: {names}.", hint=_LIST_HINT)

    def following(self, current: KnownKey) -> KnownKey:
        """The next usable key after the active one: those with another limit first, then those that cool no longer.

        The active one itself, if it is the only usable one. Raises `UsageError` if none is.
        """
        start = self.keys.index(current)
        others = [*self.keys[start + 1 :], *self.keys[:start]]

        def rank(key: KnownKey) -> int:
            if self.state(key) == "cooling":
                return 2
            return int(shares_limit(key, current))

        usable = [key for key in others if self.state(key) in ("ready", "cooling")]
        if usable:
            return min(usable, key=rank)
        if self.state(current) in ("ready", "cooling"):
            return current
        states = ", ".join(f"{clean(key.name)} {self.state(key)}" for key in self.keys)
        raise UsageError(f"No key is usable: {states}; nothing was changed.", hint="`agentdash rotate KEY` tries one.")


def shares_limit(key: KnownKey, other: KnownKey) -> bool:
    """Whether both are known to draw from one limit."""
    return key.record.pool is not None and key.record.pool == other.record.pool


@click.command(short_help="Make another key the active one.")
@click.argument("name", metavar="[KEY]", required=False)
@project_option
@config_option
@json_option
def rotate(name: str | None, project: Path, config: Path | None, as_json: bool) -> None:
    """Make KEY (a name as `agentdash keys` shows it) the active key, or without KEY the next usable one.

    Without KEY, a key with a limit of its own comes first: only that adds capacity. A run at work follows within a
    second, from its next request on; requests under way end with the key they began with.

    A KEY that is exhausted (quota, spend limit) or invalid gets another chance: its next request is a probe. If the
    answer is the same, the key is out of use again, and the run goes on with the next one.
    """
    settings = load_settings({"project": project}, config=config)
    loaded = load_credentials(configured=settings.credentials).credentials
    with open_project(project) as store:
        choice = _choice(store, known_keys(loaded, store.credentials()))
        current = choice.current
        if current is None:
            raise UsageError("This project knows no key, and none is set here.", hint="Set ANTHROPIC_API_KEY.")
        chosen = choice.named(name) if name is not None else choice.following(current)
        asyncio.run(_make_active(store, chosen, moved=chosen is not current, named=name is not None, now=choice.now))
    if as_json:
        say_json(_result(choice, current, chosen))
        return
    for line in _lines(choice, current, chosen):
        say(line)


def _choice(store: SqliteTaskStore, keys: Sequence[KnownKey]) -> _Choice:
    now = time.time()
    # Each run tells the fingerprints of its keys, in its order; one that uses none tells so, a run of before is silent.
    told = [json.loads(process.report).get("keys") for process in live_processes(store, now)]
    by_fingerprint = {key.fingerprint: key for key in keys}
    live = dict.fromkeys(fingerprint for one in told for fingerprint in one or ())
    theirs = [by_fingerprint[fingerprint] for fingerprint in live if fingerprint in by_fingerprint]
    set_here = [key for key in keys if key.credential is not None]
    is_live = any(one is None or one for one in told)
    return _Choice(theirs or set_here or keys, keys, is_live, bool(theirs), store.active_credential(), now)


async def _make_active(store: SqliteTaskStore, key: KnownKey, *, moved: bool, named: bool, now: float) -> None:
    marks: list[CredentialRecord] = []
    if named:
        # A mark "ready" whatever the store knows: a run may be about to say that the key met its end a moment ago. The
        # newest of all, even if a clock was set back.
        at = max(now, key.record.updated_at + _LATER_S)
        marks = [CredentialRecord(key.fingerprint, key.name, last_error=key.record.last_error, updated_at=at)]
    await store.save_credentials(marks, key.fingerprint)
    if moved:
        await store.add_totals(Totals(rotations=1))


def _result(choice: _Choice, current: KnownKey, chosen: KnownKey) -> dict[str, Any]:
    return {
        "from": current.name,
        "to": chosen.name,
        "moved": chosen is not current,
        "probe": choice.state(chosen) in ("exhausted", "invalid"),
        "same_limit": chosen is not current and shares_limit(chosen, current),
        "live": choice.live,
    }


def _lines(choice: _Choice, current: KnownKey, chosen: KnownKey) -> list[str]:
    """What was done, and what it is good for."""
    old, new, record = clean(current.name), clean(chosen.name), chosen.record
    when = "from the next request on" if choice.live else "from the next run on"
    lines = [f"{old} → {new}, {when}." if chosen is not current else f"{new} stays the active key."]
    state = choice.state(chosen)
    if state in ("exhausted", "invalid"):
        until = f" until {local_time(record.exhausted_until, '%Y-%m-%d %H:%M')}" if record.exhausted_until else ""
        said = f" ({clean(record.last_error)})" if record.last_error else ""
        was = f"{state}{until if state == 'exhausted' else ''}{said}"
        lines.append(f"{new} was {was}: its next request is a probe.")
    if record.cooldown_until > choice.now:
        lines.append(f"{new} cools for {duration(record.cooldown_until - choice.now)}; until then other keys send.")
    if chosen is not current and shares_limit(chosen, current):
        lines.append(f"{old} and {new} share one limit: this adds no capacity.")
    return lines
