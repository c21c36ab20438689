"""What a test sees of the screen: the text of its lines, without colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.widget import Widget

_ROUNDS = 200


def screen_lines(app: App[Any]) -> list[str]:
    """The lines of the screen as a person reads them, blanks at the end taken off."""
    return [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]


def screen_text(app: App[Any]) -> str:
    """The whole screen."""
    return "\n".join(screen_lines(app))


def widget_lines(widget: Widget) -> list[str]:
    """The lines of one widget, its border with its titles among them."""
    region = widget.region
    strips = widget.screen._compositor.render_strips()[region.y : region.bottom]
    return [strip.crop(region.x, region.right).text.rstrip() for strip in strips]


def widget_text(widget: Widget) -> str:
    """One widget, its border with its titles among it."""
    return "\n".join(widget_lines(widget))


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Wait until something is so; fail if it never is."""
    for _ in range(_ROUNDS):
        if condition():
            return
        await pilot.pause()
    raise AssertionError(f"it never came:\n{screen_text(pilot.app)}")
