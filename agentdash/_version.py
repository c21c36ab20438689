"""The version, alone in a module so that `agentdash --version` and the build get it without importing the rest."""

__version__ = "0.1.0"
