"""Validation of built-in kinds beyond types: required fields, values, and what may not change.

Not all of kube-apiserver's rules: those that a controller, or a manifest written for one, runs into. Each check takes
the new and the old object (None on create) and gives causes in kube-apiserver's words; pods are in `podchecks`, volumes
in `volumechecks`.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Callable, Iterator
from typing import Any

from localmodel.runtime.testing.events import core_event_faults, event_faults
from localmodel.runtime.testing.metadata import dns1123_label, qualified_name

from .fielderrors import (
    Cause,
    duplicate,
    forbidden,
    go_strings,
    go_struct,
    invalid,
    not_supported,
    required,
    too_long,
)
from .names import config_key, dns1035_label, port_number
from .podchecks import not_negative, one_of, pod_spec
from .rbacchecks import cluster_role, cluster_role_binding, role, role_binding
from .selectorchecks import go_label_selector, selector_faults, template_selector_faults
from .volumechecks import IMMUTABLE, persistent_volume, persistent_volume_claim, storage_class

Json = dict[str, Any]
Check = Callable[[Json, Json | None], Iterator[Cause]]

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_MAX_DATA = 1024 * 1024
_ALWAYS = ("Always",)
_RESTARTS = ("OnFailure", "Never")
_POD_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check(resource: str, new: Json, old: Json | None) -> list[Cause]:
    """The faults of an object of a built-in kind."""
    found = CHECKS.get(resource)
    return list(found(new, old)) if found else []


def check_status(resource: str, new: Json) -> list[Cause]:
    """The faults of a status that is written by itself."""
    fields, status = STATUS_COUNTS.get(resource, ()), new.get("status") or {}
    causes = list(not_negative(status, "status", *fields))
    if resource == "namespaces":
        causes += _phase_faults(status.get("phase") or "", is_deleted="deletionTimestamp" in new["metadata"])
    if "replicas" not in fields:
        return causes
    total, ready = status.get("replicas") or 0, status.get("readyReplicas") or 0
    for field in ("fullyLabeledReplicas", "updatedReplicas", "readyReplicas", "availableReplicas"):
        count = status.get(field) or 0
        if field in fields and count > total:
            causes.append(invalid(f"status.{field}", count, "cannot be greater than status.replicas"))
        if field == "availableReplicas" and count > ready:
            causes.append(invalid(f"status.{field}", count, "cannot be greater than readyReplicas"))
    return causes


STATUS_COUNTS: dict[str, tuple[str, ...]] = {
    "jobs.batch": ("active", "succeeded", "failed"),
    "deployments.apps": (
        "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
        "unavailableReplicas",
    ),
    "replicasets.apps": (
        "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration",
    ),
    "daemonsets.apps": (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
        "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
    ),
}  # fmt: skip
"""Numbers of a status that are not negative."""


def _spec(obj: Json) -> Json:
    return obj.get("spec") or {}


def _pod(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    if old is None:
        yield from pod_spec(spec, "spec")
        return
    before = _spec(old)
    yield from _deadline_change(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    if not _has_all(spec.get("tolerations") or [], before.get("tolerations") or []):
        text = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden("spec.tolerations", text)
    elif _fixed(spec) != _fixed(before):
        yield forbidden("spec", _POD_CHANGE)


def _deadline_change(new: int | None, old: int | None) -> Iterator[Cause]:
    path = "spec.activeDeadlineSeconds"
    if new == old:
        return
    if new is None:
        yield invalid(path, None, "must not update from a positive integer to nil value")
    elif not 0 <= new <= 2**31 - 1:
        yield invalid(path, new, "must be between 0 and 2147483647, inclusive")
    elif old is not None and new > old:
        yield invalid(path, new, "must be less than or equal to previous value")


def _has_all(new: list[Json], old: list[Json]) -> bool:
    """Tolerations may come, and change how long they hold."""

    def timeless(toleration: Json) -> Json:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    present = [timeless(toleration) for toleration in new]
    return all(timeless(toleration) in present for toleration in old)


def _fixed(spec: Json) -> Json:
    """What of a pod's spec may not change."""
    rest = {key: value for key, value in spec.items() if key not in ("activeDeadlineSeconds", "tolerations")}
    for field in ("containers", "initContainers"):
        rest[field] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(field) or ()]
    return rest


def _job(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    if old is None:
        yield from _new_job(spec, new["metadata"])
        return
    before = _spec(old)
    yield from _job_numbers(spec)
    if spec.get("completions") != before.get("completions") and spec.get("completionMode") != "Indexed":
        yield invalid("spec.completions", spec.get("completions"), IMMUTABLE)
    yield from _selector_of_job(spec, new["metadata"])
    if spec.get("selector") != before.get("selector"):
        yield invalid("spec.selector", go_label_selector(spec.get("selector") or {}), IMMUTABLE)
    if spec.get("template") != before.get("template") and not before.get("suspend"):
        yield invalid("spec.template", go_struct("core.PodTemplateSpec"), IMMUTABLE)
    for field in ("completionMode", "podReplacementPolicy"):
        if field == "completionMode" and spec.get(field) != before.get(field):
            yield invalid(f"spec.{field}", spec.get(field), IMMUTABLE)
    if spec.get("podFailurePolicy") != before.get("podFailurePolicy"):
        yield invalid("spec.podFailurePolicy", go_struct("batch.PodFailurePolicy"), IMMUTABLE)
    if spec.get("selector") != before.get("selector"):
        yield from template_selector_faults(spec, "spec", kind="job")


def _selector_of_job(spec: Json, metadata: Json) -> Iterator[Cause]:
    """A job selects its pods by its own uid, unless told to do otherwise."""
    selector, own = spec.get("selector"), {"batch.kubernetes.io/controller-uid": metadata.get("uid")}
    if not spec.get("manualSelector") and selector is not None and selector != {"matchLabels": own}:
        yield invalid("spec.selector", go_label_selector(spec.get("selector") or {}), "`selector` not auto-generated")


def _job_numbers(spec: Json) -> Iterator[Cause]:
    yield from not_negative(spec, "spec", "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit")
    yield from not_negative(spec, "spec", "ttlSecondsAfterFinished")


def _new_job(spec: Json, metadata: Json) -> Iterator[Cause]:
    selector, labels = spec.get("selector"), ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not spec.get("manualSelector"):
        name = metadata.get("name") or ""
        if len(name) > 63:
            # Both labels that carry the name are wrong.
            for _ in range(2):
                yield invalid("spec.template.labels", name, "must be no more than 63 characters")
    yield from _selector_of_job(spec, metadata)
    if selector is None:
        yield required("spec.selector")
    elif labels is not None:
        yield from template_selector_faults(spec, "spec", kind="job")
    yield from _job_numbers(spec)
    yield from one_of(spec, "spec", "completionMode", ("NonIndexed", "Indexed"))
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        yield required("spec.completions", "when completion mode is Indexed")
    yield from one_of(spec, "spec", "podReplacementPolicy", ("Failed", "TerminatingOrFailed"))
    yield from _job_template(spec, "spec.template.spec")


def _job_template(spec: Json, path: str) -> Iterator[Cause]:
    template = _spec(spec.get("template") or {})
    yield from pod_spec(template, path)
    policy = template.get("restartPolicy") or ""
    if policy in ("", "Always"):
        yield required(f"{path}.restartPolicy", 'valid values: "OnFailure", "Never"')
    elif policy not in _RESTARTS:
        yield not_supported(f"{path}.restartPolicy", policy, _RESTARTS)


def _cron_job(new: Json, _: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    yield from _job_template(_spec(spec.get("jobTemplate") or {}), "spec.jobTemplate.spec.template.spec")
    schedule = spec.get("schedule") or ""
    if not schedule:
        yield required("spec.schedule")
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        text = f"expected exactly 5 fields, found {len(schedule.split())}: [{' '.join(schedule.split())}]"
        yield invalid("spec.schedule", schedule, text)
    yield from one_of(spec, "spec", "concurrencyPolicy", ("Allow", "Forbid", "Replace"))


def _workload(kind: str, *, has_strategy: bool = False) -> Check:
    """`kind` is as refusals have it."""

    def faults(new: Json, old: Json | None) -> Iterator[Cause]:
        spec = _spec(new)
        if old is not None and spec.get("selector") != _spec(old).get("selector"):
            yield invalid("spec.selector", go_label_selector(spec.get("selector") or {}), IMMUTABLE)
        yield from not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
        yield from template_selector_faults(spec, "spec", kind=kind)
        yield from pod_spec(_spec(spec.get("template") or {}), "spec.template.spec", restart=_ALWAYS)
        if has_strategy:
            yield from _strategy(spec.get("strategy") or {})

    return faults


def _strategy(strategy: Json) -> Iterator[Cause]:
    type_ = strategy.get("type") or ""
    if type_ not in ("Recreate", "RollingUpdate"):
        yield not_supported("spec.strategy", go_struct("apps.DeploymentStrategy"), ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate") or {}
    if type_ == "RollingUpdate" and rolling.get("maxUnavailable") in (0, "0%") and rolling.get("maxSurge") in (0, "0%"):
        shown = go_struct("intstr.IntOrString")
        yield invalid("spec.strategy.rollingUpdate.maxUnavailable", shown, "may not be 0 when `maxSurge` is 0")


def _config_map(new: Json, old: Json | None) -> Iterator[Cause]:
    binary = new.get("binaryData") or {}
    for field in ("data", "binaryData"):
        for key in new.get(field) or ():
            yield from (invalid(f"{field}[{key}]", key, why) for why in config_key(key))
            if field == "data" and key in binary:
                yield invalid(f"{field}[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(value.encode()) for value in (new.get("data") or {}).values())
    size += sum(len(base64.b64decode(value)) for value in binary.values())
    if size > _MAX_DATA:
        yield too_long("[]", _MAX_DATA)
    yield from _frozen(new, old, "data", "binaryData")


def _frozen(new: Json, old: Json | None, *fields: str) -> Iterator[Cause]:
    """immutable: true, of config maps and secrets."""
    if old is None or not old.get("immutable"):
        return
    text = "field is immutable when `immutable` is set"
    if not new.get("immutable"):
        yield forbidden("immutable", text)
    for field in fields:
        if (new.get(field) or None) != (old.get(field) or None):
            yield forbidden(field, text)


_NEEDED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_BASIC = ("username", "password")
_ACCOUNT = "kubernetes.io/service-account.name"


def _secret(new: Json, old: Json | None) -> Iterator[Cause]:
    data, type_ = new.get("data") or {}, new.get("type") or ""
    for key in data:
        yield from (invalid(f"data[{key}]", key, why) for why in config_key(key))
    if sum(len(base64.b64decode(value)) for value in data.values()) > _MAX_DATA:
        yield too_long("data", _MAX_DATA)
    if type_ == "kubernetes.io/service-account-token" and not (new["metadata"].get("annotations") or {}).get(_ACCOUNT):
        yield required(f"metadata.annotations[{_ACCOUNT}]")
    if type_ == "kubernetes.io/basic-auth" and not any(key in data for key in _BASIC):
        yield from (required(f"data[{key}]") for key in _BASIC)
    for key in _NEEDED_KEYS.get(type_, ()):
        if key not in data:
            yield required(f"data[{key}]")
        elif key.startswith(".docker"):
            yield from _json_faults(base64.b64decode(data[key]).decode(errors="replace"), f"data[{key}]")
    if old is not None and new.get("type") != old.get("type"):
        yield invalid("type", type_, IMMUTABLE)
    yield from _frozen(new, old, "data")


def _json_faults(text: str, path: str) -> Iterator[Cause]:
    try:
        json.loads(text)
    except ValueError:
        begin = text.lstrip()[:1]
        why = f"invalid character '{begin}' looking for beginning of value" if begin else "unexpected end of JSON input"
        yield invalid(path, "<secret contents redacted>", why)


def _phase_faults(phase: str, *, is_deleted: bool) -> list[Cause]:
    expected, is_set = ("Terminating", "not empty") if is_deleted else ("Active", "empty")
    if phase == expected:
        return []
    return [invalid("status.Phase", phase, f"may only be '{expected}' if `deletionTimestamp` is {is_set}")]


def _namespace(new: Json, _: Json | None) -> Iterator[Cause]:
    for finalizer in _spec(new).get("finalizers") or ():
        for why in qualified_name(finalizer):
            yield invalid("spec.finalizers", finalizer, why)
        if "/" not in finalizer and finalizer != "kubernetes":
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid("spec.finalizers", finalizer, text)


def _node(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    for index, taint in enumerate(spec.get("taints") or ()):
        path = f"metadata.taints[{index}]"
        yield from (invalid(f"{path}.key", taint.get("key") or "", w) for w in qualified_name(taint.get("key") or ""))
        effect = taint.get("effect") or ""
        if not effect:
            yield required(f"{path}.effect")
        elif effect not in _EFFECTS:
            yield not_supported(f"{path}.effect", effect, _EFFECTS)
    for index, network in enumerate(spec.get("podCIDRs") or ()):
        if not _is_network(network):
            text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield invalid(f"spec.podCIDRs[{index}]", network, text)
    if old is None:
        return
    before = _spec(old)
    if before.get("providerID") and spec.get("providerID") != before["providerID"]:
        yield forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
    if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
        yield forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text


def _service(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    if old is None:
        name = new["metadata"].get("name") or ""
        yield from (invalid("metadata.name", name, why) for why in dns1035_label(name))
    type_, ports = spec.get("type") or "", spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and type_ != "ExternalName":
        yield required("spec.ports")
    if type_ == "ExternalName" and not spec.get("externalName"):
        yield required("spec.externalName")
    yield from one_of(spec, "spec", "sessionAffinity", ("ClientIP", "None"))
    yield from one_of(spec, "spec", "type", ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    yield from _service_ports(ports)
    yield from _cluster_address_faults(spec, type_, _spec(old) if old is not None else {})
    if type_ in ("ClusterIP", "ExternalName"):
        text = f"may not be used when `type` is '{type_}'"
        yield from (
            forbidden(f"spec.ports[{i}].nodePort", text) for i, port in enumerate(ports) if port.get("nodePort")
        )


def _cluster_address_faults(spec: Json, type_: str, before: Json) -> Iterator[Cause]:
    address, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if type_ == "ExternalName":
        if address:
            yield forbidden("spec.clusterIPs", "may not be set for ExternalName services")
        return
    had = before.get("clusterIP") if before.get("type") != "ExternalName" else None
    if had and address != had:
        yield invalid("spec.clusterIPs[0]", go_strings([address]), "may not change once set")
    elif addresses and address and addresses[0] != address:
        yield invalid("spec.clusterIPs", go_strings(addresses), "first value must match `clusterIP`")
    if address == "None" and type_ in ("NodePort", "LoadBalancer"):
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {type_} services")


def _service_ports(ports: list[Json]) -> Iterator[Cause]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"spec.ports[{index}]", port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{path}.name")
        elif name:
            yield from (invalid(f"{path}.name", name, why) for why in dns1123_label(name))
            if name in names:
                yield duplicate(f"{path}.name", name)
            names.add(name)
        yield from (invalid(f"{path}.port", port.get("port"), why) for why in port_number(port.get("port") or 0))
        yield from one_of(port, path, "protocol", ("SCTP", "TCP", "UDP"))
        target = port.get("targetPort")
        if isinstance(target, int):
            yield from (invalid(f"{path}.targetPort", target, why) for why in port_number(target))
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            yield duplicate(f"spec.ports[{index}]", go_struct("core.ServicePort"))
        seen.add(key)


def _lease(new: Json, _: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    if spec.get("leaseDurationSeconds") is not None and spec["leaseDurationSeconds"] <= 0:
        yield invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
    yield from not_negative(spec, "spec", "leaseTransitions")


def _disruption_budget(new: Json, _: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        text = "minAvailable and maxUnavailable cannot be both set"
        yield invalid("spec", go_struct("policy.PodDisruptionBudgetSpec"), text)
    yield from not_negative(spec, "spec", "minAvailable", "maxUnavailable")
    if isinstance(spec.get("selector"), dict):
        yield from selector_faults(spec["selector"], "spec.selector")


def _priority_class(new: Json, old: Json | None) -> Iterator[Cause]:
    if not new["metadata"].get("name", "").startswith("system-") and (new.get("value") or 0) > 1_000_000_000:
        yield forbidden("value", "maximum allowed value of a user defined priority is 1000000000")
    yield from one_of(new, "", "preemptionPolicy", ("PreemptLowerPriority", "Never"))
    if old is not None and new.get("value") != old.get("value"):
        yield forbidden("value", "may not be changed in an update.")


# Checks of expressions bring CEL, which is slow to import.
def _webhooks(new: Json, old: Json | None) -> Iterator[Cause]:
    from .admission.hookchecks import configuration_faults

    return configuration_faults(new, old)


def _policy(new: Json, old: Json | None) -> Iterator[Cause]:
    from .admission.policychecks import policy_faults

    return policy_faults(new, old)


def _policy_binding(new: Json, old: Json | None) -> Iterator[Cause]:
    from .admission.policychecks import binding_faults

    return binding_faults(new, old)


CHECKS: dict[str, Check] = {
    "pods": _pod,
    "namespaces": _namespace,
    "nodes": _node,
    "services": _service,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "deployments.apps": _workload("deployment", has_strategy=True),
    "daemonsets.apps": _workload("daemonset"),
    "replicasets.apps": _workload("deployment"),
    "statefulsets.apps": _workload("statefulset"),
    "persistentvolumes": persistent_volume,
    "persistentvolumeclaims": persistent_volume_claim,
    "configmaps": _config_map,
    "events": core_event_faults,
    "events.events.k8s.io": event_faults,
    "secrets": _secret,
    "leases.coordination.k8s.io": _lease,
    "roles.rbac.authorization.k8s.io": role,
    "clusterroles.rbac.authorization.k8s.io": cluster_role,
    "rolebindings.rbac.authorization.k8s.io": role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": cluster_role_binding,
    "storageclasses.storage.k8s.io": storage_class,
    "poddisruptionbudgets.policy": _disruption_budget,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingadmissionpolicies.admissionregistration.k8s.io": _policy,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _policy_binding,
}
