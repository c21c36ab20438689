"""A run at one moment, as the panels' tests show it, and a stage to show it on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.widget import Widget

from agentdash.model import Counts, CredentialView, LockView, Snapshot, Totals, WorkerView
from agentdash.ui.panels.lines import LineList
from tests.ui.screen_text import screen_lines

NOW = 1_700_000_000.0
MONOTONIC = 500.0
HOSTILE = (
    "a[/]b [@click=app.quit]x[/] \x1b]52;c;AAAA\x07 \x9b31m \u202eabc\u200b\u2066 e\u0301 漢字 \ud800 \x7f\r\n\t[bold"
)
WORKERS = (
    WorkerView("worker-1", "running", "t1267", since=NOW - 2.1),
    WorkerView("worker-2", "backoff", None, 2, 1, MONOTONIC + 3.4, NOW - 8, "InternalServerError"),
    WorkerView("worker-10", "parked", None, 8, 0, MONOTONIC + 41, NOW - 75, "APITimeoutError"),
    WorkerView("worker-3", "idle"),
    WorkerView("worker-4", "waiting", None, 0, 0, MONOTONIC + 9, NOW - 1),
)
KEYS = (
    CredentialView("key-1", "…7Qx2", "org-aaaa", "api org-aaaa", "ready", True, None, 1800, 2),
    CredentialView("key-2", "…9fKe", "org-aaaa", "api org-aaaa", "ready", False, None, 20, 0),
    CredentialView("key-3", "…m1Aa", "org-bbbb", "api org-bbbb", "cooling", False, NOW + 41, 7, 7),
    CredentialView("key-4", "…t0Zz", None, "key-4", "invalid", False, None, 1, 0, "401 invalid x-api-key"),
)
LOCKS = (
    LockView("t1266", "worker-12", 4711, NOW - 2.5, "held", NOW - 1),
    LockView("t0007", "worker-3", 4000, NOW - 7200, "stale", None),
)


def moment(**changes: object) -> Snapshot:
    """A run in full swing, with changes."""
    usual = Snapshot(
        "running",
        NOW - 100,
        Counts(732, 64, 1200, 4, 0),
        Totals(1300, 7, 31, 2, 1, 1_200_000, 310_000, 4.18, 12.0),
        paused=False,
        waiting_for="",
        workers=tuple(WorkerView(f"worker-{n}", "running", f"t{n}", since=NOW - n) for n in range(1, 65)),
        credentials=KEYS,
        tasks_per_s=79.6,
        project="reports-2026-11",
        max_workers=64,
        done_at=NOW + 10,
        history=tuple(n % 9 for n in range(60)),
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


class Stage(App[None]):
    """One panel that fills the screen."""

    CSS = "#panel { border: round white; height: 1fr; } #header { border: none; height: auto; }"

    def __init__(self, panel: Widget) -> None:
        super().__init__()
        self.panel = panel
        self.chosen: list[object] = []

    def compose(self) -> ComposeResult:
        yield self.panel

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        self.chosen.append(event.key)


async def shown(panel: Widget, method: str, *arguments: object, size: tuple[int, int] = (46, 9)) -> list[str]:
    """The lines of the screen when a panel was told of a moment, the second time with its size known."""
    async with Stage(panel).run_test(size=size) as pilot:
        for _ in range(2):
            getattr(panel, method)(*arguments)
            await pilot.pause()
        return screen_lines(pilot.app)


def regions_drawn(panel: Widget, monkeypatch: pytest.MonkeyPatch) -> list[Region]:
    """A list that fills with what the panel asks to have drawn, from now on."""
    drawn: list[Region] = []

    def refresh(*regions: Region, **_: bool) -> Widget:
        drawn.extend(regions or (panel.region,))
        return panel

    monkeypatch.setattr(panel, "refresh", refresh)
    return drawn
