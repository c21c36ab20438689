"""The demo's server: who may ask it, what it refuses, and the keys that fit."""

from __future__ import annotations

from dataclasses import replace

from agentdash.cli.workload import REFUSED
from agentdash.engine.credentials import APICredential
from agentdash.secret import Secret
from agentdash.simulator import Kind, Rule, SimulatorConfig


def demo_config(seed: int) -> SimulatorConfig:
    """Three keys of two organisations, with rate limits and failures, and tasks that are refused for what they say."""
    refusal = Rule(
        REFUSED.replace("[", r"\[").replace("]", r"\]"),
        Kind.INVALID_REQUEST,
        message="messages.0.content.1.image: the image could not be decoded",
    )
    return replace(SimulatorConfig.demo(seed=seed), rules=(refusal,))


def demo_credentials(config: SimulatorConfig, base_url: str) -> list[APICredential]:
    """The keys of that server."""
    return [APICredential(Secret(key.key), base_url=base_url, name=key.name) for key in config.keys]
