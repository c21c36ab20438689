"""What one run of Claude Code has cost, where a session goes on over several runs and its figures add up.

A result says what was used since the last one, and what the whole session has used so far. A run that is told to end
leaves no result, but what it used is in the session's figures the next time: it is counted then. What a run used that
was killed is in neither, and nobody knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentdash.model import Usage

_NAMES: Final = ("costUSD", "inputTokens", "outputTokens", "cacheCreationInputTokens", "cacheReadInputTokens")
_LARGEST: Final = 1e15
_NOTHING: Final = (0.0,) * len(_NAMES)
_ROUNDING: Final = 1e-9

Figures = tuple[float, ...]
"""A figure for each of `_NAMES`."""


class SessionCost:
    """Counts one run. `counted` is what `record` said at the end of the run before in the same session."""

    def __init__(self, counted: Any) -> None:
        self._counted = _figures(counted)
        self._run = _NOTHING
        self._session: Figures | None = None

    def take(self, result: Mapping[str, Any]) -> None:
        """One of the run's results."""
        self._run = _added(self._run, _of_models(result.get("model_usage_since_last_result")))
        total = number(result.get("total_cost_usd"))
        if total is not None:
            self._session = (total, *_of_models(result.get("modelUsage"))[1:])

    @property
    def usage(self) -> Usage | None:
        """The tokens; None if nothing was said of them."""
        tokens = [int(figure) for figure in self._spent()[1:]]
        return Usage(*tokens) if any(tokens) else None

    @property
    def cost_usd(self) -> float | None:
        """The cost in US dollars; None if nothing was said of it."""
        return self._spent()[0] if self._session is not None else None

    def record(self) -> Sequence[float] | None:
        """What is counted of the session by now; None if it has cost nothing yet."""
        return self._session if self._session is not None and any(self._session) else None

    def _spent(self) -> Figures:
        """What is not counted yet: this run, and what others have left in the session's figures without a result."""
        if self._session is None or self._session[0] + _ROUNDING < self._counted[0] + self._run[0]:
            return self._run  # the session's figures have begun anew, as after a kill
        return tuple(max(0.0, now - before) for now, before in zip(self._session, self._counted, strict=True))


def number(value: Any) -> float | None:
    """A number that can be counted with; None for all else."""
    return float(value) if type(value) in (int, float) and 0 <= value < _LARGEST else None


def _of_models(models: Any) -> Figures:
    """All models' figures together."""
    found = [m for m in models.values() if isinstance(m, Mapping)] if isinstance(models, Mapping) else []
    return tuple(sum((number(model.get(name)) or 0.0 for model in found), 0.0) for name in _NAMES)


def _figures(value: Any) -> Figures:
    if not isinstance(value, list) or len(value) != len(_NAMES):
        return _NOTHING
    return tuple(number(figure) or 0.0 for figure in value)


def _added(one: Figures, other: Figures) -> Figures:
    return tuple(a + b for a, b in zip(one, other, strict=True))
