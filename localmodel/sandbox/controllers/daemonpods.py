"""What a DaemonSet's pod is: its name, its spec, on which nodes it belongs, and whether it is up to date.

Pure functions for `daemonsets`. The name of a pod is made from the DaemonSet's uid and the node's name, so one node can
never have two pods of one DaemonSet, whatever a stale cache believes: the API server refuses the second.
Rules: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from localmodel.runtime.controllerutil import set_controller_reference
from localmodel.runtime.objects import DaemonSet, ObjectMeta, Pod

from . import placement
from .kinds import Node
from .placement import NO_EXECUTE, NO_SCHEDULE

Json = dict[str, Any]

REVISION_HASH = "controller-revision-hash"
TEMPLATE_GENERATION = "pod-template-generation"
GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"

_TOLERATED = (
    (placement.NOT_READY, NO_EXECUTE),
    (placement.UNREACHABLE, NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", NO_SCHEDULE),
    (placement.UNSCHEDULABLE, NO_SCHEDULE),
)
_NETWORK = ("node.kubernetes.io/network-unavailable", NO_SCHEDULE)


def template(daemon_set: DaemonSet) -> Json:
    found: Json = daemon_set.spec.get("template") or {}
    return found


def build_pod(daemon_set: DaemonSet, node: str, revision_hash: str, number: int = 0) -> Pod:
    """The pod for a node: the template, bound to the node by an affinity that the scheduler follows.

    `number`: how many of its possible names are taken by pods that are not the DaemonSet's.
    """
    body = copy.deepcopy(template(daemon_set))
    metadata = ObjectMeta.from_dict(body.get("metadata") or {})
    metadata.name, metadata.namespace = pod_name(daemon_set, node, number), daemon_set.namespace
    metadata.labels |= {REVISION_HASH: revision_hash}
    if generation := daemon_set.metadata.annotations.get(GENERATION_ANNOTATION):
        metadata.labels[TEMPLATE_GENERATION] = generation
    spec = body.get("spec") or {}
    spec["tolerations"] = tolerations(spec)
    _pin(spec, node)
    pod = Pod.from_dict({"metadata": metadata.to_dict(), "spec": spec})
    set_controller_reference(daemon_set, pod)
    return pod


def pod_name(daemon_set: DaemonSet, node: str, number: int = 0) -> str:
    """The one name that the DaemonSet's pod on this node can have; the next one where that is taken by another's."""
    parts = (daemon_set.metadata.uid, node, *([str(number)] if number else []))
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()[:10]
    return f"{daemon_set.name[:52].rstrip('-.')}-{digest}"


def tolerations(spec: Mapping[str, Any]) -> list[Json]:
    """The template's tolerations, and those that every DaemonSet's pod gets."""
    added = [*_TOLERATED, *([_NETWORK] if spec.get("hostNetwork") else [])]
    found: list[Json] = list(spec.get("tolerations") or [])
    for key, effect in added:
        toleration = {"key": key, "operator": "Exists", "effect": effect}
        if toleration not in found:
            found.append(toleration)
    return found


def _pin(spec: Json, node: str) -> None:
    """Replaces what the template requires of nodes: the controller has looked at that."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = spec.get("affinity") or {}
    node_affinity = affinity.get("nodeAffinity") or {}
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term]}
    spec["affinity"] = {**affinity, "nodeAffinity": node_affinity}


def target_node(pod: Pod) -> str:
    """The node that the pod runs on or is pinned to; empty if that cannot be told."""
    if pod.spec.node_name:
        return pod.spec.node_name
    required = placement.required_affinity(pod.spec.to_dict()) or {}
    for term in required.get("nodeSelectorTerms") or []:
        for field in term.get("matchFields") or []:
            if field.get("key") == "metadata.name" and field.get("operator") == "In" and len(field["values"]) == 1:
                return str(field["values"][0])
    return ""


def should_run(daemon_set: DaemonSet, node: Node) -> tuple[bool, bool]:
    """Whether the node is to have a pod, and whether one that it has may stay."""
    spec = template(daemon_set).get("spec") or {}
    if spec.get("nodeName") not in (None, "", node.name) or not placement.matches_selectors(spec, node):
        return False, False
    accepted = tolerations(spec)
    if placement.untolerated(accepted, node, (NO_SCHEDULE, NO_EXECUTE)) is None:
        return True, True
    return False, placement.untolerated(accepted, node, (NO_EXECUTE,)) is None


def is_updated(daemon_set: DaemonSet, pod: Pod, revision_hash: str) -> bool:
    generation = daemon_set.metadata.annotations.get(GENERATION_ANNOTATION)
    labels = pod.metadata.labels
    same_generation = generation is not None and labels.get(TEMPLATE_GENERATION) == generation
    return labels.get(REVISION_HASH) == revision_hash or (REVISION_HASH not in labels and same_generation)


def available_in(pod: Pod, min_ready_seconds: int, now: datetime) -> float:
    """Seconds until the pod counts as available, 0 when it does; infinite for one that is not Ready."""
    ready = next((c for c in pod.status.conditions if c.get("type") == "Ready" and c.get("status") == "True"), None)
    if ready is None:
        return math.inf
    if not min_ready_seconds or not ready.get("lastTransitionTime"):
        return 0.0
    since = datetime.fromisoformat(ready["lastTransitionTime"])
    return max((since + timedelta(seconds=min_ready_seconds) - now).total_seconds(), 0.0)


def max_unavailable(daemon_set: DaemonSet, desired: int) -> int:
    """How many pods may be missing during an update; at least one. A percentage is rounded up."""
    rolling = (daemon_set.spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    wanted = rolling.get("maxUnavailable", 1)
    if isinstance(wanted, str):
        wanted = math.ceil(int(wanted.rstrip("%")) * desired / 100)
    return max(int(wanted), 1)


def unsupported(daemon_set: DaemonSet) -> str:
    """What of the spec this controller cannot do, or an empty string."""
    strategy = daemon_set.spec.get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") not in ("RollingUpdate", "OnDelete"):
        return f"the sandbox does not know the update strategy {strategy['type']}"
    if (strategy.get("rollingUpdate") or {}).get("maxSurge") not in (None, 0, "0", "0%"):
        return "the sandbox never runs two pods of a DaemonSet on a node: spec.updateStrategy.rollingUpdate.maxSurge"
    return ""
