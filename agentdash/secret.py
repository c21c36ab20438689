"""Secrets that cannot be shown by accident, and the one function that takes them out of any text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

_MASK = "[redacted]"
_KEY_PATTERN = re.compile(r"\b(?:sk|pk)-[A-Za-z0-9_-]{8,}|(?i:\b(bearer)\s+)[A-Za-z0-9._~+/=-]{8,}")
_MIN_LENGTH = 6
"""Shorter values (a test's `k1`) are not searched for in texts: they would black out ordinary words."""

_LEAST_PART = 13
"""So many characters in a row of a key, and more, count as the key: servers quote keys in part."""
_LONG = 24
"""A key of this length, or longer, is looked for in part too; a part of a shorter one may be an ordinary word."""
_ANCHOR = 6
_STEP = _LEAST_PART + 1 - _ANCHOR
"""Every part of `_LEAST_PART` characters holds a whole anchor that begins at a multiple of this."""
_SECRET_NAME = re.compile(r"(?:\A|_)(?:API_?KEY(?:_\d+)?|ACCESS_KEY|TOKEN|SECRET|PASSWORD)\Z", re.IGNORECASE)
_LEAST_NAMED = 12
"""Shorter values of variables that are only named like a secret's may be words or numbers."""


class _Form(NamedTuple):
    """A spelling of a value, how many characters in a row of it count as the value (0: only all), and its anchors with
    where each begins."""

    text: str
    least: int
    anchors: tuple[tuple[int, str], ...]


_known: set[str] = set()
_forms: list[_Form] = []
"""What is looked for: every spelling of the known values, the longest first."""
_plain_forms: list[_Form] = []
"""Those that are not base64: most texts have nothing that could be."""
_anchors: set[str] = set()
_ENCODED = re.compile(r"[A-Za-z0-9+/]{12}")
_SHORT = 200
"""A text of this length, or shorter, is searched for all anchors at once: names and ids come with every answer."""


class Secret:
    """A key. `repr`, `str`, formatting and comparing show nothing; pickling is refused.

    Compares equal to a secret or a string of the same value. `reveal()` is the one way to the value, and is called
    only where a client or a child process is given the key.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= _MIN_LENGTH and value not in _known:
            _known.add(value)
            plain, encoded = _spellings(value), _encoded(value)
            for known, new in ((_plain_forms, plain), (_forms, [*plain, *encoded])):
                known.extend(new)
                known.sort(key=lambda form: len(form.text), reverse=True)  # a key may be the beginning of another
            _anchors.update(anchor for form in (*plain, *encoded) for _, anchor in form.anchors)

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    @property
    def hint(self) -> str:
        """The last four characters, for telling keys apart; nothing of a key that is too short for that."""
        return f"…{self._value[-4:]}" if len(self._value) >= 16 else "…"

    @property
    def fingerprint(self) -> str:
        """A name for the key that does not lead back to it: 16 hex digits of SHA-256."""
        return hashlib.sha256(b"agentdash:" + self._value.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret):
            other = other._value
        if not isinstance(other, str):
            return NotImplemented
        return hmac.compare_digest(self._value.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def redact(text: str) -> str:
    """`text` without any key: neither the known ones, in whole, in part or encoded, nor what looks like one."""
    forms = _forms if _ENCODED.search(text) else _plain_forms
    for form, _, _ in forms:
        if form in text:
            text = text.replace(form, _MASK)
    text = _KEY_PATTERN.sub(_MASK, text)  # before the parts: many keys begin alike, and the rest would look like none
    if len(text) <= _SHORT and not any(text[at : at + _ANCHOR] in _anchors for at in range(len(text) - _ANCHOR + 1)):
        return text
    for form, least, anchors in forms:
        for start, anchor in anchors:
            if anchor in text:
                text = _without_parts(text, form, least, start, anchor)
    return text


def know_environment(environ: Mapping[str, str]) -> None:
    """Let `redact` know the secrets in these variables, whoever uses them: a user's function may raise an error that
    quotes its own key, a proxy its password."""
    for name, value in environ.items():
        if _SECRET_NAME.search(name) and len(value.strip()) >= _LEAST_NAMED:
            Secret(value.strip())
        elif name.upper().endswith("_PROXY") and "@" in value:
            Secret(value.rpartition("@")[0].rpartition("/")[2].partition(":")[2])
        elif name == "ANTHROPIC_CUSTOM_HEADERS":
            values = (line.partition(":")[2].strip() for line in value.splitlines())
            for header in values:
                if len(header) >= _LEAST_NAMED:
                    Secret(header)


def _spellings(value: str) -> list[_Form]:
    """The value as it is and as it stands in a URL."""
    quoted = "".join(c if c.isalnum() or c in "-._~" else f"%{ord(c):02X}" for c in value)
    forms = dict.fromkeys((value, quoted) if value.isascii() else (value,))
    return [_form(form, _LEAST_PART if len(value) >= _LONG else 0) for form in forms]


def _encoded(value: str) -> list[_Form]:
    """The same in base64, as in `Basic …`: without the ends, where what stands around it shows."""
    if len(value) < _LEAST_NAMED:
        return []
    raw = value.encode("utf-8", "surrogatepass")
    forms = [base64.b64encode(b"\0" * shift + raw + b"\0\0")[shift + (shift > 0) : -4].decode() for shift in range(3)]
    return [_form(form, _LEAST_PART * 4 // 3 if len(value) >= _LONG else 0) for form in forms]


def _form(text: str, least: int) -> _Form:
    starts = range(0, len(text) - _ANCHOR + 1, _STEP) if least else ()
    return _Form(text, least, tuple((start, text[start : start + _ANCHOR]) for start in starts))


def _without_parts(text: str, form: str, least: int, start: int, anchor: str) -> str:
    """`text` without what is at least so much of `form`, around an anchor of it."""
    at = text.find(anchor)
    while at >= 0:
        first, last = at, at + _ANCHOR
        while first > 0 and at - first < start and text[first - 1] == form[start - (at - first) - 1]:
            first -= 1
        while start + last - at < len(form) and text[last : last + 1] == form[start + last - at]:
            last += 1
        if last - first >= least:
            text, last = text[:first] + _MASK + text[last:], first + len(_MASK)
            at = text.find(anchor, last)
        else:
            at = text.find(anchor, at + 1)
    return text
