"""A growing row of small numbers in memory of its own."""

from __future__ import annotations

import mmap
from array import array

_BYTES = array("I").itemsize
_LEAST = 1024


class Numbers:
    """Numbers from 0 to 2³² - 1 in the order they came, four bytes each.

    Not an `array`: lists of a million are made and dropped again and again, and the holes they leave among other
    memory never go back to the system. These pages do, at once. One thread may add while others read.
    """

    def __init__(self, expected: int = 0) -> None:
        self._length = 0
        self._memory = _room_for(expected)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> array[int]:
        found = array("I")
        found.frombytes(self._memory[: self._length][part].tobytes())
        return found

    def extend(self, numbers: array[int]) -> None:
        end = self._length + len(numbers)
        if end > len(self._memory):
            more = _room_for(max(end, 2 * len(self._memory)))
            more[: self._length] = self._memory[: self._length]
            self._memory = more
        self._memory[self._length : end] = memoryview(numbers)
        self._length = end  # last: who reads meanwhile sees whole numbers only


def _room_for(number: int) -> memoryview:
    """Pages are taken when they are written to: room that is never used costs nothing."""
    return memoryview(mmap.mmap(-1, _BYTES * max(_LEAST, number))).cast("I")
