"""What the manager keeps at hand of Nodes, agents and caches, so that a look at a thousand of them decodes none.

Each function is an index of parts of the cache (see `indexes`): it gives the same object, without what nothing here
looks at, so heartbeats of nodes and status writes change no part. The objects are shared: they are read, never changed.
`Members` remembers which of the nodes belong to a group.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import Any

from localmodel.api import Cache, LocalModelCacheStatus, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import AGENT_LABEL, AGENT_LABEL_VALUE, is_ready_label, status_key
from localmodel.runtime.cache import KindForbiddenError
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Node, NodeStatus, ObjectKey, ObjectMeta, Pod

from .entries import group_has_node
from .reports import ALL, Report, reports_of


def known_node(node: Node) -> dict[str, Node]:
    """Its name, uid, readiness and labels, but those that tell which models it has: under its name, and with all."""
    labels = {name: value for name, value in node.metadata.labels.items() if not is_ready_label(name)}
    metadata = ObjectMeta(
        name=node.name, uid=node.metadata.uid, labels=labels, deletion_timestamp=node.metadata.deletion_timestamp
    )
    ready = [condition for condition in node.status.conditions if condition.type == "Ready"]
    known = Node(metadata=metadata, status=NodeStatus(conditions=ready))
    return {ALL: known, node.name: known}


def agent_at_work(pod: Pod) -> dict[str, str]:
    """The node of an agent that is ready and not about to go: under the node's name, and with all."""
    node = pod.spec.node_name
    is_agent = pod.metadata.labels.get(AGENT_LABEL) == AGENT_LABEL_VALUE
    return {ALL: node, node: node} if node and is_agent and pod.is_ready and not pod.is_deleting else {}


def known_cache(cache: Cache) -> dict[str, Cache]:
    """The cache without its status, but for the services: under each of its groups."""
    services = LocalModelCacheStatus(
        inference_services=cache.status.inference_services, llm_inference_services=cache.status.llm_inference_services
    )
    metadata = ObjectMeta(
        name=cache.name,
        namespace=cache.namespace,
        uid=cache.metadata.uid,
        deletion_timestamp=cache.metadata.deletion_timestamp,
    )
    known = cache.model_copy(update={"metadata": metadata, "status": services})
    return dict.fromkeys(cache.spec.node_groups, known)


def named_credentials(cache: Cache) -> dict[str, tuple[str, str]]:
    """The ServiceAccount and the storage (as JSON) that it names, empty where it names none: under its URI."""
    spec = cache.spec
    storage = json.dumps(spec.storage.to_dict(), sort_keys=True) if spec.storage is not None else ""
    return {spec.source_model_uri: (spec.service_account_name, storage)}


# reading -------------------------------------------------------------------------------------------------------------


def known_nodes(reader: Reader) -> list[Node]:
    """All nodes, sorted by name."""
    nodes = reader.parts(Node, known_node, ALL)
    return [nodes[key] for key in sorted(nodes)]


def find_node(reader: Reader, name: str) -> Node | None:
    """The node of that name."""
    return reader.parts(Node, known_node, name).get(ObjectKey("", name))


def reports_about(reader: Reader, cache: Cache) -> dict[str, Report]:
    """By node that has the entry or the state of the cache's model, what it says of it."""
    found = reader.parts(LocalModelNode, reports_of, status_key(cache.name, cache.namespace))
    return {key.name: report for key, report in found.items()}


def nodes_with_agent(reader: Reader, namespace: str) -> frozenset[str] | None:
    """The nodes on which an agent of the namespace is at work; None where Pods may not be read.

    KServe's roles give the manager no right on Pods: then nothing is known of agents, which is not the same as none.
    """
    return _agents(reader, namespace, ALL)


def has_agent(reader: Reader, namespace: str, node: str) -> bool | None:
    """Whether an agent is at work on the node; None where that cannot be known."""
    agents = _agents(reader, namespace, node)
    return None if agents is None else bool(agents)


def _agents(reader: Reader, namespace: str, node: str) -> frozenset[str] | None:
    try:
        found = reader.parts(Pod, agent_at_work, node)
    except (KindForbiddenError, ForbiddenError):
        return None
    return frozenset(name for key, name in found.items() if key.namespace == namespace)


class Members:
    """Which nodes belong to which groups. A node is looked at again when it or the group's affinity has changed.

    Thread-safe: the reconcilers of a manager share one, and that of the groups makes it forget those that are gone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Any, dict[str, tuple[Node, bool]]]] = {}
        """By group: its node affinity, and what that says of each node."""

    def of(self, group: LocalModelNodeGroup, nodes: Iterable[Node]) -> list[Node]:
        """Those of the nodes, which must be `known_nodes`, that belong to the group, in their order."""
        with self._lock:
            affinity, before = self._known.get(group.name, (None, {}))
        if affinity != group.node_affinity:
            before = {}
        now: dict[str, tuple[Node, bool]] = {}
        for node in nodes:
            said = before.get(node.name)
            now[node.name] = said if said and said[0] is node else (node, group_has_node(group, node))
        with self._lock:
            self._known[group.name] = group.node_affinity, now
        return [node for node, belongs in now.values() if belongs]

    def forget(self, group: str) -> None:
        """The group is gone."""
        with self._lock:
            self._known.pop(group, None)
