"""The lines above everything else: how far the run is, how fast it goes, what it costs and what holds it up."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.segment import Segment
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from agentdash.model import Snapshot
from agentdash.ui.format import Piece
from agentdash.ui.panels.cells import fit
from agentdash.ui.panels.headerlines import HeaderLine, header_lines, line_count

_STYLES: Final = ("", "dim", "bold", "good", "warn", "bad", "accent", "spark")


class RunHeader(Widget):
    """Two lines, three where it is narrow, two short ones where it is tiny: whole figures, the weightiest longest."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"header--{name or 'text'}" for name in _STYLES}
    DEFAULT_CSS = """
    RunHeader { height: auto; }
    RunHeader > .header--dim { color: $text-muted; }
    RunHeader > .header--bold { text-style: bold; }
    RunHeader > .header--good { color: $text-success; }
    RunHeader > .header--warn { color: $text-warning; }
    RunHeader > .header--bad { color: $text-error; }
    RunHeader > .header--accent { color: $text-accent; }
    RunHeader > .header--spark { color: $accent 60%; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._moment: tuple[Snapshot, float] | None = None
        self._fault = ""
        self._lines: list[HeaderLine] = []
        self._width = -1

    def update(self, snapshot: Snapshot, now: float, monotonic: float = 0.0) -> None:
        """Show this moment; only lines that look different are drawn again."""
        self._moment, self._fault = (snapshot, now), ""
        self._arrange(self.size.width)

    def fault(self, error: BaseException) -> None:
        """Show that drawing failed; the next moment that can be drawn takes it away."""
        self._fault = f"the header cannot be shown: {type(error).__name__}: {error}"
        self._arrange(self.size.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return line_count(width)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if width != self._width:  # resized, and nothing has come since
            self._arrange(width)
        pieces = self._lines[y] if y < len(self._lines) else ()
        segments = [
            Segment(text, self.get_component_rich_style(f"header--{style or 'text'}")) for text, style in pieces
        ]
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def lines_of(self, snapshot: Snapshot, now: float, width: int) -> list[HeaderLine]:
        """What it shows of a moment."""
        return header_lines(snapshot, now, width)

    def _arrange(self, width: int) -> None:
        before, self._width = self._lines, width
        if self._fault:
            self._lines = [(Piece(f" {fit(self._fault, max(0, width - 2))}", "bad"),)]
        elif self._moment is not None:
            try:
                self._lines = self.lines_of(*self._moment, width)
            except Exception as error:  # noqa: BLE001 - a boundary: a fault in drawing must not end the dashboard
                self._lines = [(Piece(f" the header cannot be shown: {type(error).__name__}", "bad"),)]
        for y in range(max(len(before), len(self._lines))):
            if before[y : y + 1] != self._lines[y : y + 1]:
                self.refresh(Region(0, y, max(1, width), 1))
