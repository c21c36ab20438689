"""The ways to do a task's work: a Messages request, or the user's own function. (`choose` knows them all.)"""

from agentdash.engine.processors.base import ClientSource, Processor, TaskContext
from agentdash.engine.processors.clients import AnthropicClients
from agentdash.engine.processors.function import FunctionProcessor, load_function
from agentdash.engine.processors.messages import MessagesProcessor, MessagesSettings

__all__ = [
    "AnthropicClients",
    "ClientSource",
    "FunctionProcessor",
    "MessagesProcessor",
    "MessagesSettings",
    "Processor",
    "TaskContext",
    "load_function",
]
