"""Validation of persistent volumes, claims and storage classes.

Not all of kube-apiserver's rules: those that a controller, or a manifest written for one, runs into. Source:
kubernetes' pkg/apis/core/validation/validation.go and pkg/apis/storage/validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localmodel.runtime.objects import parse_quantity
from localmodel.runtime.testing.metadata import dns1123_subdomain

from .fielderrors import Cause, GoValue, forbidden, go_struct, invalid, not_supported, required
from .podchecks import NOT_NEGATIVE, host_path, one_of
from .selectorchecks import node_selector_faults, selector_faults

Json = dict[str, Any]

IMMUTABLE = "field is immutable"
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")
_SOURCES = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "glusterfs", "hostPath", "iscsi", "local", "nfs", "photonPersistentDisk", "portworxVolume",
    "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
)  # fmt: skip


def _spec(obj: Json) -> Json:
    return obj.get("spec") or {}


def persistent_volume(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    yield from _access_modes(spec, "")
    yield from _capacity(spec.get("capacity"))
    yield from _source(spec)
    yield from _class(spec)
    yield from one_of(spec, "spec", "persistentVolumeReclaimPolicy", _RECLAIM)
    yield from one_of(spec, "spec", "volumeMode", _MODES)
    if isinstance(affinity := spec.get("nodeAffinity"), dict):
        if affinity.get("required") is None:
            yield required("spec.nodeAffinity.required", "must specify required node constraints")
        else:
            yield from node_selector_faults(affinity["required"], "spec.nodeAffinity.required")
    elif spec.get("local"):
        yield required("spec.nodeAffinity", "Local volume requires node affinity")
    if old is not None:
        yield from _volume_change(spec, _spec(old))


def _volume_change(spec: Json, before: Json) -> Iterator[Cause]:
    if any(spec.get(source) != before.get(source) for source in _SOURCES):
        yield forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    if spec.get("volumeMode") != before.get("volumeMode"):
        yield invalid("volumeMode", spec.get("volumeMode"), IMMUTABLE)
    if before.get("nodeAffinity") and spec.get("nodeAffinity") != before["nodeAffinity"]:
        shown = None if spec.get("nodeAffinity") is None else go_struct("core.VolumeNodeAffinity")
        yield invalid("nodeAffinity", shown, f"{IMMUTABLE}, except for updating from beta label to GA")


def _access_modes(spec: Json, none: str) -> Iterator[Cause]:
    modes = spec.get("accessModes") or []
    if not modes:
        yield required("spec.accessModes", none)
    for mode in modes:
        if mode not in _ACCESS_MODES:
            yield not_supported("spec.accessModes", mode, _ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        yield forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes")


def _capacity(capacity: Json | None) -> Iterator[Cause]:
    if not capacity:
        yield required("spec.capacity")
    if list(capacity or ()) != ["storage"]:
        shown = go_struct("core.ResourceList") if capacity else GoValue("core.ResourceList(nil)")
        yield not_supported("spec.capacity", shown, ("storage",))
    for name, value in (capacity or {}).items():
        yield from _positive(value, f"spec.capacity[{name}]")


def _positive(value: str, path: str) -> Iterator[Cause]:
    if parse_quantity(value) < 0:
        yield invalid(path, value, NOT_NEGATIVE)
    if parse_quantity(value) <= 0:
        yield invalid(path, value, "must be greater than zero")


def _source(spec: Json) -> Iterator[Cause]:
    sources = [source for source in _SOURCES if spec.get(source) is not None]
    if isinstance(local := spec.get("hostPath"), dict):
        yield from host_path(local, "spec.hostPath")
        if local.get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            text = "may not be 'recycle' for a hostPath mount of '/'"
            yield forbidden("spec.persistentVolumeReclaimPolicy", text)
    if isinstance(spec.get("local"), dict) and not spec["local"].get("path"):
        yield required("spec.local.path")
    # Which of several is named first depends on an order that only a real server has: host paths before others.
    order = sorted(sources, key=lambda source: (source != "hostPath", _SOURCES.index(source)))
    for source in order[1:]:
        yield forbidden(f"spec.{source}", "may not specify more than 1 volume type")
    if not sources:
        yield required("spec", "must specify a volume type")


def _class(spec: Json) -> Iterator[Cause]:
    if name := spec.get("storageClassName"):
        yield from (invalid("spec.storageClassName", name, why) for why in dns1123_subdomain(name))


def persistent_volume_claim(new: Json, old: Json | None) -> Iterator[Cause]:
    spec = _spec(new)
    yield from _access_modes(spec, "at least 1 access mode is required")
    if isinstance(spec.get("selector"), dict):
        yield from selector_faults(spec["selector"], "spec.selector")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        yield required("spec.resources[storage]")
    else:
        yield from _positive(size, "spec.resources[storage]")
    yield from _class(spec)
    yield from one_of(spec, "spec", "volumeMode", _MODES)
    if old is not None:
        yield from _claim_change(new, old)


def _claim_change(new: Json, old: Json) -> Iterator[Cause]:
    spec, before = _spec(new), _spec(old)
    bound = (old.get("status") or {}).get("phase") == "Bound"

    def fixed(claim: Json) -> Json:
        free = {"volumeAttributesClassName"} | ({"resources"} if bound else set())
        free |= {field for field in ("volumeName", "storageClassName") if before.get(field) is None}
        return {key: value for key, value in claim.items() if key not in free}

    if fixed(spec) != fixed(before):
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        yield forbidden("spec", text)
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    had = ((before.get("resources") or {}).get("requests") or {}).get("storage")
    capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage")
    if not bound or wanted is None or had is None or parse_quantity(wanted) >= parse_quantity(had):
        return
    if capacity is None or parse_quantity(wanted) <= parse_quantity(capacity):
        yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def storage_class(new: Json, old: Json | None) -> Iterator[Cause]:
    if not new.get("provisioner"):
        yield required("provisioner")
    for key in new.get("parameters") or ():
        if not key:
            yield invalid("parameters", key, "field can not be empty.")
    yield from one_of(new, "", "reclaimPolicy", ("Delete", "Retain"))
    yield from one_of(new, "", "volumeBindingMode", ("Immediate", "WaitForFirstConsumer"))
    if old is None:
        return
    for field in ("parameters", "provisioner", "reclaimPolicy"):
        if (new.get(field) or None) != (old.get(field) or None):
            yield forbidden(field, f"updates to {field} are forbidden.")
    if new.get("volumeBindingMode") != old.get("volumeBindingMode"):
        yield invalid("volumeBindingMode", new.get("volumeBindingMode"), IMMUTABLE)
