"""Secrets that cannot be shown by accident, and the one function that takes them out of any text."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NoReturn

_MASK = "[redacted]"
_KEY_PATTERN = re.compile(r"\b(?:sk|pk)-[A-Za-z0-9_-]{8,}|(?i:\b(bearer)\s+)[A-Za-z0-9._~+/=-]{8,}")
_MIN_LENGTH = 6
"""Shorter values (a test's `k1`) are not searched for in texts: they would black out ordinary words."""

_known: set[str] = set()


class Secret:
    """A key. `repr`, `str`, formatting and comparing show nothing; pickling is refused.

    Compares equal to a secret or a string of the same value. `reveal()` is the one way to the value, and is called
    only where a client or a child process is given the key.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= _MIN_LENGTH:
            _known.add(value)

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
    """`text` without any key: neither the known ones nor what looks like one."""
    for value in sorted(_known, key=len, reverse=True):  # a key may be the beginning of another
        if value in text:
            text = text.replace(value, _MASK)
    return _KEY_PATTERN.sub(_MASK, text)
