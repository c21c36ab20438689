"""The command line: reads options, opens a project or a run, and says how it went. It owns the engine's lifetime."""

from __future__ import annotations

from agentdash.cli.app import main

__all__ = ["main"]
