"""What a program writes: whole lines, without any key, bounded whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.command import output
from agentdash.engine.command.output import HeadAndTail, Lines, Tail
from agentdash.secret import Secret

KEY = "sk-ant-api03-Zz9Yy8Xx7Ww6Vv5Uu4Tt3"


def fed(pieces: list[bytes]) -> list[str]:
    lines = Lines()
    return [line for piece in pieces for line in lines.feed(piece)] + lines.end()


@given(text=st.text(max_size=80), cuts=st.lists(st.integers(1, 9), max_size=40))
def test_lines_are_whole_wherever_the_pipe_cuts_them(text: str, cuts: list[int]) -> None:
    data, pieces = text.encode("utf-8", "replace"), []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    lines = fed([*pieces, data])
    assert "".join(lines) == text.encode("utf-8", "replace").decode()
    assert all(line.endswith("\n") and "\n" not in line[:-1] for line in lines[:-1])


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert fed([b"a\xff\xfe", b"b\n", b"\xe2\x82"]) == ["a\ufffd\ufffdb\n", "\ufffd"]


@given(at=st.integers(0, len(KEY)))
def test_a_key_is_taken_out_wherever_the_pipe_cuts_it(at: int) -> None:
    Secret(KEY)
    data = f"the key is {KEY}, you see\n".encode()
    lines = fed([data[: 11 + at], data[11 + at :]])
    assert lines == ["the key is [redacted], you see\n"]


def test_a_line_without_end_comes_in_pieces_and_holds_no_key() -> None:
    Secret(KEY)
    lines = Lines()
    found = []
    for at in range(0, 3 * output.LONGEST_LINE, 1 << 16):
        found += lines.feed((KEY if at % (1 << 18) == 0 else "").encode() + b"x" * (1 << 16))
    found += lines.end()
    assert len(found) >= 3
    assert all(len(piece) <= output.LONGEST_LINE + (1 << 17) for piece in found)
    assert KEY not in "".join(found)
    assert KEY[:20] not in "".join(found)


@given(pieces=st.lists(st.text(max_size=30), max_size=30), most=st.integers(1, 40))
def test_the_tail_is_the_end_of_all(pieces: list[str], most: int) -> None:
    tail = Tail(most)
    for piece in pieces:
        tail.add(piece)
    assert tail.text == "".join(pieces)[-most:]


@given(pieces=st.lists(st.text(alphabet="ab\n", max_size=30), max_size=30), most=st.integers(2, 40))
def test_a_long_text_loses_its_middle_only(pieces: list[str], most: int) -> None:
    kept = HeadAndTail(most)
    for piece in pieces:
        kept.add(piece)
    whole = "".join(pieces)
    if len(whole) <= most:
        assert kept.text == whole
    else:
        head, _, tail = kept.text.partition("\n[...")
        assert whole.startswith(head)
        assert whole.endswith(tail.partition("...]\n")[2])
        assert len(head) + len(tail.partition("...]\n")[2]) == most
