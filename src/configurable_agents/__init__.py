"""The cost and bottleneck sidecar for LLM agent workflows.

`observe_run` observes a workflow; `runtime.profiler.profile_node` measures its nodes.
"""

from typing import TYPE_CHECKING, Any

from configurable_agents.version import __version__

if TYPE_CHECKING:
    from configurable_agents.observe import current_run, observe_run

__all__ = ["__version__", "current_run", "observe_run"]


def __getattr__(name: str) -> Any:
    """Loads the recording side when it is first asked for: the command line and the daemon do without."""
    if name in ("current_run", "observe_run"):
        from configurable_agents import observe  # noqa: PLC0415

        return getattr(observe, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
