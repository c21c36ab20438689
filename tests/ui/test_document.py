"""Text in sections: wrapping, live output that is followed or not, and text that is long or hostile."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import events
from textual.pilot import Pilot

from agentdash.text import clean_lines
from agentdash.ui.panels.document import MOST_CHARS, MOST_LINES, Document
from agentdash.ui.panels.wrapping import Wrapper
from tests.ui.moments import HOSTILE, Stage
from tests.ui.screen_text import screen_lines, screen_text, until

LINES = "".join(f"line {number}\n" for number in range(500))
LETTERS = "ab \n\r\t漢é\u0301\x1b\u202e\ud800😀"
SLOW_S = 0.15  # of processor time; twenty milliseconds here


async def complete(pilot: Pilot[None], document: Document) -> None:
    """Wait until all is wrapped and drawn."""
    await pilot.pause()
    await until(pilot, lambda: document.is_complete)
    await pilot.pause()


def follows(document: Document) -> bool:
    return document.follows


def wheel_down(document: Document) -> events.MouseScrollDown:
    return events.MouseScrollDown(
        document, x=3, y=3, delta_x=0, delta_y=1, button=0, shift=False, meta=False, ctrl=False, screen_x=3, screen_y=3
    )


def wrapped(text: str, width: int, step: int = 7) -> list[str]:
    rows = Wrapper(width)
    for start in range(0, len(text), step):
        rows.feed(text[start : start + step])
    rows.end()
    return [rows.row(index) for index in range(len(rows))]


@pytest.mark.parametrize(
    ("text", "width", "rows"),
    [
        ("", 8, []),
        ("one two three", 8, ["one two", "three"]),
        ("abcdefghijkl", 5, ["abcde", "fghij", "kl"]),
        ("abcde fghij", 5, ["abcde", "fghij"]),
        ("abcd \nx", 4, ["abcd", "x"]),
        ("a\n\nb\r\nc\rd", 8, ["a", "", "b", "c", "d"]),
        ("漢字漢字", 5, ["漢字", "漢字"]),
        ("  indented line", 10, ["  indented", "line"]),
        ("\tx", 8, ["    x"]),
    ],
)
def test_text_is_broken_at_blanks_where_there_are_any(text: str, width: int, rows: list[str]) -> None:
    assert wrapped(text, width) == rows


@given(
    st.text(st.sampled_from("ab \n\r\t漢é\u0301\x1b\u202e\ud800😀"), max_size=80), st.integers(2, 12), st.integers(1, 9)
)
@settings(max_examples=150, deadline=None)
def test_pieces_make_no_difference_and_every_row_fits(text: str, width: int, step: int) -> None:
    rows = wrapped(text, width, step)
    assert rows == wrapped(text, width, 1000)
    assert all(cell_len(row) <= width and row.isprintable() for row in rows)
    assert "".join("".join(rows).split()) == "".join(clean_lines(text).split())


@given(st.text(st.sampled_from("ab \n漢"), max_size=80), st.integers(2, 12), st.integers(2, 12))
@settings(max_examples=100, deadline=None)
def test_what_was_wrapped_can_be_wrapped_to_another_width(text: str, first: int, second: int) -> None:
    rows = Wrapper(first)
    rows.feed(text)
    again = Wrapper(second)
    again.feed(rows.all_text())
    assert [again.row(index) for index in range(len(again))] == wrapped(text, second)


async def test_sections_stand_under_their_heads() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(40, 12)) as pilot:
        document.set_sections([("Prompt", "Say hello to every one of them, please."), ("Usage", "cost: $1")])
        await complete(pilot, document)
        shown = [line.strip("│ ") for line in screen_lines(pilot.app)]
        assert shown[1:7] == ["Prompt", "Say hello to every one of them,", "please.", "", "Usage", "cost: $1"]


async def test_keys_and_the_wheel_move() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(40, 12)) as pilot:
        document.set_sections([("Prompt", LINES)])
        document.focus()
        await complete(pilot, document)
        for key, top in (
            ("j", 1), ("down", 2), ("k", 1), ("G", 491), ("g", 0), ("end", 491), ("pageup", 482), ("home", 0),
            ("pagedown", 9), ("up", 8),
        ):  # fmt: skip
            await pilot.press(key)
            assert document.top_row == top, key
        document.post_message(wheel_down(document))
        await until(pilot, lambda: document.top_row > 8)


async def test_live_output_is_followed_at_the_end_and_only_there() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(40, 12)) as pilot:
        document.set_sections([("Prompt", "Go on.")], live="Output")
        document.focus()
        for start in range(0, len(LINES), 100):
            document.append(LINES[start : start + 100])
        await complete(pilot, document)
        assert "line 499" in screen_text(pilot.app)
        assert follows(document)
        await pilot.press("k", "k")
        top = document.top_row
        document.append("more\n" * 100)
        await pilot.pause()
        assert document.top_row == top
        assert not follows(document)
        await pilot.press("G")
        document.append("the last line\n")
        await pilot.pause()
        assert "the last line" in screen_text(pilot.app)


async def test_live_output_keeps_its_newest_lines_and_the_reader_in_place() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(40, 12)) as pilot:
        document.set_sections([("Prompt", "Go on.")], live="Output")
        document.append("".join(f"line {number}\n" for number in range(MOST_LINES + 5)))
        await pilot.pause()
        document.focus()
        await pilot.press("pageup", "pageup")
        before = screen_lines(pilot.app)[1:-1]
        document.append("".join(f"new {number}\n" for number in range(500)))
        await pilot.pause()
        assert [line[:20] for line in screen_lines(pilot.app)[1:-1]] == [line[:20] for line in before]
        assert document.row_count == MOST_LINES + 5  # two heads, the prompt, a blank, a note
        await pilot.press("g")
        assert "no longer kept" in screen_text(pilot.app)


async def test_a_new_attempt_begins_anew_and_an_answer_takes_the_place_of_live_output() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(40, 12)) as pilot:
        document.set_sections([("Prompt", "Go on.")], live="Output")
        document.append("first try")
        document.clear_live()
        document.append("second try")
        document.set_sections([("Prompt", "Go on."), ("Attempts", "1.")], live="Output")
        await complete(pilot, document)
        assert "second try" in screen_text(pilot.app)
        assert "first try" not in screen_text(pilot.app)
        document.set_sections([("Prompt", "Go on."), ("Output", "all of it")])
        document.append("too late")
        await complete(pilot, document)
        assert "all of it" in screen_text(pilot.app)
        assert "second try" not in screen_text(pilot.app)
        assert "too late" not in screen_text(pilot.app)


@pytest.mark.parametrize("live", [False, True])
async def test_another_width_wraps_anew_and_stays_in_place(live: bool) -> None:
    text = " ".join(f"word{number:05}" for number in range(9_000))
    document = Document(id="panel")
    async with Stage(document).run_test(size=(40, 12)) as pilot:
        document.set_sections([("Prompt", "Go on."), *([] if live else [("Output", text)])], live="Live" * live)
        document.append(text)
        await complete(pilot, document)
        document.scroll_to(y=1000, animate=False, force=True)
        await pilot.pause()
        first = screen_lines(pilot.app)[1].strip("│ ").split()[0]
        for width in (100, 60, 40):
            await pilot.resize_terminal(width, 12)
            await complete(pilot, document)
            assert first in screen_text(pilot.app), width


async def test_live_output_is_followed_through_another_width() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(80, 12)) as pilot:
        document.set_sections([("Prompt", "x " * 90_000)], live="Output")
        document.append(LINES * 10)
        await complete(pilot, document)
        document.action_to_end()
        await pilot.resize_terminal(30, 12)
        document.append("the very last")
        await complete(pilot, document)
        assert "the very last" in screen_text(pilot.app)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 5_000_000,
        "words and words " * 320_000,
        "漢字" * 500_000,
        "a\n" * 2_500_000,
        HOSTILE * 50_000,
        "\u0301" * 10**6,
    ],
    ids=["one line", "words", "wide", "lines", "hostile", "marks"],
)
async def test_five_megabytes_never_hold_the_loop(text: str) -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(80, 24)) as pilot:
        held: list[float] = []
        step = document._step

        def measured() -> None:
            began = time.thread_time()
            step()
            held.append(time.thread_time() - began)

        document._step = measured  # type: ignore[method-assign]
        began = time.thread_time()
        document.set_sections([("Prompt", text)])
        held.append(time.thread_time() - began)
        await complete(pilot, document)
        print(f"held at most {max(held) * 1000:.1f} ms, {len(held)} steps, {document.row_count} rows")
        assert max(held) < SLOW_S
        document.focus()
        await pilot.press("G")
        assert "more: s saves all" in screen_text(pilot.app)
        assert not any(line.rstrip("│ ").endswith("…") for line in screen_lines(pilot.app)), "a row was cut"
        assert all(line.isprintable() for line in screen_lines(pilot.app))


async def test_the_rest_of_a_long_text_is_told_in_bytes() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(80, 24)) as pilot:
        document.set_sections([("Prompt", "x" * (MOST_CHARS + 4_900_000))])
        await complete(pilot, document)
        document.action_to_end()
        await pilot.pause()
        assert "… 4.9 MB more: s saves all" in screen_text(pilot.app)


async def test_hostile_text_is_only_text() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(60, 20)) as pilot:
        document.set_sections([(HOSTILE, HOSTILE)], live=HOSTILE)
        for character in HOSTILE:
            document.append(character)
        await complete(pilot, document)
        lines = screen_lines(pilot.app)
        assert all(line.isprintable() and cell_len(line) <= 60 for line in lines)
        assert sum("a[/]b [@click=app.quit]x[/]" in line for line in lines) == 4


async def test_five_hundred_lines_a_second_are_cheap() -> None:
    document = Document(id="panel")
    async with Stage(document).run_test(size=(120, 40)) as pilot:
        document.set_sections([("Prompt", "Go on.")], live="Output")
        line = "an answer of a usual length, which a model writes while somebody looks at it, line by line\n"
        spent: list[float] = []
        for _ in range(100):
            began = time.process_time()
            document.append(line * 125)
            spent.append(time.process_time() - began)
            await pilot.pause()
        print(f"a tick of 125 lines: {sorted(spent)[50] * 1000:.2f} ms, at most {max(spent) * 1000:.2f} ms")
        assert sorted(spent)[50] < SLOW_S
        assert document.row_count == MOST_LINES + 5
