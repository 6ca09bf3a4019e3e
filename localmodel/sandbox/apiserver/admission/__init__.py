"""Admission: what may refuse or change a write beyond the rules of its kind.

Before validation: namespace life cycle and service accounts (`lifecycle`), classes of pods and claims (`classes`), then
mutating webhooks. After it: admission policies (`policies`) and validating webhooks (`webhooks`). What configurations
may say is in `checks` and `policychecks`, what they leave unsaid in `defaults`. Nothing is called for the
configurations themselves, nor for the server's own writes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from localmodel.runtime.testing.definitions import AdmissionAttributes, AdmissionPlugin, ResourceDefinition
from localmodel.runtime.testing.registry import Registry
from localmodel.sandbox.apiserver.messages import Request
from localmodel.sandbox.apiserver.rbac import Rbac

from .classes import ClaimResizeAdmission, PriorityAdmission
from .hooks import Hooks
from .lifecycle import NamespaceLifecycle, ServiceAccountAdmission
from .policies import ValidatingPolicies

if TYPE_CHECKING:
    from .webhooks import Webhooks

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Admission:
    """Installs the plugins in a registry."""

    def __init__(self, registry: Registry, rbac: Rbac) -> None:
        self._registry = registry
        self._rbac = rbac
        self._mutating = Hooks(registry, "mutatingwebhookconfigurations")
        self._validating = Hooks(registry, "validatingwebhookconfigurations")
        self._lock = threading.Lock()
        self._webhooks: Webhooks | None = None
        registry.admission += [
            NamespaceLifecycle(registry),
            ServiceAccountAdmission(registry),
            PriorityAdmission(registry),
            ClaimResizeAdmission(registry),
            _IfConfigured(self._mutating, lambda: self._made().mutating),
        ]
        registry.validating_admission += [
            ValidatingPolicies(registry, rbac),
            _IfConfigured(self._validating, lambda: self._made().validating),
        ]

    def _made(self) -> Webhooks:
        """The plugins that call webhooks; made when there are some, for HTTP and CEL are slow to import."""
        with self._lock:
            if self._webhooks is None:
                from .webhooks import Webhooks

                self._webhooks = Webhooks(self._registry, self._rbac, self._mutating, self._validating)
            return self._webhooks

    def waits(self, request: Request) -> bool:
        """Whether a request may have to wait for a webhook, which may need this server to answer."""
        return bool(self._mutating.all or self._validating.all) and request.method not in _READS

    def close(self) -> None:
        """Closes idle connections; calls that are under way end by themselves."""
        with self._lock:
            webhooks = self._webhooks
        if webhooks is not None:
            webhooks.close()


class _IfConfigured:
    """Stands for a plugin that is made when there are webhooks for it to call."""

    def __init__(self, hooks: Hooks, plugin: Callable[[], AdmissionPlugin]) -> None:
        self._hooks = hooks
        self._plugin = plugin

    def handles(self, _operation: str, _definition: ResourceDefinition, _subresource: str) -> bool:
        return bool(self._hooks.all)

    def __call__(self, attributes: AdmissionAttributes) -> None:
        self._plugin()(attributes)


__all__ = ["Admission"]
