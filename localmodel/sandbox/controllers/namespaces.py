"""`NamespaceReconciler`: gives each namespace its default ServiceAccount, and empties one that is being deleted.

A namespace in deletion keeps the finalizer `kubernetes` in its spec until nothing is left in it; only the `finalize`
subresource removes that. Objects with finalizers of their own hold it up, and the status says which.
Rules: https://kubernetes.io/docs/tasks/administer-cluster/namespaces/ (two-step deletion).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from localmodel.runtime.errors import AlreadyExistsError, ApiError, ForbiddenError, NotFoundError
from localmodel.runtime.objects import (
    Namespace,
    ObjectMeta,
    PartialObjectMetadata,
    RESTMapping,
    ServiceAccount,
    format_time,
)
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .kinds import BUILT_IN, EVENTS, NamespaceFinalize, custom_kinds

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder

log = structlog.get_logger(__name__)

POLL = 0.3
"""Seconds between two looks at a namespace that still has content: there is no event for all kinds at once."""


class NamespaceReconciler(Reconciler):
    """Watches namespaces; looks at their content only while they are being deleted."""

    def setup(self, builder: Builder) -> None:
        builder.named("namespace").for_(Namespace).owns(ServiceAccount)

    def reconcile(self, request: Request) -> Result | None:
        namespace = self.client.find(Namespace, request.name)
        if namespace is None:
            return None
        if not namespace.is_deleting:
            self._ensure_service_account(namespace)
            return None
        remaining = self._empty(namespace)
        self._report(namespace, remaining)
        if remaining:
            return Result(requeue_after=POLL)
        self._finalize(namespace)
        return None

    def _ensure_service_account(self, namespace: Namespace) -> None:
        if self.live.find(ServiceAccount, "default", namespace=namespace.name) is not None:
            return
        try:
            self.client.create(ServiceAccount(metadata=ObjectMeta(name="default", namespace=namespace.name)))
        except (AlreadyExistsError, ForbiddenError) as error:
            # Somebody else made it, or the namespace is just being deleted.
            log.debug("default service account not created", namespace=namespace.name, reason=str(error))

    def _empty(self, namespace: Namespace) -> list[PartialObjectMetadata]:
        """Deletes everything in the namespace; what is still there afterwards."""
        remaining: list[PartialObjectMetadata] = []
        for mapping in self._namespaced_kinds():
            kind = PartialObjectMetadata.of(mapping)
            for obj in self._list(kind, namespace.metadata.name):
                remaining.append(obj)
                if not obj.is_deleting:
                    self._delete(obj)
        return remaining

    def _namespaced_kinds(self) -> list[RESTMapping]:
        mappings = [*BUILT_IN, EVENTS, *custom_kinds(self.live)]
        return [mapping for mapping in mappings if mapping.namespaced]

    def _list(self, kind: type[PartialObjectMetadata], namespace: str) -> list[PartialObjectMetadata]:
        try:
            return self.live.list(kind, namespace=namespace)
        except NotFoundError:  # the kind is not served
            return []

    def _delete(self, obj: PartialObjectMetadata) -> None:
        try:
            self.client.delete(obj)
        except NotFoundError:
            log.debug("object went by itself", object=str(obj))

    def _report(self, namespace: Namespace, remaining: list[PartialObjectMetadata]) -> None:
        held = sorted({name for obj in remaining for name in obj.metadata.finalizers})
        kinds = sorted({obj.mapping.group_resource for obj in remaining})
        now = format_time(self.clock.now())
        conditions = [
            {
                "type": "NamespaceContentRemaining",
                "status": "True" if remaining else "False",
                "reason": "SomeResourcesRemain" if remaining else "ContentRemoved",
                "message": f"Some resources are remaining: {', '.join(kinds)}" if remaining else "All content removed",
                "lastTransitionTime": now,
            },
            {
                "type": "NamespaceFinalizersRemaining",
                "status": "True" if held else "False",
                "reason": "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
                "message": f"Some content has finalizers: {', '.join(held)}" if held else "No finalizers remain",
                "lastTransitionTime": now,
            },
        ]
        if [(c["type"], c["message"]) for c in conditions] == [
            (c.get("type"), c.get("message")) for c in namespace.status.to_dict().get("conditions") or []
        ]:
            return
        try:
            self.client.status.patch(namespace, {"status": {"conditions": conditions}})
        except ApiError as error:
            log.debug("namespace status not written", namespace=namespace.name, reason=str(error))

    def _finalize(self, namespace: Namespace) -> None:
        live = self.live.find(Namespace, namespace.name)
        if live is None or not live.is_deleting:
            return
        finalized = NamespaceFinalize.from_dict(live.to_dict())
        finalized.spec["finalizers"] = [f for f in live.spec.get("finalizers") or [] if f != "kubernetes"]
        try:
            self.client.update(finalized)
        except NotFoundError:
            return
        log.info("namespace emptied", namespace=namespace.name)
