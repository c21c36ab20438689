"""The dashboard's own colours, dark and light; Textual's other themes are in the palette."""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

THEMES: Final = (
    Theme(
        name="agentdash-dark",
        primary="#5fafd7",
        secondary="#8787af",
        accent="#5fd7d7",
        success="#87d787",
        warning="#ffd75f",
        error="#ff8787",
        foreground="#d8dee9",
        background="#10141a",
        surface="#161b22",
        panel="#1f2630",
        dark=True,
    ),
    Theme(
        name="agentdash-light",
        primary="#005f87",
        secondary="#5f5f87",
        accent="#006d6d",
        success="#2f6f2f",
        warning="#8a5a00",
        error="#a8201a",
        foreground="#1c2128",
        background="#fbfbf8",
        surface="#ffffff",
        panel="#ececE6",
        dark=False,
    ),
)
