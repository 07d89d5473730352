"""What can be known to be missing before a run begins, and before it costs anything."""

from __future__ import annotations

from importlib.util import find_spec

from configurable_agents.core.checks import Checked
from configurable_agents.core.functions import load_function
from configurable_agents.core.models import PROVIDERS, check_key, install_hint, model_name
from configurable_agents.core.schema import Node
from configurable_agents.errors import ConfigurationError, MissingPackageError


def check_ready(checked: Checked) -> None:
    """Raises `ConfigurationError` or one of its kinds for the first thing that no run could do without."""
    for node in checked.plan.nodes.values():
        if node.python is not None:
            load_function(node.python, checked.folder)
        else:
            _check_model(checked, node)
        for tool in node.tools:
            if ":" not in tool.name:
                raise ConfigurationError(
                    f"node {node.id!r}: the tool {tool.name!r} is none of this runner's; name your own as"
                    " package.module:function"
                )
            load_function(tool.name, checked.folder)


def _check_model(checked: Checked, node: Node) -> None:
    name = model_name(checked.plan.workflow.llm_of(node), node_id=node.id)
    package = PROVIDERS.get(name.provider)
    if find_spec("langchain") is None or (package and find_spec(package.module) is None):
        raise MissingPackageError(
            f"node {node.id!r} asks {name.provider}, which needs: {install_hint(name, package)}"
        )
    check_key(name.provider, package)
