"""Admission: what may refuse or change a write beyond the rules of its kind.

Before validation: namespace life cycle and service accounts (`lifecycle`), classes of pods and claims (`classes`), then
mutating webhooks. After it: admission
policies (`policies`) and validating webhooks (`webhooks`). What configurations may say is in `checks` and
`policychecks`, what they leave unsaid in `defaults`. Nothing is called for the configurations themselves, nor for the
server's own writes.
"""

from __future__ import annotations

from localmodel.runtime.testing.registry import Registry
from localmodel.sandbox.apiserver.messages import Request
from localmodel.sandbox.apiserver.rbac import Rbac

from .classes import ClaimResizeAdmission, PriorityAdmission
from .client import WebhookClient
from .hooks import Hooks
from .lifecycle import NamespaceLifecycle, ServiceAccountAdmission
from .policies import ValidatingPolicies
from .webhooks import Caller, MutatingWebhooks, ValidatingWebhooks

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Admission:
    """Installs the plugins in a registry."""

    def __init__(self, registry: Registry, rbac: Rbac) -> None:
        self._mutating = Hooks(registry, "mutatingwebhookconfigurations")
        self._validating = Hooks(registry, "validatingwebhookconfigurations")
        self._client = WebhookClient(registry)
        caller = Caller(registry, rbac, self._client)
        self._webhooks = ValidatingWebhooks(caller, self._validating)
        registry.admission += [
            NamespaceLifecycle(registry),
            ServiceAccountAdmission(registry),
            PriorityAdmission(registry),
            ClaimResizeAdmission(registry),
            MutatingWebhooks(caller, self._mutating),
        ]
        registry.validating_admission += [ValidatingPolicies(registry, rbac), self._webhooks]

    def waits(self, request: Request) -> bool:
        """Whether a request may have to wait for a webhook, which may need this server to answer."""
        return bool(self._mutating.all or self._validating.all) and request.method not in _READS

    def close(self) -> None:
        """Closes idle connections; calls that are under way end by themselves."""
        self._webhooks.close()
        self._client.close()


__all__ = ["Admission"]
