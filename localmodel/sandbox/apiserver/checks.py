"""Validation of built-in kinds beyond types: required fields and what may not change.

Not all of kube-apiserver's rules: those that a controller, or a manifest written for one, runs into. Each check takes
the new and the old object (None on create) and gives causes in kube-apiserver's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from localmodel.runtime.objects import parse_quantity
from localmodel.runtime.testing.events import core_event_faults, event_faults

from .fielderrors import Cause, duplicate, forbidden, invalid, not_found, not_supported, required
from .rbacchecks import cluster_role, cluster_role_binding, role, role_binding

Json = dict[str, Any]
Check = Callable[[Json, Json | None], Iterator[Cause]]

IMMUTABLE = "field is immutable"
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_CONFIG_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_QUANTITY_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_SOURCES = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "glusterfs", "hostPath", "iscsi", "local", "nfs", "photonPersistentDisk", "portworxVolume",
    "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
)  # fmt: skip


def check(resource: str, new: Json, old: Json | None) -> list[Cause]:
    """The faults of an object of a built-in kind."""
    found = CHECKS.get(resource)
    return list(found(new, old)) if found else []


def _spec(obj: Json) -> Json:
    return obj.get("spec") or {}


def _immutable(new: Json, old: Json | None, path: str, *fields: str) -> Iterator[Cause]:
    if old is None:
        return
    for field in fields:
        if new.get(field) != old.get(field):
            yield invalid(f"{path}.{field}" if path else field, new.get(field), IMMUTABLE)


def pod_spec(spec: Json, path: str) -> Iterator[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield required(f"{path}.containers")
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield from _container(container, f"{path}.{field}[{index}]", volumes, names)
    if spec.get("restartPolicy") not in (None, "Always", "OnFailure", "Never"):
        yield not_supported(f"{path}.restartPolicy", spec["restartPolicy"], ("Always", "OnFailure", "Never"))


def _container(container: Json, path: str, volumes: set[Any], names: set[str]) -> Iterator[Cause]:
    name = container.get("name") or ""
    if not name:
        yield required(f"{path}.name")
    elif not _LABEL.match(name) or len(name) > 63:
        yield invalid(
            f"{path}.name",
            name,
            _LABEL_TEXT,
        )
    elif name in names:
        yield duplicate(f"{path}.name", name)
    names.add(name)
    if not container.get("image"):
        yield required(f"{path}.image")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield not_found(f"{path}.volumeMounts[{index}].name", mount.get("name"))
        if not mount.get("mountPath"):
            yield required(f"{path}.volumeMounts[{index}].mountPath")
    for kind in ("requests", "limits"):
        yield from quantities((container.get("resources") or {}).get(kind), f"{path}.resources.{kind}")


def quantities(values: Json | None, path: str) -> Iterator[Cause]:
    for name, value in (values or {}).items():
        try:
            parse_quantity(value)
        except ValueError:
            yield invalid(f"{path}[{name}]", value, _QUANTITY_TEXT)


def _pod(new: Json, old: Json | None) -> Iterator[Cause]:
    if old is None:
        yield from pod_spec(_spec(new), "spec")
        return
    mutable = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName", "schedulingGates")

    def fixed(spec: Json) -> Json:
        rest = {key: value for key, value in spec.items() if key not in mutable}
        for field in ("containers", "initContainers"):
            rest[field] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(field) or ()]
        return rest

    if fixed(_spec(new)) != fixed(_spec(old)):
        yield forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )


def _job(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    if old is not None:
        yield from _immutable(spec, _spec(old), "spec", "completionMode", "selector", "podReplacementPolicy")
        if spec.get("template") != _spec(old).get("template") and not _spec(old).get("suspend"):
            yield invalid("spec.template", {}, IMMUTABLE)
        return
    template = _spec(spec.get("template") or {})
    yield from pod_spec(template, "spec.template.spec")
    if template.get("restartPolicy") == "Always":
        yield required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    for field in ("parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds"):
        if isinstance(spec.get(field), int) and spec[field] < 0:
            yield invalid(f"spec.{field}", spec[field], "must be greater than or equal to 0")


def _workload(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    selector, template = spec.get("selector"), spec.get("template") or {}
    yield from _immutable(spec, None if old is None else _spec(old), "spec", "selector")
    if not selector:
        yield required("spec.selector")
        yield invalid(
            "spec.template.metadata.labels",
            (template.get("metadata") or {}).get("labels"),
            "`selector` does not match template `labels`",
        )
    else:
        labels = (template.get("metadata") or {}).get("labels") or {}
        if not (selector.get("matchLabels") or {}).items() <= labels.items():
            yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from pod_spec(_spec(template), "spec.template.spec")


def _persistent_volume(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    sources = [source for source in _VOLUME_SOURCES if spec.get(source)]
    if not spec.get("accessModes"):
        yield required("spec.accessModes")
    yield from _access_modes(spec)
    if not spec.get("capacity"):
        yield required("spec.capacity")
    yield from quantities(spec.get("capacity"), "spec.capacity")
    if not sources:
        yield required("spec", "must specify a volume type")
    elif len(sources) > 1:
        yield forbidden(f"spec.{sources[1]}", "may not specify more than 1 volume type")
    if "local" in sources and not (spec.get("nodeAffinity") or {}).get("required"):
        yield required("spec.nodeAffinity", "Local volume requires node affinity")
    if old is None:
        return
    if any(spec.get(source) != _spec(old).get(source) for source in _VOLUME_SOURCES):
        yield forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    yield from _immutable(spec, _spec(old), "spec", "volumeMode")
    if _spec(old).get("nodeAffinity") and spec.get("nodeAffinity") != _spec(old)["nodeAffinity"]:
        yield invalid("spec.nodeAffinity", spec.get("nodeAffinity"), IMMUTABLE)


def _access_modes(spec: Json) -> Iterator[Cause]:
    for mode in spec.get("accessModes") or ():
        if mode not in _ACCESS_MODES:
            yield not_supported("spec.accessModes", mode, _ACCESS_MODES)


def _persistent_volume_claim(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    yield from _access_modes(spec)
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        yield required("spec.resources[storage]")
    yield from quantities(requests, "spec.resources.requests")
    if old is None:
        return

    def fixed(claim: Json) -> Json:
        free = {"resources", "volumeAttributesClassName"} | (set() if _spec(old).get("volumeName") else {"volumeName"})
        return {key: value for key, value in claim.items() if key not in free}

    if fixed(spec) != fixed(_spec(old)):
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        yield forbidden("spec", text)
    before = (_spec(old).get("resources") or {}).get("requests") or {}
    if (
        "storage" in requests
        and "storage" in before
        and parse_quantity(requests["storage"]) < parse_quantity(before["storage"])
    ):
        yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def _config_map(new: Json, old: Json | None) -> Iterator[Cause]:
    for field in ("data", "binaryData"):
        for key in new.get(field) or ():
            if not _CONFIG_KEY.match(key):
                yield invalid(f"{field}[{key}]", key, _CONFIG_KEY_TEXT)
    yield from _frozen(new, old, "data", "binaryData")


def _frozen(new: Json, old: Json | None, *fields: str) -> Iterator[Cause]:
    """immutable: true, of config maps and secrets."""
    if old is None or not old.get("immutable"):
        return
    text = "field is immutable when `immutable` is set"
    if not new.get("immutable"):
        yield forbidden("immutable", text)
    for field in fields:
        if new.get(field) != old.get(field):
            yield forbidden(field, text)


def _secret(new: Json, old: Json | None) -> Iterator[Cause]:
    for key in new.get("data") or ():
        if not _CONFIG_KEY.match(key):
            yield invalid(f"data[{key}]", key, _CONFIG_KEY_TEXT)
    yield from _immutable(new, old, "", "type")
    yield from _frozen(new, old, "data")


def _storage_class(new: Json, old: Json | None) -> Iterator[Cause]:
    if not new.get("provisioner"):
        yield required("provisioner")
    yield from _immutable(new, old, "", "provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")


CHECKS: dict[str, Check] = {
    "pods": _pod,
    "jobs.batch": _job,
    "deployments.apps": _workload,
    "daemonsets.apps": _workload,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "persistentvolumes": _persistent_volume,
    "persistentvolumeclaims": _persistent_volume_claim,
    "configmaps": _config_map,
    "events": core_event_faults,
    "events.events.k8s.io": event_faults,
    "secrets": _secret,
    "roles.rbac.authorization.k8s.io": role,
    "clusterroles.rbac.authorization.k8s.io": cluster_role,
    "rolebindings.rbac.authorization.k8s.io": role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": cluster_role_binding,
    "storageclasses.storage.k8s.io": _storage_class,
}
