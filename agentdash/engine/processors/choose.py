"""The processor that the settings name."""

from __future__ import annotations

from agentdash.config import Settings
from agentdash.engine.command.choose import command_processor
from agentdash.engine.processors.base import Processor
from agentdash.engine.processors.function import FunctionProcessor, load_function
from agentdash.engine.processors.messages import MessagesProcessor, MessagesSettings


def make_processor(settings: Settings) -> Processor:
    """The processor that the settings name. Raises `UsageError` for one that there is not."""
    if settings.processor == "messages":
        return MessagesProcessor(
            MessagesSettings(
                model=settings.model,
                max_tokens=settings.max_tokens,
                system=settings.system,
                stream=settings.stream,
                first_token_timeout_s=settings.first_token_timeout_s,
                idle_timeout_s=settings.idle_timeout_s,
                timeout_s=settings.timeout_s,
            )
        )
    if ":" in settings.processor:
        return FunctionProcessor(load_function(settings.processor), timeout_s=settings.timeout_s)
    return command_processor(settings)
