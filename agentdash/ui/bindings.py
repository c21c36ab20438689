"""Every key of the dashboard in one place: what it does, in words, and the id by which a user's keymap names it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from textual.binding import Binding
from textual.keys import Keys, _character_to_key

from agentdash.errors import UsageError


def _key(keys: str, action: str, name: str, tooltip: str, *, id: str | None = None, show: bool = False,
         priority: bool = False, display: str | None = None) -> Binding:  # fmt: skip
    return Binding(keys, action, name, show, display, priority, tooltip, id or action.partition("(")[0])


APP_BINDINGS: Final = (
    _key("p", "pause", "Pause", "Take no new tasks, or take them again; what runs goes on", show=True),
    _key("P", "interrupt", "Pause and interrupt", "Pause, and put the running tasks back into the queue"),
    _key("R", "requeue_failed", "Requeue failed", "Put every failed task back into the queue", show=True),
    _key("K", "rotate", "Next key", "Make the next key the active one, from the next request on", show=True),
    _key("plus,equals_sign", "workers(1)", "Worker more", "One worker more", id="more_workers", display="+"),
    _key("minus", "workers(-1)", "Worker fewer", "One worker fewer", id="fewer_workers", display="-"),
    _key("u", "undo", "Undo", "Take the last requeue, cancel or priority back (for ten seconds)", show=True),
    _key("e", "groups", "Errors", "Failed tasks, grouped by error", show=True),
    _key("l", "log", "Log", "The end of the log, full screen"),
    _key("question_mark", "help", "Help", "Every key", show=True, display="?"),
    _key("q", "quit_run", "Quit", "Let running tasks finish, then leave; again: leave at once", show=True),
    _key("ctrl+c", "quit_run", "Quit", "As q", id="interrupt_key"),
    _key("ctrl+q", "quit_run", "Quit", "As q", id="quit_key", priority=True),
)

MAIN_BINDINGS: Final = (
    _key("r", "requeue", "Requeue", "Put the selected (or marked) tasks back into the queue", show=True),
    _key("x", "cancel", "Cancel", "Cancel the selected (or marked) tasks", show=True),
    _key(
        "greater_than_sign",
        "prioritize(1)",
        "Earlier",
        "Give the selected (or marked) pending tasks 1 more priority",
        id="priority_more",
        display=">",
    ),
    _key(
        "less_than_sign",
        "prioritize(-1)",
        "Later",
        "Give the selected (or marked) pending tasks 1 less priority",
        id="priority_less",
        display="<",
    ),
    # Before all others: Textual hands the keys that were typed with it to whatever has the focus when this one is done.
    _key("slash", "filter", "Filter", "Filter by id, text, error or worker", show=True, priority=True, display="/"),
    *(
        _key(
            str(number),
            f"state({number - 1})",
            f"Tab {number}",
            "Show all tasks" if name == "all" else f"Show the {name} tasks",
            id=f"tab_{number}",
        )
        for number, name in enumerate(("all", "pending", "running", "failed", "done", "cancelled"), 1)
    ),
    _key("left_square_bracket", "next_state(-1)", "Tab before", "The state tab before", id="tab_before", display="["),
    _key("right_square_bracket", "next_state(1)", "Tab after", "The state tab after", id="tab_after", display="]"),
    _key("w", "revive", "Revive", "Let the parked worker (or all of them) try again now"),
    _key("c", "clean_locks", "Clean locks", "Remove the lock files that nobody holds"),
    _key("tab", "next_panel(1)", "Next panel", "To the next panel", id="next_panel"),
    _key("shift+tab", "next_panel(-1)", "Panel before", "To the panel before", id="panel_before"),
    _key("z", "zoom", "Zoom", "Let the focused panel fill the screen, or put it back"),
    _key("escape", "back", "Back", "Go on after all (while draining), clear the filter, leave a zoomed panel"),
)

_NAMED: Final = frozenset(key.value for key in Keys)

PALETTE_TITLES: Final = {
    "pause": "Pause or resume the run",
    "requeue_failed": "Requeue all failed tasks",
    "requeue": "Requeue the selected tasks",
    "cancel": "Cancel the selected tasks",
    "rotate": "Next key: make it the active one",
    "more_workers": "Worker more (add one)",
    "fewer_workers": "Worker fewer (remove one)",
    "revive": "Revive parked workers",
    "priority_more": "Priority: selected tasks earlier",
    "priority_less": "Priority: selected tasks later",
    "undo": "Undo the last requeue, cancel or change of priority",
    "groups": "Errors: failed tasks by error",
    "log": "Log, full screen",
    "help": "Help: every key",
    "quit_run": "Quit when running tasks have ended; again: at once",
    "mark": "Mark the task under the cursor",
    "sort": "Sort by the next column",
    "reverse_sort": "Sort the other way round",
    "list_choose": "Open the task, or activate the key, under the cursor",
    "task_copy": "Copy the answer",
    "task_save": "Save the task and its answer to a file",
    "task_markdown": "Show the answer as Markdown",
    "groups_export": "Export this group to a file",
}
"""What the palette calls actions whose name in the key bar is too short to stand alone."""

SHOWN_ORDER: Final = (
    "filter", "requeue", "cancel", "groups", "requeue_failed", "rotate", "undo",
)  # fmt: skip
"""The order of the key bar between `pause` at its beginning and `help` and `quit_run` at its end. It is its rank, too:
where it is narrow, the last ones are left out."""


def check_keymap(keys: Mapping[str, str], together: Sequence[Sequence[Binding]]) -> dict[str, str]:
    """The user's keymap: binding id → keys, as Textual names them.

    `together` holds the bindings of each screen: no key may mean two things on one. Raises `UsageError` for an id or
    a key there is none of, and for a key that is taken.
    """
    known = list(dict.fromkeys(binding.id for bindings in together for binding in bindings if binding.id))
    for name, value in keys.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known))}."
            raise UsageError(f"[keys] in agentdash.toml names {name!r}, which is no action.", hint=hint)
        for key in _parts(value) or [value]:
            if not _is_key(key):
                hint = 'Keys are named as "p", "f5", "ctrl+p", "question_mark".'
                raise UsageError(f"[keys] {name} in agentdash.toml is {key!r}, which is no key.", hint=hint)
    for bindings in together:
        _check_taken(keys, bindings)
    return dict(keys)


def _check_taken(keys: Mapping[str, str], bindings: Sequence[Binding]) -> None:
    """Raise `UsageError` if a key of the user's has another meaning among these bindings."""
    owners: dict[str, str] = {}
    for binding in bindings:
        name = binding.id or binding.action
        for key in _parts(keys.get(name, binding.key)):
            other = owners.setdefault(key, name)
            if other != name and {other, name} & set(keys):
                hint = "Give one of them another key."
                raise UsageError(f"[keys] in agentdash.toml: {key!r} would mean {other} and {name}.", hint=hint)


def _parts(keys: str) -> list[str]:
    """One binding's keys, each as Textual calls it."""
    return [key if len(key) > 1 else _character_to_key(key) for part in keys.split(",") if (key := part.strip())]


def _is_key(key: str) -> bool:
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    if not set(modifiers) <= {"ctrl", "alt", "shift", "super", "meta", "hyper"}:
        return False
    return len(last) == 1 or key in _NAMED or last in _NAMED or _is_character_name(last)


def _is_character_name(name: str) -> bool:
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return False
    return True
