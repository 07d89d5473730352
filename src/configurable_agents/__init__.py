"""The cost and bottleneck sidecar for LLM agent workflows."""

from configurable_agents.version import __version__

__all__ = ["__version__"]
