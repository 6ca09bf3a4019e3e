"""What webhook configurations, policies and bindings leave unsaid (admissionregistration/v1/defaults.go)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


def _set(obj: Json, **values: Any) -> None:
    for key, value in values.items():
        if obj.get(key) is None:
            obj[key] = value


def _rules(rules: Any) -> None:
    for rule in rules or ():
        _set(rule, scope="*")


def _webhook(webhook: Json) -> None:
    _set(
        webhook,
        failurePolicy="Fail",
        matchPolicy="Equivalent",
        namespaceSelector={},
        objectSelector={},
        timeoutSeconds=10,
    )
    _rules(webhook.get("rules"))
    service = (webhook.get("clientConfig") or {}).get("service")
    if isinstance(service, dict):
        _set(service, port=443)


def _validating(obj: Json) -> None:
    for webhook in obj.get("webhooks") or ():
        _webhook(webhook)


def _mutating(obj: Json) -> None:
    for webhook in obj.get("webhooks") or ():
        _webhook(webhook)
        _set(webhook, reinvocationPolicy="Never")


def _match_resources(resources: Any) -> None:
    if isinstance(resources, dict):
        _set(resources, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
        _rules(resources.get("resourceRules"))
        _rules(resources.get("excludeResourceRules"))


def _policy(obj: Json) -> None:
    spec = obj.get("spec")
    if isinstance(spec, dict):
        _set(spec, failurePolicy="Fail")
        _match_resources(spec.get("matchConstraints"))


def _binding(obj: Json) -> None:
    spec = obj.get("spec")
    if isinstance(spec, dict):
        _match_resources(spec.get("matchResources"))


ADMISSION_DEFAULTS: dict[str, Callable[[Json], None]] = {
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _validating,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _mutating,
    "validatingadmissionpolicies.admissionregistration.k8s.io": _policy,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _binding,
}
