"""The keys: which one is active, which share a limit, and which can be used."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentdash.figures import count
from agentdash.model import CredentialView, Snapshot
from agentdash.ui import format as fmt
from agentdash.ui.panels.lines import Cell, Column, Line
from agentdash.ui.panels.panel import WIDE, ListPanel

_EMPTY = "This run needs no keys: a function or a command does its tasks."
_ACTIVE = "★"
_ROOMY = 100
_SPREAD = 60
_NAME_CELLS = (5, 16)
_ORGANIZATION_CHARS = 8
"""So much of an organization's id is its name, here as in the events."""

_LEAST_ORGANIZATION = 3
_STATUS_CODE = re.compile(r"\b[45]\d\d\b")
_NO_USE = ("rotating adds no capacity", "one limit for all")
_NEVER = 10_000
"""As wide as no terminal is: such a column goes first."""

_SHARED_STATES = ("ready", "cooling")
"""The states that a key has from its limit."""


class Credentials(ListPanel[CredentialView]):
    """One line a key. `Chosen` on one asks for it to become the active key."""

    TITLE = "Credentials"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(_columns(_NAME_CELLS[0], 0), empty=_EMPTY, show_heads=False, id=id)

    def update(self, snapshot: Snapshot, now: float) -> None:
        """Show the keys at this moment."""
        keys = snapshot.credentials
        width = self.size.width
        least, most = _NAME_CELLS
        name = max(least, min(most, width // 4, max((len(key.name) for key in keys), default=0)))
        organization = max((len(_organization(key)) for key in keys), default=0)
        has_ends = any(_end(key) for key in keys)
        self.columns = _columns(name, organization, ends=has_ends, wide=width >= WIDE, spread=width >= _SPREAD)
        sharing = _sharing(keys)
        self.fill(keys, lambda key: self._line(key, sharing.get(key.name), now, roomy=width >= _ROOMY))
        limits = len({key.pool for key in keys})
        title = f"Credentials {count(len(keys), 'key')} · {count(limits, 'limit')}" if keys else "Credentials"
        self.caption(title, *_remarks(keys, limits))

    def _line(self, key: CredentialView, sharing: str | None, now: float, *, roomy: bool) -> Line:
        style = "dim" if sharing is not None else fmt.credential_look(key.state).style
        active = "accent" if key.active else ""
        return Line(
            key.name,
            (
                Cell(_ACTIVE if key.active else "", active),
                Cell(key.name, "bold" if key.active else ""),
                Cell(_end(key) or fmt.NONE, "dim"),
                Cell(_organization(key)),
                Cell(_state(key, sharing, now, roomy=roomy), style),
                Cell(fmt.compact(key.requests)),
                Cell(fmt.compact(key.rate_limited), "warn" if key.rate_limited else "dim"),
                Cell(key.last_error or "", style if key.state != "ready" else "dim"),
            ),
        )


def _columns(
    name: int, organization: int, *, ends: bool = True, wide: bool = False, spread: bool = False
) -> tuple[Column, ...]:
    """`organization` is how wide the longest of their names is; `ends`: whether any key has an end to be shown."""
    end = Column("key end", 7, "left", 5) if spread else Column("end", 5, "left", 5)
    long = Column("organization", max(12, organization), "left", 2)
    return (
        Column("", 1),
        Column("key", name),
        end if ends else end._replace(width=_NEVER),
        long if wide else Column("org", max(_LEAST_ORGANIZATION, organization), "left", 2),
        Column("state", 34 if wide else 0),
        Column("sent", 4, "right", 3),
        Column("429s", 4, "right", 1),
        Column("last error", 0 if wide else 34, "left", 6),
    )


def _sharing(keys: Sequence[CredentialView]) -> dict[str, str]:
    """For each key whose limit an earlier one stands for already, the name of that one."""
    first: dict[tuple[str, str], str] = {}
    found: dict[str, str] = {}
    for key in keys:
        if key.state in _SHARED_STATES:
            other = first.setdefault((key.pool, key.state), key.name)
            if other != key.name:
                found[key.name] = other
    return found


def _state(key: CredentialView, sharing: str | None, now: float, *, roomy: bool) -> str:
    """A key's state; what counts stands at the front, as the end may be cut."""
    glyph = fmt.credential_look(key.state).glyph
    words = _words(key, now, roomy=roomy)
    if sharing is not None:
        words = f"{words}, same limit as {sharing}" if roomy else words
    if key.active and roomy:
        words += ", active"
    return f"{glyph} {words}"


def _words(key: CredentialView, now: float, *, roomy: bool) -> str:
    until = key.cooldown_until
    if key.state == "cooling":
        return f"cools {fmt.remaining(until, now)}"
    if key.state == "exhausted" and until is not None:
        return f"exhausted until {fmt.moment(until, now)}" if roomy else f"till {fmt.moment(until, now)}"
    if key.state == "invalid":
        code = _STATUS_CODE.search(key.last_error or "")
        return f"{code.group()} invalid" if code is not None else "invalid"
    return key.state


def _remarks(keys: Sequence[CredentialView], limits: int) -> tuple[str, ...]:
    """What is worth knowing about these keys, in more and in fewer words."""
    if len(keys) < 2:
        return ()
    if limits > 1:
        return ("Enter makes a key the active one", "Enter: active key")
    organizations = {key.organization for key in keys}
    what = "1 organization" if len(organizations) == 1 and None not in organizations else "1 limit"
    return (f"{len(keys):,} keys, {what}: {_NO_USE[0]}", f"{what}: {_NO_USE[0]}", *_NO_USE)


def _organization(key: CredentialView) -> str:
    return (key.organization or fmt.NONE)[:_ORGANIZATION_CHARS]


def _end(key: CredentialView) -> str:
    """The end of the key itself; "" where it is too short for one to be shown."""
    return key.hint if key.hint.strip("…") else ""
