"""A place of its own for each task: a git worktree and a branch, made before it runs and kept with its work after."""

from agentdash.engine.workspaces.workspaces import Workspaces

__all__ = ["Workspaces"]
