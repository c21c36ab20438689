"""Every key in words, and what the signs mean."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.dom import DOMNode
from textual.screen import Screen

from agentdash.text import cell_width
from agentdash.ui.format import Look, credential_look, lock_look, run_look, task_look, task_word, worker_look
from agentdash.ui.panels.document import Document
from agentdash.ui.panels.keybar import KeyBar
from agentdash.ui.screens.groups import GroupList, GroupsScreen
from agentdash.ui.screens.log import LogLines, LogScreen
from agentdash.ui.screens.task import TaskScreen

Pairs = Sequence[tuple[str, str]]

_OTHERS: Final[tuple[tuple[str, tuple[type[DOMNode], ...]], ...]] = (
    ("A task", (TaskScreen,)),
    ("Failed tasks by error", (GroupList, GroupsScreen)),
    ("The log", (LogLines, LogScreen)),
)
_COLUMNS: Final = (
    ("fail", "workers: failures of the service since the last task that ended"),
    ("rec", "workers: how often it recovered from such failures"),
    ("sent", "keys: requests sent with it"),
    ("end", "keys: the last letters of the key itself"),
    ("org", "keys: the organization, whose limit its keys share: the first 8 letters of its id"),
    ("429s", "answers that say: too many requests; that limit pauses, and the task is tried again"),
    ("by, pid", "locks: the worker that holds the task, and its process"),
    ("beat", "locks: since the holder last said that it lives"),
)
_SIGNS: Final = (
    ("tasks", task_look, ("pending", "running", "succeeded", "failed", "cancelled")),
    ("run", run_look, ("starting", "running", "paused", "draining", "stalled", "finished")),
    ("workers", worker_look, ("running", "idle", "waiting", "backoff", "probing", "parked", "paused")),
    ("keys", credential_look, ("ready", "cooling", "exhausted", "invalid")),
    ("locks", lock_look, ("held", "overdue", "stale", "foreign")),
)
_GAP: Final = 2
_MARGIN: Final = 4
_LEAST: Final = 20
_MOST: Final = 100
_TWO_COLUMNS: Final = 100
_BETWEEN: Final = 3
_LEAST_WORDS: Final = 3
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"


class HelpScreen(Screen[None]):
    """Shows the groups of (keys, what they do) that it is handed, those of the other screens, and how states read."""

    AUTO_FOCUS = "Document"
    HIDES_APP_KEYS: ClassVar = True
    """What the app's keys do could not be seen behind it."""

    BINDINGS: ClassVar = [
        Binding("escape", "back", "Back", tooltip="Back to where you were", id="back"),
        Binding("question_mark", "back", "Back", show=False, tooltip="Back to where you were", id="help"),
        Binding("q", "back", "Back", tooltip="Back to where you were", id="quit_run"),
    ]
    DEFAULT_CSS = "HelpScreen > Document { height: 1fr; }"

    def __init__(self, groups: Sequence[tuple[str, Pairs]]) -> None:
        super().__init__()
        self._groups = tuple(groups)

    def compose(self) -> ComposeResult:
        yield Document(id="help")
        yield KeyBar(("back", "quit_run"))

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """Those of this screen only: what the app's keys do could not be seen behind it."""
        return {key: active for key, active in super().active_bindings.items() if active.node is not self.app}

    def on_resize(self, event: events.Resize) -> None:
        """What a key does stands beside it, whatever the width."""
        room = max(_LEAST, event.size.width - _MARGIN)
        number = 2 if event.size.width >= _TWO_COLUMNS else 1
        width = min(_MOST, (room - (number - 1) * _BETWEEN) // number)
        groups = [(title, _joined(pairs)) for title, pairs in (*self._groups, *self._of_other_screens())]
        signs = _signs()
        column = max((len(keys) for _, pairs in [*groups, ("", signs)] for keys, _ in pairs), default=0) + _GAP
        column = min(column, width // 3)
        sections = [(title, "\n".join(_beside(pairs, column, width, number))) for title, pairs in groups]
        sections.append(("Columns", "\n".join(_lines(_COLUMNS, column, min(_MOST, room)))))
        sections.append(("Signs", "\n".join(_lines(signs, column, min(_MOST, room)))))
        self.query_one(Document).set_sections(sections)

    def _of_other_screens(self) -> Iterator[tuple[str, Pairs]]:
        """Every key of these that says what it does: those for moving are told once, with the lists."""
        for title, owners in _OTHERS:
            told: dict[str, list[str]] = {}
            for binding in Binding.make_bindings(entry for owner in owners for entry in owner.BINDINGS):
                if binding.tooltip:
                    told.setdefault(binding.tooltip, []).append(self.app.get_key_display(binding))
            yield title, [(" ".join(keys), does) for does, keys in told.items()]

    def action_back(self) -> None:
        """Leave."""
        _ = self.dismiss()


def _signs() -> Pairs:
    def told(look: Callable[[str], Look], states: Sequence[str]) -> str:
        return "   ".join(f"{look(state).glyph}{_NO_BREAK}{task_word(state)}" for state in states)

    return [(of, told(look, states)) for of, look, states in _SIGNS]


def _joined(pairs: Pairs) -> Pairs:
    """Keys that follow each other and do the same but for one word, as one: `1 – 6  Show the all, … tasks`."""
    found: list[tuple[str, str]] = []
    waiting: list[tuple[str, str]] = []
    for pair in pairs:
        if waiting and _other_word([*waiting, pair]) is None:
            found.append(_as_one(waiting))
            waiting = []
        waiting.append(pair)
    return [*found, _as_one(waiting)] if waiting else found


def _other_word(pairs: Pairs) -> int | None:
    """Which word alone is another one in each of what these do."""
    told = [_words(does) for _, does in pairs]
    if len(told[0]) < _LEAST_WORDS or len({len(words) for words in told}) > 1:
        return None
    others = [index for index, words in enumerate(zip(*told, strict=True)) if len(set(words)) > 1]
    return others[0] if len(others) == 1 else None


def _words(does: str) -> list[str]:
    """`Show all tasks` and `Show the failed tasks` are the same but for one word."""
    return [word for word in does.split() if word != "the"]


def _as_one(pairs: Pairs) -> tuple[str, str]:
    if len(pairs) == 1:
        return pairs[0]
    place = _other_word(pairs) or 0
    words = [_words(does) for _, does in pairs]
    choice = f"{', '.join(each[place] for each in words[:-1])} or {words[-1][place]}"
    keys = [key for key, _ in pairs]
    is_range = len(keys) > 2 and "".join(keys) in "123456789"
    shown = f"{keys[0]} – {keys[-1]}" if is_range else " ".join(keys)
    return shown, " ".join([*words[0][:place], choice, *words[0][place + 1 :]])


def _beside(pairs: Pairs, column: int, width: int, number: int) -> Iterator[str]:
    """The lines of so many columns beside each other, filled one after the other."""
    each = -(-len(pairs) // number)
    columns = [[*_lines(pairs[start : start + each], column, width)] for start in range(0, len(pairs), max(1, each))]
    for row in zip_longest(*columns, fillvalue=""):
        yield (" " * _BETWEEN).join(text + " " * (width - cell_width(text)) for text in row).rstrip()


def _lines(pairs: Pairs, column: int, width: int) -> Iterator[str]:
    """The keys in a column, and beside them what they do, wrapped."""
    for keys, does in pairs:
        wrapped = [line.replace(_NO_BREAK, " ") for line in textwrap.wrap(does, max(_LEAST, width - column))]
        head, *rest = wrapped or [""]
        if len(keys) + _GAP > column:  # many keys: they take a line of their own
            yield keys
            yield " " * column + head
        else:
            yield keys.ljust(column) + head
        yield from (" " * column + line for line in rest)
