"""Whether a node has an agent: a Pod of the manager's namespace that carries the agents' label.

KServe's roles give the manager no right on Pods: then nothing is known of agents, which is not the same as none.
"""

from __future__ import annotations

from localmodel.api.names import AGENT_LABEL, AGENT_LABEL_VALUE
from localmodel.runtime.cache import KindForbiddenError
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Pod

from .indexes import BY_NODE


def agent_pods(reader: Reader, namespace: str, node: str = "") -> list[Pod] | None:
    """The agents, of one node or of all; None where Pods may not be read."""
    fields = {BY_NODE: node} if node else ""
    try:
        return reader.list(Pod, namespace=namespace, labels={AGENT_LABEL: AGENT_LABEL_VALUE}, fields=fields)
    except (KindForbiddenError, ForbiddenError):
        return None


def has_agent(reader: Reader, namespace: str, node: str) -> bool | None:
    """Whether an agent on the node is ready and not about to go; None where that cannot be known."""
    agents = agent_pods(reader, namespace, node)
    return None if agents is None else any(is_at_work(agent) for agent in agents)


def is_at_work(agent: Pod) -> bool:
    """Whether this agent is ready and not about to go."""
    return agent.is_ready and not agent.is_deleting
