"""`NamespaceReconciler`: gives each namespace its default ServiceAccount and the API server's authority, for pods, and
empties one that is being deleted.

A namespace in deletion keeps the finalizer `kubernetes` in its spec until nothing is left in it; only the `finalize`
subresource removes that. Objects with finalizers of their own hold it up, and the status says which.
Rules: https://kubernetes.io/docs/tasks/administer-cluster/namespaces/ (two-step deletion).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from localmodel.runtime.errors import AlreadyExistsError, ApiError, ForbiddenError, NotFoundError
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import (
    ConfigMap,
    Namespace,
    Object,
    ObjectMeta,
    PartialObjectMetadata,
    RESTMapping,
    ServiceAccount,
    format_time,
)
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .kinds import BUILT_IN, EVENTS, custom_kinds

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder

log = structlog.get_logger(__name__)

DEFAULT_ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
POLL = 0.3
"""Seconds between two looks at a namespace that still has content: there is no event for all kinds at once."""


class NamespaceReconciler(Reconciler):
    """Watches namespaces; looks at their content only while they are being deleted."""

    def __init__(self, authority: str = "") -> None:
        """`authority`: the API server's, in PEM, that every namespace gets a ConfigMap with; none if empty."""
        self._authority = authority

    def setup(self, builder: Builder) -> None:
        builder.named("namespace").for_(Namespace)
        for kind in (ServiceAccount, ConfigMap):
            builder.watches(PartialObjectMetadata.of(kind.mapping), EnqueueRequestsFromMapFunc(self._namespace_of))

    @staticmethod
    def _namespace_of(obj: PartialObjectMetadata) -> Iterable[Request]:
        """What every namespace has comes back when it is deleted."""
        if (obj.mapping.plural, obj.name) in (("serviceaccounts", DEFAULT_ACCOUNT), ("configmaps", ROOT_CA)):
            yield Request("", obj.namespace)

    def reconcile(self, request: Request) -> Result | None:
        namespace = self.client.find(Namespace, request.name)
        if namespace is None:
            return None
        if not namespace.is_deleting:
            self._ensure(ServiceAccount(metadata=ObjectMeta(name=DEFAULT_ACCOUNT, namespace=namespace.name)))
            if self._authority:
                metadata = ObjectMeta(name=ROOT_CA, namespace=namespace.name)
                self._ensure(ConfigMap(metadata=metadata, data={"ca.crt": self._authority}))
            return None
        remaining = self._empty(namespace)
        self._report(namespace, remaining)
        if remaining:
            return Result(requeue_after=POLL)
        self._finalize(namespace)
        return None

    def _ensure(self, obj: Object) -> None:
        """Makes what every namespace has, if it is not there."""
        if self.live.find(type(obj), obj.name, namespace=obj.namespace) is not None:
            return
        try:
            self.client.create(obj)
        except (AlreadyExistsError, ForbiddenError, NotFoundError) as error:
            # Somebody else made it, or the namespace is just being deleted.
            log.debug("content of a namespace not created", object=str(obj), reason=str(error))

    def _empty(self, namespace: Namespace) -> list[PartialObjectMetadata]:
        """Deletes everything in the namespace; what is still there afterwards."""
        remaining: list[PartialObjectMetadata] = []
        for mapping in self._namespaced_kinds():
            kind = PartialObjectMetadata.of(mapping)
            deleted = [obj for obj in self._list(kind, namespace.metadata.name) if self._delete(obj)]
            remaining += self._list(kind, namespace.metadata.name) if deleted else []
        return remaining

    def _namespaced_kinds(self) -> list[RESTMapping]:
        mappings = [*BUILT_IN, EVENTS, *custom_kinds(self.live)]
        return [mapping for mapping in mappings if mapping.namespaced]

    def _list(self, kind: type[PartialObjectMetadata], namespace: str) -> list[PartialObjectMetadata]:
        try:
            return self.live.list(kind, namespace=namespace)
        except NotFoundError:  # the kind is not served
            return []

    def _delete(self, obj: PartialObjectMetadata) -> bool:
        """Deletes an object that is not being deleted yet; True for either."""
        if obj.is_deleting:
            return True
        try:
            self.client.delete(obj, propagation="Background")
        except NotFoundError:
            log.debug("object went by itself", object=str(obj))
        return True

    def _report(self, namespace: Namespace, remaining: list[PartialObjectMetadata]) -> None:
        kinds = Counter(obj.mapping.group_resource for obj in remaining)
        held = Counter(name for obj in remaining for name in obj.metadata.finalizers)
        left = ", ".join(f"{kind}. has {count} resource instances" for kind, count in sorted(kinds.items()))
        holding = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(held.items()))
        conditions = [_condition(*texts) for texts in _NOTHING_WRONG]
        if left:
            text = f"Some resources are remaining: {left}"
            conditions.append(_condition("NamespaceContentRemaining", "SomeResourcesRemain", text))
        else:
            text = "All content successfully removed"
            conditions.append(_condition("NamespaceContentRemaining", "ContentRemoved", text))
        if holding:
            text = f"Some content in the namespace has finalizers remaining: {holding}"
            conditions.append(_condition("NamespaceFinalizersRemaining", "SomeFinalizersRemain", text))
        else:
            text = "All content-preserving finalizers finished"
            conditions.append(_condition("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", text))
        for condition, remains in zip(conditions[-2:], (left, holding), strict=True):
            condition["status"] = "True" if remains else "False"
        known = {c.get("type"): c for c in namespace.status.to_dict().get("conditions") or []}
        if all(condition.items() <= known.get(condition["type"], {}).items() for condition in conditions):
            return
        now = format_time(self.clock.now())
        for condition in conditions:
            before = known.get(condition["type"], {})
            same = before.get("status") == condition["status"]
            condition["lastTransitionTime"] = before.get("lastTransitionTime", now) if same else now
        try:
            self.client.status.patch(namespace, {"status": {"conditions": conditions}})
        except ApiError as error:
            log.debug("namespace status not written", namespace=namespace.name, reason=str(error))

    def _finalize(self, namespace: Namespace) -> None:
        live = self.live.find(Namespace, namespace.name)
        if live is None or not live.is_deleting:
            return
        live.spec["finalizers"] = [name for name in live.spec.get("finalizers") or [] if name != "kubernetes"]
        try:
            self.client.subresource("finalize").update(live)
        except NotFoundError:
            return
        log.info("namespace emptied", namespace=namespace.name)


_NOTHING_WRONG = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
)
"""Type, reason and message of the conditions that are False here always."""


def _condition(type_: str, reason: str, message: str) -> dict[str, str]:
    return {"type": type_, "status": "False", "reason": reason, "message": message}
