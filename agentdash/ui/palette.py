"""What the command palette offers: every action of the moment by its name, with its key, so that the key is learned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from textual.app import SystemCommand
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from agentdash.ui.bindings import PALETTE_TITLES

_NOT_OFFERED = frozenset({"interrupt_key", "quit_key", "next_panel", "panel_before"})

RunAction = Callable[[str, DOMNode], Awaitable[object]]
"""Does an action by its name, for the widget or screen whose binding it is."""


def commands(
    screen: Screen[object], key_of: Callable[[Binding], str], run_action: RunAction
) -> Iterator[SystemCommand]:
    """The actions of a screen and of what has the focus on it. `key_of`: a binding's key as the user knows it."""
    offered: set[str] = set()
    for active in screen.active_bindings.values():
        binding, owner = active.binding, active.node
        name = binding.id or binding.action
        if not active.enabled or name in offered or name in _NOT_OFFERED or binding.action == "back":
            continue  # going back is Escape, in the palette as anywhere; some keys mean it under another's name
        if not binding.tooltip and name not in PALETTE_TITLES:
            continue  # moving about in a list
        offered.add(name)
        title = PALETTE_TITLES.get(name) or (binding.tooltip if name.startswith("tab_") else binding.description)
        yield SystemCommand(title, _explained(binding, title, key_of(binding)), _runner(run_action, binding, owner))


def _explained(binding: Binding, title: str, key: str) -> str:
    """The second line of a command: its key, and what it does in other words."""
    does = binding.tooltip
    return f"{key} · {does[0].lower()}{does[1:]}" if does and does != title else key


def _runner(run_action: RunAction, binding: Binding, owner: DOMNode) -> Callable[[], Awaitable[None]]:
    async def run_it() -> None:
        await run_action(binding.action, owner)

    return run_it
