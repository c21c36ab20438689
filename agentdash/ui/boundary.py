"""The error boundary between the panels: what one of them stumbles over stays in it."""

from __future__ import annotations

from collections.abc import Callable

from textual.widget import Widget

from agentdash.loopguard import in_one_line
from agentdash.ui.crash import log_fault


class ErrorBoundary:
    """Whatever a panel stumbles over is shown in it and logged once; the others go on."""

    def __init__(self) -> None:
        self._faulty: dict[str, str] = {}

    def run(self, panel: Widget, update: Callable[[], None], *, hidden_too: bool = False) -> None:
        """Update a panel, if it can be seen."""
        if not (panel.is_on_screen or hidden_too):
            return
        name = panel.id or type(panel).__name__
        try:
            update()
        except Exception as error:  # noqa: BLE001 - see above
            if self._faulty.get(name) != (fault := in_one_line(error)):
                self._faulty[name] = fault
                log_fault(f"the panel {name} failed", error)
            shown = getattr(panel, "fault", None)
            if shown is not None:
                shown(error)
        else:
            self._faulty.pop(name, None)
