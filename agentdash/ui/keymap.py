"""The keys that the user has chosen, checked against those of every screen."""

from __future__ import annotations

from collections.abc import Mapping

from textual.binding import Binding
from textual.dom import DOMNode

from agentdash.ui.bindings import APP_BINDINGS, check_keymap
from agentdash.ui.panels.lines import LineList
from agentdash.ui.panels.queue import Queue
from agentdash.ui.screens.main import MainScreen


def checked_keymap(keymap: Mapping[str, str] | None) -> dict[str, str]:
    """Binding id → keys, as Textual names them; empty without a keymap.

    Raises `UsageError` for an id or a key there is none of, and for a key that means something else on a screen.
    """
    return check_keymap(keymap, _bindings_together()) if keymap else {}


def _bindings_together() -> list[list[Binding]]:
    """The bindings of each screen, those that work everywhere among them."""
    from agentdash.ui.screens.confirm import ConfirmDialog
    from agentdash.ui.screens.groups import GroupsScreen
    from agentdash.ui.screens.help import HelpScreen
    from agentdash.ui.screens.log import LogScreen
    from agentdash.ui.screens.task import TaskScreen

    def of(*owners: type[DOMNode]) -> list[Binding]:
        return [binding for owner in owners for binding in owner.BINDINGS if isinstance(binding, Binding)]

    return [
        [*APP_BINDINGS, *of(MainScreen, Queue, LineList)],
        *(of(screen) for screen in (TaskScreen, GroupsScreen, LogScreen, HelpScreen, ConfirmDialog)),
    ]
