"""A pod's volumes as directories of its simulated node, and paths in containers as paths in those directories.

The root of a node is a directory; its host path `/mnt/models` is ROOT/mnt/models. Containers are processes without
a mount namespace: where a container's argument or variable is a mount path, or lies below one, it is rewritten to the
directory behind the mount. Read-only mounts are not enforced. As the kubelet does, a missing subPath is created as an
empty directory: a pod that mounts a model which is not there starts on an empty folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from localmodel.runtime.client import Reader
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import PersistentVolume, PersistentVolumeClaim, Pod

from .environment import config_map_data, secret_data

_OPTION = re.compile(r"(--?[A-Za-z0-9][A-Za-z0-9_.-]*=)(.*)", re.DOTALL)


class MountError(RuntimeLibraryError):
    """A volume cannot be mounted now (FailedMount); the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the machine at a path that the container believes in."""

    mount_path: str
    directory: Path


def host_path(root: Path, path: str) -> Path:
    """The directory that stands for a node's host path; it never leaves the node's root."""
    parts = PurePosixPath(path).parts
    if ".." in parts:
        raise MountError(f"host path {path!r} must not contain '..'")
    return root.joinpath(*(part for part in parts if part != "/"))


class PodVolumes:
    """Finds and makes the directories behind the volumes of one pod."""

    def __init__(self, *, root: Path, scratch: Path, reader: Reader) -> None:
        """`root`: of the node. `scratch`: of the pod, for emptyDir and the like."""
        self._root = root
        self._scratch = scratch
        self._reader = reader

    def prepare(self, pod: Pod) -> dict[str, Path]:
        """Volume name -> directory, for all volumes of the pod; raises MountError, ContainerConfigError."""
        return {volume["name"]: self._directory(pod, volume) for volume in pod.spec.to_dict().get("volumes") or []}

    def _directory(self, pod: Pod, volume: dict[str, Any]) -> Path:
        name: str = volume["name"]
        if claim := volume.get("persistentVolumeClaim"):
            return self._claim(pod, name, claim["claimName"])
        if source := volume.get("hostPath"):
            return self._host_path(name, source)
        directory: Path = self._scratch / "volumes" / name
        if (source := volume.get("configMap")) is not None:
            read, source_name = config_map_data, source.get("name", "")
        elif (source := volume.get("secret")) is not None:
            read, source_name = secret_data, source.get("secretName", "")
        elif "emptyDir" in volume:
            directory.mkdir(parents=True, exist_ok=True)
            return directory
        else:
            kinds = ", ".join(key for key in volume if key != "name")
            raise MountError(f'volume "{name}": the sandbox cannot mount volumes of the kind {kinds or "unknown"}')
        data = read(self._reader, pod.namespace, source_name, optional=bool(source.get("optional")))
        directory.mkdir(parents=True, exist_ok=True)
        for key, content in data.items():
            (directory / key).write_bytes(content)
        return directory

    def _host_path(self, name: str, source: dict[str, Any]) -> Path:
        directory = host_path(self._root, source["path"])
        kind = source.get("type") or ""
        if kind in ("", "DirectoryOrCreate"):
            directory.mkdir(parents=True, exist_ok=True)
        elif not directory.exists():
            raise MountError(
                f'MountVolume.SetUp failed for volume "{name}": hostPath type check failed: no {directory}'
            )
        return directory

    def _claim(self, pod: Pod, name: str, claim_name: str) -> Path:
        claim = self._reader.find(PersistentVolumeClaim, claim_name, namespace=pod.namespace)
        if claim is None or claim.status.phase != "Bound":
            raise MountError(f'volume "{name}": persistentvolumeclaim "{claim_name}" is not bound')
        volume = self._reader.find(PersistentVolume, claim.spec.volume_name)
        if volume is None:
            raise MountError(f'volume "{name}": persistentvolume "{claim.spec.volume_name}" not found')
        if volume.spec.host_path:
            return self._host_path(name, volume.spec.host_path)
        if not volume.spec.local:
            raise MountError(f'volume "{name}": the sandbox only mounts volumes with local.path or hostPath')
        directory = host_path(self._root, volume.spec.local["path"])
        if not directory.is_dir():
            raise MountError(
                f'MountVolume.NewMounter initialization failed for volume "{volume.name}" : '
                f'path "{volume.spec.local["path"]}" does not exist ({directory})'
            )
        return directory


def container_mounts(container: dict[str, Any], volumes: dict[str, Path]) -> list[Mount]:
    """The mounts of a container, the deepest mount path first; creates missing subPaths; raises MountError."""
    mounts = []
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in volumes:
            raise MountError(f'volume mount "{mount["name"]}" of container "{container["name"]}" names no volume')
        if mount.get("subPathExpr"):
            raise MountError(f'volume mount "{mount["name"]}": the sandbox does not support subPathExpr')
        directory = volumes[mount["name"]]
        if sub_path := mount.get("subPath"):
            directory = host_path(directory, sub_path)
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        mounts.append(Mount(mount["mountPath"].rstrip("/") or "/", directory))
    return sorted(mounts, key=lambda mount: len(mount.mount_path), reverse=True)


def rewrite(text: str, mounts: Sequence[Mount]) -> str:
    """The text, or the value of an option `--name=value`, as a path on the node if it lies in a mount."""
    if option := _OPTION.fullmatch(text):
        return option[1] + rewrite(option[2], mounts)
    for mount in mounts:
        if text.rstrip("/") == mount.mount_path or text.startswith(mount.mount_path + "/"):
            return f"{mount.directory}{text[len(mount.mount_path) :]}"
    return text
