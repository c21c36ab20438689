"""Keeps a storm of like events to a few lines: the first are told, the rest of a while is counted."""

from __future__ import annotations

from dataclasses import dataclass

_BURST = 3
_WINDOW_S = 5.0


@dataclass(slots=True)
class _Window:
    since: float
    told: int = 0
    last: str = ""
    hidden: int = 0


class Throttle:
    """At most three lines of a kind in five seconds, then one that counts what was left out. Times are monotonic."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def offer(self, kind: str, text: str, now: float) -> list[str]:
        """The lines to tell now that this event has come."""
        lines = self._close(kind) if self._is_over(kind, now) else []
        window = self._windows.setdefault(kind, _Window(now))
        if window.told >= _BURST or text == window.last:
            window.hidden += 1
            return lines
        window.told += 1
        window.last = text
        return [*lines, text]

    def due(self, now: float) -> list[str]:
        """The counts of windows that are over."""
        return [line for kind in list(self._windows) if self._is_over(kind, now) for line in self._close(kind)]

    def rest(self) -> list[str]:
        """The counts of all windows, at the end."""
        return [line for kind in list(self._windows) for line in self._close(kind)]

    def _is_over(self, kind: str, now: float) -> bool:
        window = self._windows.get(kind)
        return window is not None and now - window.since >= _WINDOW_S

    def _close(self, kind: str) -> list[str]:
        window = self._windows.pop(kind)
        return [f"… and {window.hidden:,} more like that ({kind})"] if window.hidden else []
