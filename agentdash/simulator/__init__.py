"""A local server that speaks the Messages API: the demo, the tests and the benchmarks need no key and no network."""

from agentdash.simulator.bucket import Limit
from agentdash.simulator.config import (
    FailureRates,
    KeyBehaviour,
    KeyConfig,
    Latency,
    LimitChange,
    OrganizationConfig,
    SimulatorConfig,
    Storm,
)
from agentdash.simulator.kinds import Kind
from agentdash.simulator.records import Recorder, RequestRecord
from agentdash.simulator.rules import Rule, ToolCall
from agentdash.simulator.server import Simulator

__all__ = [
    "FailureRates",
    "KeyBehaviour",
    "KeyConfig",
    "Kind",
    "Latency",
    "Limit",
    "LimitChange",
    "OrganizationConfig",
    "Recorder",
    "RequestRecord",
    "Rule",
    "Simulator",
    "SimulatorConfig",
    "Storm",
    "ToolCall",
]
