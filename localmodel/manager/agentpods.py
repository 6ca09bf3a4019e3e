"""Whether a node has an agent: a Pod of the manager's namespace that carries the agents' label."""

from __future__ import annotations

from localmodel.api.names import AGENT_LABEL, AGENT_LABEL_VALUE
from localmodel.runtime.client import Reader
from localmodel.runtime.objects import Pod

from .indexes import BY_NODE


def has_agent(reader: Reader, namespace: str, node: str) -> bool:
    """Whether an agent on the node is ready and not about to go."""
    agents = reader.list(Pod, namespace=namespace, labels={AGENT_LABEL: AGENT_LABEL_VALUE}, fields={BY_NODE: node})
    return any(is_at_work(agent) for agent in agents)


def is_at_work(agent: Pod) -> bool:
    """Whether this agent is ready and not about to go."""
    return agent.is_ready and not agent.is_deleting
