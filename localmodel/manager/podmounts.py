"""How pods mount claims, in their JSON: what a mount may show, and the change to a claim of one model. Pure functions.

A mount of a claim that shows all models of a node must name the model by its sub-path, `models/<storage key>` or below,
and must not write. KServe's webhook and controllers make them so; a person may forget it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from localmodel.api.names import MODELS_DIRECTORY, is_storage_key

from .claims import Exposure

Json = dict[str, Any]

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
STAGING_DIRECTORY = ".staging"
"""Beside the models' folders: one for each download under way."""


@dataclass(frozen=True, slots=True)
class ClaimVolume:
    """A volume of a pod that is a claim."""

    name: str
    claim: str
    is_read_only: bool
    """None of its mounts can write."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of such a volume."""

    container: str
    path: str
    """`subPath`, or `subPathExpr`: what that says before its first variable is all that counts."""
    is_read_only: bool

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).parts


def claim_volumes(pod: Json) -> list[ClaimVolume]:
    """Those of the pod's volumes that are claims."""
    return [
        ClaimVolume(volume["name"], source["claimName"], bool(source.get("readOnly")))
        for volume in pod.get("spec", {}).get("volumes") or ()
        if (source := volume.get("persistentVolumeClaim"))
    ]


def ephemeral_volumes(pod: Json) -> list[ClaimVolume]:
    """The pod's generic ephemeral volumes: claims called `<pod>-<volume>`, which are made when the pod is there.

    The name can be one of ours, and then the claim binds our volume, which waits for it.
    """
    name = pod.get("metadata", {}).get("name", "")
    volumes = pod.get("spec", {}).get("volumes") or ()
    return [ClaimVolume(it["name"], f"{name}-{it['name']}", False) for it in volumes if it.get("ephemeral")]


def mounts_of(pod: Json, volume: ClaimVolume, containers: Iterable[str] = CONTAINERS) -> Iterator[Mount]:
    """The volume's mounts in the containers of those fields of the pod."""
    for name, mount in _mounts(pod, volume.name, containers):
        path = mount.get("subPath") or mount.get("subPathExpr") or ""
        yield Mount(name, path, volume.is_read_only or bool(mount.get("readOnly")))


def fault_of(mount: Mount, exposure: Exposure) -> str:
    """What is wrong with the mount of a claim that shows this; empty if nothing is."""
    parts = mount.parts
    if exposure.downloads and parts[:3] == (MODELS_DIRECTORY, STAGING_DIRECTORY, exposure.key) and ".." not in parts:
        return ""
    if not exposure.single:
        if not parts:
            return "without a sub-path"
        is_model = len(parts) > 1 and (parts[1] == exposure.key if exposure.key else is_storage_key(parts[1]))
        if parts[0] != MODELS_DIRECTORY or not is_model or ".." in parts:
            return f"with sub-path {mount.path}"
    return "" if mount.is_read_only else "writable"


def show_single(pod: Json, volume: ClaimVolume, key: str, claim: str) -> bool:
    """Changes the volume to the claim that shows the one model, and its mounts so that each path shows what it showed.

    False, and nothing is changed, where a mount shows something else. A mount of the whole becomes one of the model
    below the same path, so that a program finds it where it looks for it.
    """
    mounts = [mount for _, mount in _mounts(pod, volume.name, CONTAINERS)]
    seen = [_within(mount, key) for mount in mounts]
    if any(it is None for it in seen):
        return False
    for mount, changes in zip(mounts, seen, strict=True):
        mount.pop("subPath", None)
        mount.pop("subPathExpr", None)
        mount.update(changes or {})
    for it in pod["spec"]["volumes"]:
        if it["name"] == volume.name:
            it["persistentVolumeClaim"]["claimName"] = claim
    return True


def _within(mount: Json, key: str) -> Json | None:
    """The fields by which the mount shows the same in the model's own volume; None if it shows something else."""
    field = "subPathExpr" if mount.get("subPathExpr") else "subPath"
    parts = PurePosixPath(mount.get(field) or "").parts
    model = (MODELS_DIRECTORY, key)
    if parts[: len(model)] == model:
        below = "/".join(parts[len(model) :])
        return {field: below} if below else {}
    if parts == model[: len(parts)]:
        return {"mountPath": str(PurePosixPath(mount["mountPath"], *model[len(parts) :]))}
    return None


def _mounts(pod: Json, volume: str, containers: Iterable[str]) -> Iterator[tuple[str, Json]]:
    """Each with the name of its container."""
    for field in containers:
        for container in pod.get("spec", {}).get(field) or ():
            for mount in container.get("volumeMounts") or ():
                if mount.get("name") == volume:
                    yield container.get("name", ""), mount
