"""The processor that the settings name."""

from __future__ import annotations

from agentdash.config import Settings
from agentdash.engine.command.choose import command_processor
from agentdash.engine.processors.agent import AgentProcessor
from agentdash.engine.processors.base import Processor
from agentdash.engine.processors.function import FunctionProcessor, load_function
from agentdash.engine.processors.messages import MessagesProcessor, MessagesSettings
from agentdash.errors import UsageError


def make_processor(settings: Settings) -> Processor:
    """The processor that the settings name. Raises `UsageError` for one that there is not."""
    if settings.worktree and (settings.processor in ("messages", "agent") or ":" in settings.processor):
        raise UsageError(
            f"A worktree is for a command, and {settings.processor} is none.",
            hint="For example: --worktree --command 'claude -p {prompt}'.",
        )
    if settings.processor == "messages":
        return MessagesProcessor(_messages(settings))
    if settings.processor == "agent":
        return AgentProcessor(_messages(settings), tools=settings.tools, max_turns=settings.max_turns)
    if ":" in settings.processor:
        return FunctionProcessor(load_function(settings.processor), timeout_s=settings.timeout_s)
    return command_processor(settings)


def _messages(settings: Settings) -> MessagesSettings:
    return MessagesSettings(
        model=settings.model,
        max_tokens=settings.max_tokens,
        system=settings.system,
        stream=settings.stream,
        first_token_timeout_s=settings.first_token_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        timeout_s=settings.timeout_s,
    )
