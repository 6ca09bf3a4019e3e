"""Which pods a node takes: selectors, affinity, taints and tolerations, as functions of the two objects.

The scheduler and the DaemonSet controller decide by the same rules. A node that is not Ready, or is unschedulable,
counts as tainted so from the moment its object says it: the taint itself comes a little later (`nodelifecycle`).
Rules: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localmodel.api.affinity import SelectorError, node_matches
from localmodel.runtime.objects import Node as NodeHead

from .kinds import Node

Json = dict[str, Any]

NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "NoExecute"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def matches_selectors(pod_spec: Mapping[str, Any], node: Node) -> bool:
    """The nodeSelector and the required node affinity of a pod's spec."""
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in (pod_spec.get("nodeSelector") or {}).items()):
        return False
    required = required_affinity(pod_spec)
    return not required or node_fits(required, node)


def required_affinity(pod_spec: Mapping[str, Any]) -> Json | None:
    node_affinity: Json = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    return node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")


def node_fits(required: Json, node: Node) -> bool:
    """Whether a NodeSelector admits the node; one that cannot be read admits none."""
    try:
        return node_matches({"required": required}, NodeHead(metadata=node.metadata))
    except SelectorError:
        return False


def taints(node: Node) -> list[Json]:
    """The node's taints, and those that its state is about to bring."""
    found: list[Json] = list(node.spec.get("taints") or [])
    keys = {(taint.get("key"), taint.get("effect")) for taint in found}
    if node.spec.get("unschedulable") and (UNSCHEDULABLE, NO_SCHEDULE) not in keys:
        found.append({"key": UNSCHEDULABLE, "effect": NO_SCHEDULE})
    if not node.is_ready and not {(NOT_READY, NO_SCHEDULE), (UNREACHABLE, NO_SCHEDULE)} & keys:
        found.append({"key": NOT_READY, "effect": NO_SCHEDULE})
    return found


def untolerated(tolerations: Sequence[Json], node: Node, effects: Sequence[str]) -> Json | None:
    """The node's first taint with one of the effects that is not tolerated."""
    for taint in taints(node):
        if taint.get("effect") in effects and not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None


def tolerates(toleration: Json, taint: Json) -> bool:
    exists = toleration.get("operator") == "Exists"
    key_fits = toleration["key"] == taint.get("key") if toleration.get("key") else exists
    value_fits = exists or (toleration.get("value") or "") == (taint.get("value") or "")
    effect_fits = not toleration.get("effect") or toleration["effect"] == taint.get("effect")
    return key_fits and value_fits and effect_fits
