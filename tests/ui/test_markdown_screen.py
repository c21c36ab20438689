"""An answer laid out as Markdown: what it shows, hostile text, widths, and that the loop is never held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from agentdash.model import TaskState
from agentdash.text import clean
from agentdash.ui.screens import markdown as markdown_module
from agentdash.ui.screens.markdown import MarkdownScreen, MarkdownText
from agentdash.ui.screens.markdowntext import MOST_BYTES, MOST_ROWS, Row, cut_up, laid_out, shown_part
from agentdash.ui.screens.task import TaskScreen
from tests.ui.moments import HOSTILE, Stage
from tests.ui.screen_text import screen_lines, screen_text, until
from tests.ui.task_stage import ANSWER, Shown, a_run, settled

CUT = "The beginning of a long answer"
LONG_TABLE = "|name|b|\n|-|-|\n" + "|x **y**|z|\n" * 400


def rows(text: str, width: int = 60) -> list[str]:
    """The text of each row."""
    found = [row for part in laid_out(text, width, is_dark=True) for row in part]
    return ["".join(segment.text for segment in row).rstrip() for row in found]


async def laid(pilot: Pilot[None]) -> MarkdownText:
    """The text once all of it is laid out: that happens in a thread, so not by rounds but by the clock."""
    end = time.monotonic() + 30
    while True:
        await pilot.pause()
        found = pilot.app.screen.query(MarkdownText)
        if found and found.first().is_complete:
            await pilot.pause()
            return found.first()
        assert time.monotonic() < end, "it was never laid out"
        await asyncio.sleep(0.001)


def test_blocks_are_laid_out() -> None:
    shown = "\n".join(rows("# Head\n\nAll **well**.\n\n> quoted\n\n- one\n- two\n\n1. first\n\n|a|b|\n|-|-|\n|1|2|\n"))
    for part in ("Head", "All well.", "▌ quoted", " • one", " 1 first", " a  b", " 1  2"):
        assert part in shown, part
    assert not set(shown) & {"#", "*", "|"}


def test_code_is_coloured_only_in_known_languages() -> None:
    def styles(language: str) -> set[str]:
        parts = laid_out(f"```{language}\ndef f(): return 'x'\n```", 60, is_dark=True)
        return {str(segment.style) for part in parts for row in part for segment in row if segment.text.strip()}

    assert len(styles("python")) > 2
    assert len(styles("unheard")) == len(styles("")) == 1


@pytest.mark.parametrize("language", ["", "python", "yaml", "java", "html"])
def test_code_is_never_lost_where_it_is_cut(language: str) -> None:
    code = "\n".join(f"    line{number} \\ ` & <" for number in range(500))
    shown = rows(f"````{language}\n{code}\n````\n\nafter", 80)
    assert [line.strip() for line in shown] == [line.strip() for line in code.split("\n")] + ["", "after"]


def test_a_long_table_goes_on_under_its_titles_and_lists_go_on() -> None:
    shown = rows(LONG_TABLE)
    assert sum("x y" in line for line in shown) == 400
    assert sum("name" in line for line in shown) > 1
    assert not any("|" in line for line in shown)
    numbers = rows("".join(f"{number}. item\n" for number in range(1, 400)))
    assert [line.split()[0] for line in numbers if line] == [str(number) for number in range(1, 400)]


@pytest.mark.parametrize("width", [1, 2, 5, 20, 120])
@pytest.mark.parametrize(
    "text",
    [HOSTILE * 20, "> " * 3000 + "deep", "> - 1. x\n" * 40, LONG_TABLE[:900], "a\u0301" * 3000 + "\u0301" * 9000,
     "&#27;[31m &#x202e; &#155; &#0;", "⚠️ 漢字 " * 200, "```\n" + HOSTILE, "|" * 3000 + "\n" + "|-" * 1000],
    ids=["hostile", "deep", "quotes", "table", "marks", "entities", "wide", "fence", "bars"],
)  # fmt: skip
def test_every_row_is_printable_and_fits(text: str, width: int) -> None:
    shown = rows(text, width)
    assert shown
    for line in shown:
        assert line.isprintable()
        assert cell_len(line) <= max(width, 2)
        assert len(line) <= 4 * width + 2


def test_what_cannot_be_laid_out_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> list[Row]:
        raise RecursionError

    monkeypatch.setattr("agentdash.ui.screens.markdowntext._rendered", fails)
    assert rows(f"# {HOSTILE}", 200)[0].startswith("# a[/]b")


def test_it_is_bounded() -> None:
    part, is_cut = shown_part("漢" * 300_000)
    assert is_cut
    assert len(part.encode()) <= MOST_BYTES
    assert shown_part(ANSWER) == (ANSWER, False)
    part, is_cut = shown_part("\ud800" * 10)
    assert not is_cut
    assert all(map(clean, rows(part)))


@pytest.mark.parametrize(
    "text",
    ["x" * MOST_BYTES, "- a\n" * 50_000, "  b\n" * 50_000, LONG_TABLE * 50, "```\n" + "x\n" * 100_000,
     "\n" * MOST_BYTES, "|" * MOST_BYTES, HOSTILE * 2000],
    ids=["one line", "list", "indented", "table", "fence", "blank", "bars", "hostile"],
)  # fmt: skip
def test_pieces_are_small(text: str) -> None:
    """A piece is parsed at one go, and what a parser makes of it is collected at one go."""
    found = list(cut_up(text))
    assert max(len(piece.lines) for piece in found) <= 200
    assert max(sum(map(len, piece.lines)) for piece in found) <= 12_000


async def test_markdown_on_demand_without_links() -> None:
    run = a_run(TaskState.RUNNING)
    run.finish("t1", ANSWER)
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "✔ done")
        await pilot.press("m")
        text = await settled(pilot, "Findings")
        assert isinstance(app.screen, MarkdownScreen)
        assert "# Findings" not in text
        assert "[a link](https://example.org/x)" in text
        assert not any(
            "@click" in (segment.style.meta if segment.style else {})
            for strip in app.screen._compositor.render_strips()
            for segment in strip
        )
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, TaskScreen))


@pytest.mark.parametrize(
    "answer",
    [HOSTILE, "> " * 5000 + "deep", "|a|b|\n|-|-|\n" + "|[x|y[/]|\n" * 50, "```[/]\n\x1b[31m\n```",
     "<b>[/b]</b>\n\n<div>x</div>", "&#27;[31m &#x202e; &#155;",
     "[x](javascript:alert)\n\n[y]: http://a\n\n[y] ![p](http://b) <http://c> http://d"],
    ids=["hostile", "deep", "table", "fence", "html", "entities", "links"],
)  # fmt: skip
async def test_hostile_markdown_is_only_text(answer: str) -> None:
    run = a_run(TaskState.RUNNING)
    run.finish("t1", answer)
    async with Shown(run).run_test(size=(80, 24)) as pilot:
        await settled(pilot, "✔ done")
        await pilot.press("m")
        text = await laid(pilot)
        assert text.row_count
        assert all(line.isprintable() for line in screen_lines(pilot.app))
        strips = pilot.app.screen._compositor.render_strips()
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        assert not any(style.link or "@click" in style.meta for style in styles)
        assert "this panel failed" not in screen_text(pilot.app)


async def test_keys_move_and_another_width_keeps_the_place() -> None:
    text = MarkdownText("\n\n".join(f"para{number} " + "and words " * 12 for number in range(400)), id="panel")
    async with Stage(text).run_test(size=(120, 20)) as pilot:
        text.focus()
        await laid(pilot)
        wide = text.row_count
        for key, top in (("j", 1), ("down", 2), ("k", 1), ("G", text.max_scroll_y), ("g", 0), ("pagedown", 17)):
            await pilot.press(key)
            assert text.top_row == top, key
        text.scroll_to(y=wide // 2, animate=False, force=True)
        for width in (40, 80, 50):
            await pilot.resize_terminal(width, 20)
        await until_width(pilot, text, 50)
        assert text.row_count > wide
        assert abs(text.top_row / text.row_count - 0.5) < 0.05
        assert all(cell_len(line) <= 50 for line in screen_lines(pilot.app))


async def until_width(pilot: Pilot[None], text: MarkdownText, width: int) -> None:
    await until(pilot, lambda: text._look is not None and width - 8 < text._look[0] < width)
    await laid(pilot)


async def test_too_many_rows_are_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown_module, "MOST_ROWS", 100)
    run = a_run(TaskState.RUNNING)
    run.finish("t1", "- a\n" * 1000)
    async with Shown(run).run_test(size=(80, 24)) as pilot:
        await settled(pilot, "✔ done")
        await pilot.press("m")
        text = await laid(pilot)
        assert text.row_count == 100 < MOST_ROWS
        await until(pilot, lambda: CUT in screen_text(pilot.app))


async def test_a_fault_is_shown_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Iterator[list[Row]]:
        raise ZeroDivisionError

    monkeypatch.setattr(markdown_module, "laid_out", fails)
    text = MarkdownText(ANSWER, id="panel")
    async with Stage(text).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "this panel failed: ZeroDivisionError" in screen_text(pilot.app))


@pytest.mark.parametrize(
    "answer",
    ["".join(f"- item {n} with **bold** and `code`\n" for n in range(600)), LONG_TABLE * 5, "x" * MOST_BYTES,
     "```python\n" + "def f(a): return [x for x in 'abc']\n" * 2000],
    ids=["list", "table", "one line", "code"],
)  # fmt: skip
async def test_laying_out_happens_in_a_thread_in_small_pieces(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop_thread: list[bool] = []
    real = laid_out

    def watched(text: str, width: int, *, is_dark: bool) -> Iterator[list[Row]]:
        for part in real(text, width, is_dark=is_dark):
            loop_thread.append(_has_loop())
            yield part

    monkeypatch.setattr(markdown_module, "laid_out", watched)
    text = MarkdownText(answer, id="panel")
    async with Stage(text).run_test(size=(120, 40)) as pilot:
        await laid(pilot)
        assert len(loop_thread) > 3
        assert not any(loop_thread)


def _has_loop() -> bool:
    try:
        _ = asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
