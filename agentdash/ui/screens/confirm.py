"""A question before something that is not easily taken back: it counts, and does nothing unless one says yes."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from agentdash.text import cell_width, clean, clean_lines, shorten

_LONGEST = 2000
_LABEL_CELLS = 34


class ConfirmDialog(ModalScreen[bool]):
    """The button that does nothing has the focus, so Enter is no; `y` and the other button are yes."""

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar = [
        Binding("y", "answer(True)", "Yes", id="yes", tooltip="Do it"),
        Binding("n,escape,ctrl+c", "answer(False)", "Cancel", id="no", tooltip="Do nothing"),
        Binding("left,up,shift+tab", "app.focus_previous", "The other button", show=False, id="button_before"),
        Binding("right,down,tab", "app.focus_next", "The other button", show=False, id="button_after"),
    ]
    DEFAULT_CSS = """
    ConfirmDialog { align: center middle; }
    ConfirmDialog > #dialog {
        width: 64;
        max-width: 94%;
        height: auto;
        max-height: 90%;
        padding: 1 2;
        border: round $warning;
        background: $surface;
    }
    ConfirmDialog #text { height: auto; max-height: 12; }
    ConfirmDialog #question { width: 1fr; height: auto; text-style: bold; }
    ConfirmDialog #detail { width: 1fr; height: auto; margin-top: 1; color: $text-muted; }
    ConfirmDialog #buttons { height: 1; margin-top: 1; align-horizontal: right; }
    ConfirmDialog Button { width: auto; min-width: 12; max-width: 36; height: 1; margin-left: 2; border: none; }
    ConfirmDialog #no:focus, ConfirmDialog #yes:focus {
        background: $block-cursor-background;
        color: $block-cursor-foreground;
        text-style: bold;
    }
    ConfirmDialog #no:nocolor, ConfirmDialog #yes:nocolor {
        background: $surface;
        color: $foreground;
        text-style: none;
    }
    ConfirmDialog #no:nocolor:focus, ConfirmDialog #yes:nocolor:focus { text-style: bold reverse; }
    """

    def __init__(self, question: str, *, detail: str = "", confirm_label: str, refuse_label: str = "Cancel") -> None:
        super().__init__()
        self._question = question[:_LONGEST]
        self._detail = detail[:_LONGEST]
        self._label = confirm_label
        self._refuse_label = refuse_label

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="dialog", can_focus=False):
            with VerticalScroll(id="text", can_focus=False):
                yield Static(Content(clean(self._question)), id="question")
                if self._detail:
                    yield Static(Content(clean_lines(self._detail)), id="detail")
            with Horizontal(id="buttons"):
                yield Button(self._labelled(clean(self._refuse_label), "no"), id="no", compact=True)
                yield Button(self._labelled(clean(self._label), "yes"), id="yes", variant="warning", compact=True)

    def _labelled(self, label: str, name: str) -> Content:
        """What a button says, and the key that does the same."""
        bindings = [active.binding for active in self.active_bindings.values() if active.binding.id == name]
        keys = sorted((clean(self.app.get_key_display(binding)) for binding in bindings), key=len)
        key = f" ({keys[0]})" if keys else ""
        return Content(shorten(label, _LABEL_CELLS - cell_width(key)) + key)

    @on(Button.Pressed, "#yes")
    def _yes(self) -> None:
        _ = self.dismiss(True)

    @on(Button.Pressed, "#no")
    def _no(self) -> None:
        _ = self.dismiss(False)

    def action_answer(self, is_sure: bool) -> None:
        """Close with this answer."""
        _ = self.dismiss(is_sure)
