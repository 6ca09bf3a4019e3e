"""Where the pods of a service may run, as far as its own node selector and required node affinity say.

Services are watched metadata-only, so what they say is read from the API server: once for each generation of a service,
and only where it decides something (a cache of several groups, a service that names none).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from localmodel.api import SelectorError, node_matches
from localmodel.api.names import is_ready_label
from localmodel.runtime.client import Reader
from localmodel.runtime.objects import Node, PartialObjectMetadata, Unstructured

Json = dict[str, Any]

_POD_SPECS: Final = {"InferenceService": "predictor", "LLMInferenceService": "template"}
"""By kind: the field of `spec` that has a pod's fields."""

_REMEMBERED: Final = 10_000
"""Services; then it begins anew, as the ends of services are not told here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What the nodes of a service's pods must be like. Empty: any node."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    required: Json | None = None
    """`affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution`."""

    def __bool__(self) -> bool:
        return bool(self.node_selector or self.required)

    def admit(self, node: Node) -> bool:
        """Whether the scheduler may place the pods there; an affinity that cannot be read admits no node."""
        if any(node.metadata.labels.get(key) != value for key, value in self.node_selector.items()):
            return False
        try:
            return self.required is None or node_matches({"required": self.required}, node)
        except SelectorError:
            return False


def constraints_of(service: Mapping[str, Any], kind: str) -> Constraints:
    """Those of a service as JSON; what is not of the form that it should have constrains nothing.

    Nor do the labels of nodes that have a model: it is brought to where the service shall run, and back to where it was
    evicted, so they come last.
    """
    pod = _map(_map(service.get("spec")).get(_POD_SPECS[kind]))
    affinity = _map(_map(pod.get("affinity")).get("nodeAffinity"))
    selector = {str(key): str(value) for key, value in _map(pod.get("nodeSelector")).items() if not is_ready_label(key)}
    required = _map(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    return Constraints(node_selector=selector, required=_apart_from_models(required))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _apart_from_models(required: Mapping[str, Any]) -> Json | None:
    """The affinity without what it says of the labels that tell which models a node has; None if nothing is left."""
    terms = []
    for term in _list(required.get("nodeSelectorTerms")):
        said = _list(_map(term).get("matchExpressions"))
        kept = [expression for expression in said if not is_ready_label(str(_map(expression).get("key")))]
        if said and not kept and not _map(term).get("matchFields"):
            return None  # any node will do
        terms.append({**term, "matchExpressions": kept} if len(kept) < len(said) else term)
    return {**required, "nodeSelectorTerms": terms} if terms else dict(required) or None


def first_admitting(constraints: Constraints, members: Iterable[tuple[str, Iterable[Node]]]) -> str:
    """The first of the groups, given with their nodes, that has a node for the pods, or an empty string."""
    return next((group for group, nodes in members if any(map(constraints.admit, nodes))), "")


class ServiceConstraints:
    """Remembers what services say, each generation of each. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int | None, Constraints]] = {}
        """By the service's uid: its generation, and what that says."""

    def of(self, live: Reader, service: PartialObjectMetadata) -> Constraints:
        """Reads the service if this generation of it is not known. Raises ApiError; of one that is gone, nothing."""
        uid, generation = service.metadata.uid, service.metadata.generation
        with self._lock:
            known = self._known.get(uid)
        if known is not None and known[0] == generation:
            return known[1]
        found = live.find(Unstructured.of(service.mapping), service.name, namespace=service.namespace)
        if found is None or found.metadata.uid != uid:
            return Constraints()
        said = constraints_of(found.to_dict(), service.mapping.gvk.kind)
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[uid] = found.metadata.generation, said
        return said
