"""What a running task writes: the last part of it, from any position on, within bounds."""

from __future__ import annotations

import sys
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.outputs import KEPT_CHARS, LiveOutput, LiveOutputs
from agentdash.model import OutputPart


def test_what_was_written_since() -> None:
    outputs = LiveOutputs()
    assert outputs.since("t1", 0) is None
    output = outputs.begin("t1", 3)
    assert outputs.since("t1", 0) == OutputPart("", 0, 3)
    output.add("Hel")
    output.add("lo")
    assert outputs.since("t1", 0) == OutputPart("Hello", 5, 3)
    assert outputs.since("t1", 3) == OutputPart("lo", 5, 3)
    assert outputs.since("t1", 5) == OutputPart("", 5, 3)
    outputs.end("t1")
    assert outputs.since("t1", 0) is None
    output.add("a thread that would not stop")
    outputs.end("t1")


def test_another_attempt_begins_anew() -> None:
    outputs = LiveOutputs()
    outputs.begin("t1", 1).add("a long answer")
    outputs.begin("t1", 2).add("short")
    assert outputs.since("t1", 13) == OutputPart("short", 5, 2), "a position of the attempt before"


def test_only_the_end_is_kept() -> None:
    output = LiveOutput(1)
    output.add("x" * KEPT_CHARS)
    output.add("y" * 10)
    part = output.since(0)
    assert (len(part.text), part.position, part.dropped) == (KEPT_CHARS, KEPT_CHARS + 10, 10)
    assert part.text.endswith("xy" + "y" * 9)
    assert output.since(20).dropped == 0
    output.add("z" * (KEPT_CHARS * 5))
    part = output.since(KEPT_CHARS)
    assert (set(part.text), part.dropped) == ({"z"}, KEPT_CHARS * 4 + 10)


@given(st.lists(st.tuples(st.integers(0, 3 * KEPT_CHARS), st.booleans()), max_size=30))
def test_a_reader_that_follows_loses_nothing_it_is_not_told_of(steps: list[tuple[int, bool]]) -> None:
    output, written, seen, position = LiveOutput(1), "", "", 0
    for size, looks in steps:
        text = "".join(chr(97 + (len(written) + n) % 26) for n in range(size % 500)) + "-" * (size // 500 * 500)
        written += text
        output.add(text)
        if looks:
            part = output.since(position)
            seen, position = seen + "?" * part.dropped + part.text, part.position
            assert len(part.text) <= KEPT_CHARS
    part = output.since(position)
    seen += "?" * part.dropped + part.text
    assert len(seen) == len(written) == part.position
    assert all(a in (b, "?") for a, b in zip(seen, written, strict=True))


def test_a_million_small_pieces_take_little_room_and_time() -> None:
    output, piece = LiveOutput(1), "tok "
    started = time.process_time()
    for _ in range(1_000_000):
        output.add(piece)
    assert time.process_time() - started < 5
    _, chunks = output._kept
    assert sum(map(sys.getsizeof, chunks)) < 4 * KEPT_CHARS
    assert output.since(0).position == 4_000_000


def test_a_thread_may_write_while_it_is_read() -> None:
    output, total = LiveOutput(1), 50_000

    def write() -> None:
        for number in range(total):
            output.add(f"{number:08}")

    writer = threading.Thread(target=write)
    writer.start()
    position = 0
    while writer.is_alive():
        part = output.since(position)
        assert part.position >= position
        assert len(part.text) + part.dropped == part.position - position
        assert not part.text or int(part.text[-8:]) == part.position // 8 - 1
        position = part.position
    writer.join()
    assert output.since(0).position == total * 8
