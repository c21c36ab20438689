"""Bytes that were valid and are not quite any more, as Hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st

from tests.faults.hostile import BAD_BYTES, SHORT

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
TROUBLE = (
    b"", b"\n", b"\r", b"\0", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"=", b"#", b" " * 50,
    b"\xef\xbb\xbf", b"\xff\xfe", b"NaN", b"Infinity", b"1e999", b"-0", b"9" * 5000, b"null", b"true", b"\\ud800",
    b"[" * 5000, b'{"a":' * 3000, b"a" * 70_000, *BAD_BYTES,
    *(item.encode("utf-8", "surrogatepass") for item in SHORT),
)  # fmt: skip
"""What parsers stumble over."""


def outcome(call: Callable[[], T], kind: type[E]) -> T | E:
    """What a call returns, or the error of this kind that it raises."""
    try:
        return call()
    except kind as error:
        return error


@st.composite
def mutated(draw: st.DrawFn, whole: bytes, most: int = 4) -> bytes:
    """`whole` after a few cuts, insertions, doublings and flips."""
    data = whole
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + draw(st.sampled_from((1, 4, 40, 4000))))))
        how = draw(st.sampled_from(("cut", "put", "double", "flip", "end")))
        if how == "cut":
            data = data[:at] + data[end:]
        elif how == "put":
            data = data[:at] + draw(st.sampled_from(TROUBLE) | st.binary(max_size=6)) + data[end:]
        elif how == "double":
            data = data[:end] + data[at:]
        elif how == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif how == "end":
            data = data[:at]
    return data
