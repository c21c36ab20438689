"""JSON as tasks may use it: stricter than the `json` module, with a reason for everything it refuses."""

from __future__ import annotations

from collections import Counter
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from json.encoder import encode_basestring as encode_text
from typing import Any

from agentdash.engine.intake.bad import Reject, shown

__all__ = ["MAX_DEPTH", "InvalidJSON", "StrictDecoder", "encode_text", "encode_value"]

MAX_DEPTH = 100
_MAX_INT_DIGITS = 600  # below the smallest limit Python can be set to (640), so such a number always prints again
_BLANKS = " \t\r\n"

_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_encode_sorted = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True).encode


def encode_value(value: Any, *, sort_keys: bool = False) -> str:
    """The shortest JSON text of `value`. Raises Reject when it is nested deeper than `MAX_DEPTH`.

    The depth is checked here and not while decoding: what is never encoded never matters, and most tasks are flat.
    """
    try:
        text = _encode_sorted(value) if sort_keys else _encode(value)
    except RecursionError:
        raise Reject(_TOO_DEEP) from None
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(value):
        raise Reject(_TOO_DEEP)
    return text


class StrictDecoder:
    """A JSON decoder that notes what the standard one lets pass: NaN, duplicate keys, overflowing numbers.

    These are noted in `_problem` and not raised in the middle of a value, because the scanner can then go on to the
    value's end: the elements after it in a `.json` array are still found. Not for use by several threads at once.
    """

    def __init__(self) -> None:
        self._problem: str | None = None
        self._raw_decode = JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._int,
        ).raw_decode

    def line(self, text: str) -> Any:
        """The one value of `text`, which is a whole line. Raises Reject with the reason."""
        self._problem = None
        try:
            value, end = self._raw_decode(text)
        except (JSONDecodeError, RecursionError) as error:
            raise _invalid(error, 0) from None
        if end != len(text):
            rest = len(text) - len(text[end:].lstrip(_BLANKS))
            raise InvalidJSON("more text after the end of the value", rest)
        if self._problem is not None:
            raise Reject(self._problem)
        return value

    def value(self, text: str, start: int) -> tuple[Any, int, str | None]:
        """The value at `start`, where it ends, and what is wrong with it although it is readable.

        Raises InvalidJSON where the text cannot be read on.
        """
        self._problem = None
        try:
            value, end = self._raw_decode(text, start)
        except (JSONDecodeError, RecursionError) as error:
            raise _invalid(error, start) from None
        return value, end, self._problem

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            self._note(f"the key {shown(twice)} appears more than once in one object")
        return found

    def _constant(self, name: str) -> None:
        self._note(f"{name} is not JSON")

    def _float(self, digits: str) -> float:
        number = float(digits)
        if number in (float("inf"), float("-inf")):
            self._note(f"the number {shown(digits)} is out of range")
        return number

    def _int(self, digits: str) -> int:
        if len(digits) > _MAX_INT_DIGITS:
            self._note(f"an integer of {len(digits):,} digits is out of range")
            return 0
        return int(digits)

    def _note(self, problem: str) -> None:
        if self._problem is None:
            self._problem = problem


class InvalidJSON(Reject):
    """Text that is not JSON; `pos` is the index of the character where reading ended, for readers of whole files."""

    def __init__(self, problem: str | None, pos: int) -> None:
        text = _TOO_DEEP if problem is None else f"invalid JSON at column {pos + 1}: {problem}"
        super().__init__(text)
        self.problem = problem
        self.pos = pos

    def at(self, pos: int) -> str:
        """The reason with another position: that in the line as it stands in the file."""
        return str(InvalidJSON(self.problem, pos))


def _invalid(error: JSONDecodeError | RecursionError, start: int) -> InvalidJSON:
    return InvalidJSON(error.msg, error.pos) if isinstance(error, JSONDecodeError) else InvalidJSON(None, start)


_TOO_DEEP = f"nested too deeply (more than {MAX_DEPTH} levels)"


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for parent in level:
            children = parent.values() if isinstance(parent, dict) else parent
            inner += [child for child in children if isinstance(child, dict | list)]
        if not inner:
            return False
        level = inner
    return True
