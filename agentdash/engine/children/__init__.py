"""Programs that a run starts, and that must not outlive it."""

from __future__ import annotations

from agentdash.engine.children.register import end_left_behind
from agentdash.engine.children.spawn import Child, Children

__all__ = ["Child", "Children", "end_left_behind"]
