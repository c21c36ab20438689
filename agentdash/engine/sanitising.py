"""What others wrote, made safe to keep and show: error messages, names and ids before they are stored or logged."""

from __future__ import annotations

from agentdash.secret import redact

_MAX_MESSAGE = 2000
_MAX_TYPE = 200


def clean_message(message: str) -> str:
    """An outside message made safe to keep and show: no secret, no control characters, valid text, bounded."""
    text = redact(message[: 2 * _MAX_MESSAGE]).encode("utf-8", "replace").decode()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = text.strip()
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"


def clean_name(name: str | None) -> str | None:
    """The same for a name or an id from outside; None for none."""
    return clean_message(name[: 2 * _MAX_TYPE])[:_MAX_TYPE] or None if name else None
