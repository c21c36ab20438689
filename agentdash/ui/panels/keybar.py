"""The bottom line: the keys in fixed places, dimmed while they would do nothing, and clickable."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.strip import Strip
from textual.widget import Widget

if TYPE_CHECKING:
    from textual.screen import Screen


class KeyBar(Widget):
    """Shows a screen's bindings as far as they fit: those named first and last stay longest."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"keybar--key", "keybar--text", "keybar--off"}
    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $footer-background; color: $footer-foreground; }
    KeyBar > .keybar--key { color: $footer-key-foreground; text-style: bold; }
    KeyBar > .keybar--text { color: $footer-description-foreground; }
    KeyBar > .keybar--off { color: $footer-description-foreground 60%; }
    """

    def __init__(self, first: tuple[str, ...] = (), order: tuple[str, ...] = (), last: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._order = (first, order, last)
        self._spots: list[tuple[int, int, str]] = []
        self._names: dict[str, str] = {}

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def rename(self, id: str, name: str) -> None:
        """Show the binding with this id by another name, as what it does now is something else."""
        if self._names.get(id) != name:
            self._names[id] = name
            self.refresh()

    def _changed(self, screen: Screen[object]) -> None:
        if screen is self.screen:
            self.refresh()

    def render_line(self, y: int) -> Strip:
        items = self._items()
        width = self.size.width
        key, text, off = (self.get_component_rich_style(f"keybar--{name}") for name in ("key", "text", "off"))
        segments: list[Segment] = []
        self._spots = []
        x = 0
        for shown, name, pressed, enabled in self._fitting(items, width):
            segments += [
                Segment(f" {shown}", key if enabled else off),
                Segment(f" {name} ", text if enabled else off),
            ]
            end = x + len(shown) + len(name) + 3
            self._spots.append((x, end, pressed if enabled else ""))
            x = end
        return Strip(segments).adjust_cell_length(width, self.rich_style + Style())

    def on_click(self, event: events.Click) -> None:
        """A click is the key."""
        for start, end, pressed in self._spots:
            if start <= event.x < end:
                if pressed:
                    self.app.simulate_key(pressed)
                else:
                    self.app.bell()

    def _items(self) -> list[tuple[int, str, str, str, bool]]:
        """(how long it stays, key, name, what pressing it sends, whether it does anything), in order."""
        first, order, last = self._order
        found: dict[str, tuple[str, str, str, bool]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show:
                key = self.app.get_key_display(binding)
                name = binding.id or binding.action
                shown = self._names.get(name, binding.description)
                found.setdefault(name, (key, shown, binding.key, active.enabled))
        if palette := self.screen.active_bindings.get(self.app.COMMAND_PALETTE_BINDING):
            key = self.app.get_key_display(palette.binding)
            found["palette"] = (key, "Palette", palette.binding.key, palette.enabled)
            last = ("palette", *last)
        rest = [name for name in found if name not in {*first, *order, *last}]
        ranked = [(0, n) for n in first] + [(2, n) for n in order] + [(3, n) for n in rest] + [(1, n) for n in last]
        return [(rank, *found[name]) for rank, name in ranked if name in found]

    @staticmethod
    def _fitting(items: list[tuple[int, str, str, str, bool]], width: int) -> list[tuple[str, str, str, bool]]:
        """Those that fit: the latest of the middle goes first, whatever it would do now, so that none ever moves."""
        kept = list(items)
        while sum(len(key) + len(name) + 3 for _, key, name, _, _ in kept) > width and kept:
            index = max(range(len(kept)), key=lambda i: (kept[i][0], i))
            del kept[index]
        return [(key, name, pressed, enabled) for _, key, name, pressed, enabled in kept]
