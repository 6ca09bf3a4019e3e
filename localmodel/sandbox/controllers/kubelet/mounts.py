"""A pod's volumes as directories of its simulated node, and paths in containers as paths in those directories.

The root of a node is a directory; its host path `/mnt/models` is ROOT/mnt/models. Containers are processes without
a mount namespace: where a container's argument or variable is a mount path, or lies below one, it is rewritten to the
directory behind the mount. Read-only mounts are not enforced; the files of ConfigMaps and Secrets are as of the
container's start. As the kubelet does, a missing subPath is created as an empty directory: a pod that mounts a model
which is not there starts on an empty folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from localmodel.runtime.client import Reader
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import PersistentVolume, PersistentVolumeClaim, Pod

from .credentials import DEFAULT_SECONDS, PodTokens, replace_file
from .environment import ContainerConfigError, config_map_data, expand, field_value, resource_value, secret_data

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

    def __init__(self, *, root: Path, scratch: Path, reader: Reader, tokens: PodTokens | None = None) -> None:
        """`root`: of the node. `scratch`: of the pod, for emptyDir and the like."""
        self._root = root
        self._scratch = scratch
        self._reader = reader
        self._tokens = tokens

    def prepare(self, pod: Pod) -> dict[str, Path]:
        """Volume name -> directory, for all volumes of the pod; raises MountError, which names the volume."""
        found = {}
        for volume in pod.spec.to_dict().get("volumes") or []:
            try:
                found[volume["name"]] = self._directory(pod, volume)
            except ContainerConfigError as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
            except OSError as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
        return found

    def _directory(self, pod: Pod, volume: dict[str, Any]) -> Path:
        name: str = volume["name"]
        if claim := volume.get("persistentVolumeClaim"):
            return self._claim(pod, name, claim["claimName"])
        if source := volume.get("hostPath"):
            return self._host_path(name, source)
        directory: Path = self._scratch / "volumes" / name
        directory.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            return directory
        if projected := volume.get("projected"):
            for source in projected.get("sources") or []:
                self._project(pod, name, source, directory)
            return directory
        kind = next((kind for kind in ("configMap", "secret", "downwardAPI") if volume.get(kind) is not None), None)
        if kind is None:
            kinds = ", ".join(key for key in volume if key != "name")
            raise MountError(f'volume "{name}": the sandbox cannot mount volumes of the kind {kinds or "unknown"}')
        self._project(pod, name, {kind: volume[kind]}, directory)
        return directory

    def _project(self, pod: Pod, name: str, source: dict[str, Any], directory: Path) -> None:
        """Writes the files of one source into a volume's directory."""
        if token := source.get("serviceAccountToken"):
            if self._tokens is None:
                raise MountError(f'volume "{name}": this kubelet has no tokens to give')
            seconds = token.get("expirationSeconds") or DEFAULT_SECONDS
            path = host_path(directory, token["path"])
            self._tokens.ensure(pod, path, audience=token.get("audience") or "", seconds=seconds)
            return
        if "configMap" in source or "secret" in source:
            files = self._keys(pod, source)
        elif "downwardAPI" in source:
            items = source["downwardAPI"].get("items") or []
            files = {item["path"]: _downward(pod, item).encode() for item in items}
        else:
            raise MountError(f'volume "{name}": the sandbox cannot project {", ".join(source) or "nothing"}')
        for file, content in files.items():
            target = host_path(directory, file)
            if not target.is_file() or target.read_bytes() != content:
                replace_file(target, content)

    def _keys(self, pod: Pod, source: dict[str, Any]) -> dict[str, bytes]:
        """The files of a ConfigMap or Secret: all keys, or those that `items` names."""
        if (wanted := source.get("configMap")) is not None:
            name, what, read = wanted.get("name", ""), "configmap", config_map_data
        else:
            wanted = source["secret"]
            name, what, read = wanted.get("secretName") or wanted.get("name", ""), "secret", secret_data
        optional = bool(wanted.get("optional"))
        data = read(self._reader, pod.namespace, name, optional=optional)
        items = wanted.get("items")
        if not items:
            return data
        missing = [item["key"] for item in items if item["key"] not in data]
        if missing and not optional:
            raise ContainerConfigError(f"references non-existent {what} key: {missing[0]}")
        return {item["path"]: data[item["key"]] for item in items if item["key"] in data}

    def _host_path(self, name: str, source: dict[str, Any]) -> Path:
        path = host_path(self._root, source["path"])
        kind = source.get("type") or ""
        if kind == "DirectoryOrCreate" or (kind == "" and not path.exists()):
            path.mkdir(parents=True, exist_ok=True)
        elif kind == "FileOrCreate":
            if not path.parent.is_dir():
                raise self._type_mismatch(name, source, "is not a file")
            path.touch()
        elif kind in _CHECKS and not _CHECKS[kind](path):
            raise self._type_mismatch(name, source, f"is not a {kind.lower()}")
        return path

    def _type_mismatch(self, name: str, source: dict[str, Any], problem: str) -> MountError:
        where = host_path(self._root, source["path"])
        return MountError(
            f'MountVolume.SetUp failed for volume "{name}" : hostPath type check failed: '
            f"{source['path']} {problem} ({where})"
        )

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


_CHECKS = {
    "Directory": Path.is_dir,
    "File": Path.is_file,
    "Socket": Path.is_socket,
    "CharDevice": Path.is_char_device,
    "BlockDevice": Path.is_block_device,
}


def _downward(pod: Pod, item: dict[str, Any]) -> str:
    if reference := item.get("fieldRef"):
        return field_value(pod, reference["fieldPath"])
    reference = item["resourceFieldRef"]
    containers = [*pod.spec.init_containers, *pod.spec.containers]
    container = next((c for c in containers if c["name"] == reference.get("containerName")), None)
    if container is None:
        raise ContainerConfigError(f"no container {reference.get('containerName')!r}")
    return resource_value(container, reference)


def container_mounts(
    container: dict[str, Any], volumes: Mapping[str, Path], env: Mapping[str, str] | None = None
) -> list[Mount]:
    """The mounts of a container, the deepest mount path first; creates missing subPaths; raises MountError.

    `env`: of the container, for subPathExpr.
    """
    mounts = []
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in volumes:
            raise MountError(f'volume mount "{mount["name"]}" of container "{container["name"]}" names no volume')
        directory = volumes[mount["name"]]
        sub_path = mount.get("subPath") or _expanded(mount, env or {})
        if sub_path:
            directory = _sub_path(directory, sub_path)
        mounts.append(Mount(mount["mountPath"].rstrip("/") or "/", directory))
    return sorted(mounts, key=lambda mount: len(mount.mount_path), reverse=True)


def _expanded(mount: dict[str, Any], env: Mapping[str, str]) -> str:
    text = expand(mount.get("subPathExpr") or "", env)
    if "$(" in text:
        raise MountError(f'volume mount "{mount["name"]}": missing value for {text!r}')
    return text


def _sub_path(volume: Path, sub_path: str) -> Path:
    """The directory, or file, below a volume; a missing one is made. A link that leads out of the volume is refused."""
    if PurePosixPath(sub_path).is_absolute():
        raise MountError(f"subPath {sub_path!r} must be relative")
    path = host_path(volume, sub_path)
    if not path.resolve().is_relative_to(volume.resolve()):
        raise MountError(f'failed to prepare subPath "{sub_path}": it leads out of the volume')
    if not path.exists():
        path.mkdir(mode=0o750, parents=True)
    return path


def rewrite(text: str, mounts: Sequence[Mount]) -> str:
    """The text, or the value of an option `--name=value`, as a path on the node if it lies in a mount."""
    if option := _OPTION.fullmatch(text):
        return option[1] + rewrite(option[2], mounts)
    for mount in mounts:
        if text.rstrip("/") == mount.mount_path or text.startswith(mount.mount_path + "/"):
            return f"{mount.directory}{text[len(mount.mount_path) :]}"
    return text
