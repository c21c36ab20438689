"""An answer laid out as Markdown: rows of styled text of a width, of text that is as untrusted as any other.

It is worked through in pieces, each for itself, off the event loop. All at once would hold the loop all the same: what
the parser makes of 200 KB is a million objects, and Python's garbage collection goes through them in one go.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import ClassVar, Final, NamedTuple

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Markdown, MarkdownElement
from rich.padding import Padding
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from agentdash.text import clean, clean_lines
from agentdash.ui.crash import log_fault
from agentdash.ui.panels.wrapping import pieces

MOST_BYTES: Final = 200_000
MOST_ROWS: Final = 20_000

Row = tuple[Segment, ...]

_PIECE_CHARS = 2_500
_PIECE_LINES = 60
_LINE_CHARS = 2_000
_MOST_PER_CELL = 4  # characters, as in wrapping.py: marks without room of their own must not pile up
_LEFT_OUT = ("link", "image", "autolink", "reference", "html_inline", "html_block")
_COLOURED: Final = frozenset({
    "bash", "c", "c#", "c++", "console", "cpp", "cs", "csharp", "css", "diff", "go", "html", "ini", "java",
    "javascript", "js", "json", "kotlin", "php", "py", "python", "rb", "ruby", "rs", "rust", "sh", "shell", "sql",
    "toml", "ts", "typescript", "xml", "yaml", "yml",
})  # fmt: skip
"""Languages whose lexers were measured with hostile text: a thousand characters take them at most 25 ms. With a few
thousand, those of C++, Java, C#, HTML, YAML and others take seconds, and a match holds Python's lock."""
_COLOURED_CHARS = 1_000

_STYLES = Theme({"markdown.code": "bold cyan", "markdown.code_block": "none", "markdown.block_quote": "italic"})
_SELECTORS = {0xFE0E: None, 0xFE0F: None}  # terminals differ in how many cells a sign with one of these takes
_FENCE = re.compile(r" *(`{3,}|~{3,})([^`]*)$")
_ITEM = re.compile(r"(?:[-+*]|[0-9]{1,9}[.)])(?: |$)")
_RULE = re.compile(r" {0,3}[-:| ]*$")


class Piece(NamedTuple):
    """Some lines of a text. `has_gap`: a blank row stands before them."""

    lines: list[str]
    has_gap: bool


def shown_part(answer: str) -> tuple[str, bool]:
    """As much of an answer as is laid out; and whether that is not all."""
    part = answer[:MOST_BYTES].encode("utf-8", "replace")[:MOST_BYTES].decode("utf-8", "ignore")
    return part, len(part) < len(answer)


def laid_out(text: str, width: int, *, is_dark: bool) -> Iterator[list[Row]]:
    """The rows of a text, piece by piece: a few milliseconds each, to be asked for in a thread."""
    for piece in cut_up(text):
        yield [()] * piece.has_gap + _rows(piece.lines, max(1, width), is_dark=is_dark)


def cut_up(text: str) -> Iterator[Piece]:
    """The cleaned text in pieces: between blocks where that can be, else between lines."""
    cutter = _Cutter()
    for line in _lines(text):
        if cutter.is_full(line):
            yield cutter.take(line)
        cutter.add(line)
    if cutter.lines:
        yield cutter.take("")


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        cleaned = clean_lines(line).translate(_SELECTORS) if line else ""
        while len(cleaned) > _LINE_CHARS:
            cut = cleaned.rfind(" ", 0, _LINE_CHARS) + 1 or _LINE_CHARS
            yield cleaned[:cut]
            cleaned = cleaned[cut:]
        yield cleaned


class _Cutter:
    """Gathers lines until they are a piece. Code that is cut goes on as code, and a table under its titles."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._chars = 0
        self._count = 0
        self._fence = ""  # the line that began the code we are in
        self._titles: list[str] = []  # of the table we are in
        self._has_gap = False

    def add(self, line: str) -> None:
        """Take the next line."""
        fence = _FENCE.match(line)
        if self._fence:
            if fence and not fence[2].strip() and fence[1].startswith(_mark(self._fence)):
                self._fence = ""
        elif fence:
            self._fence, self._titles = line, []
        elif "|" not in line:
            self._titles = []
        elif not self._titles and "-" in line and _RULE.match(line) and self.lines and "|" in self.lines[-1]:
            self._titles = [self.lines[-1], line]
        self.lines.append(line)
        self._chars += len(line)
        self._count += 1

    def is_full(self, following: str) -> bool:
        """Whether this is the place to cut, before the line that follows."""
        over = max(self._chars / _PIECE_CHARS, self._count / _PIECE_LINES)
        if over < 1:
            return False
        is_indented = following.startswith(" ")
        return bool(self._fence) or self._is_between_blocks(following) or over >= (3 if is_indented else 2)

    def _is_between_blocks(self, following: str) -> bool:
        return not self.lines[-1].strip() and bool(following) and not following.startswith(" ")

    def take(self, following: str) -> Piece:
        """What has been gathered; begin anew."""
        piece = Piece(self.lines, self._has_gap)
        is_list = bool(_ITEM.match(following)) and any(_ITEM.match(line) for line in self.lines)
        self._has_gap = not self._fence and self._is_between_blocks(following) and not is_list
        self.lines = [self._fence] if self._fence else list(self._titles)
        if self._fence:
            piece.lines.append(_mark(self._fence))
        self._chars = self._count = 0
        return piece


def _mark(fence: str) -> str:
    found = _FENCE.match(fence)
    return found[1] if found else ""


class _Code(CodeBlock):
    """A block of code: in colours if that is safe, without blank rows around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = _coloured(str(self.text).removesuffix("\n"), self.lexer_name.lower(), self.theme)
        shown.overflow = "fold"
        yield Padding(shown, (0, 1))


def _coloured(code: str, language: str, theme: str) -> Text:
    """A few lines at a time: what a match costs may grow with the square of what stands before it."""
    lines = code.split("\n")
    if language not in _COLOURED or max(map(len, lines)) > _COLOURED_CHARS:
        return Text(code)
    syntax, shown, part = Syntax("", language, theme=theme), Text(), ""
    for line in lines:
        if len(part) + len(line) > _COLOURED_CHARS:
            shown.append_text(syntax.highlight(part))
            part = ""
        part += f"{line}\n"
    shown.append_text(syntax.highlight(part))
    shown.right_crop(1)
    return shown


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements, "fence": _Code, "code_block": _Code,
    }  # fmt: skip


def _rows(lines: list[str], width: int, *, is_dark: bool) -> list[Row]:
    """A boundary: text that cannot be laid out, whatever the reason, can be read as it is."""
    try:
        rows = _rendered("\n".join(lines), width, is_dark=is_dark)
        if any(segment.text.strip() for row in rows for segment in row):
            return rows
    except Exception as error:  # noqa: BLE001 - see above
        log_fault("a part of an answer could not be laid out as Markdown", error)
    return [(Segment(row.rstrip("\n")),) for line in lines for row in pieces(line, width) if line.strip()]


def _rendered(text: str, width: int, *, is_dark: bool) -> list[Row]:
    markdown = _Markdown("", code_theme="ansi_dark" if is_dark else "ansi_light", hyperlinks=False)
    markdown.parsed = _parser().parse(text)
    console = Console(
        file=io.StringIO(), width=width, height=1000, force_terminal=True, force_jupyter=False, legacy_windows=False,
        color_system="truecolor", theme=_STYLES, markup=False, emoji=False, highlight=False,
    )  # fmt: skip
    drawn = console.render(markdown, console.options)
    found = Segment.split_and_crop_lines(drawn, width, include_new_lines=False, pad=False)
    return [_safe(line, width) for line in found]


def _safe(line: list[Segment], width: int) -> Row:
    """Clean again: `&#27;` was harmless until it was laid out."""
    room = _MOST_PER_CELL * width
    safe: list[Segment] = []
    for text, style, control in line:
        if not control and text and room > 0:
            safe.append(Segment(clean(text[:room]), style))
            room -= len(text)
    return tuple(Segment.adjust_line_length(list(Segment.simplify(safe)), width, pad=False))


def _parser() -> MarkdownIt:
    """Without links, pictures and HTML: they stay as they were written, so that what they point to can be read."""
    return MarkdownIt("commonmark").enable(["strikethrough", "table"]).disable(_LEFT_OUT)
