"""Do downloads write where this agent looks? (D-12; KServe compares nothing.)

A download's volume shows `local.path` of its group on the node, the agent a host path of its own pod. The two are free
texts in two objects. Where they differ, downloads may end well and leave nothing here; they need not, since one may be
a link to the other on the host. So a difference is told beforehand and stops nothing, and is the explanation where
nothing was left.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any, ClassVar

import structlog
from pydantic import Field

from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import Object, RESTMapping

log = structlog.get_logger(__name__)


class AgentPod(Object):
    """`Pod` declares no host paths: nobody else looks at them."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "Pod")
    spec: dict[str, Any] = Field(default_factory=dict)


class HostPath:
    """The agent's own host path, read live once it is asked for."""

    def __init__(self, live: Reader, *, namespace: str, pod_name: str, root: Path) -> None:
        """`root` is the models root as the container `pod_name` in `namespace` sees it."""
        self._live = live
        self._namespace = namespace
        self._pod_name = pod_name
        self._root = root
        self._known: str | None = None

    def difference(self, group: LocalModelNodeGroup) -> str:
        """In words, how the group's path differs from the agent's; empty if it does not, or one of them is unknown."""
        wanted, own = group.models_path, self.read()
        if not wanted or not own or posixpath.normpath(wanted) == posixpath.normpath(own):
            return ""
        return (
            f"downloads of LocalModelNodeGroup {group.name} write to {wanted} on this node, but this agent has {own} "
            f"mounted at {self._root}; make the two one path"
        )

    def read(self) -> str:
        """The path on the node that the models root is; empty if that is not known."""
        if self._known is None and self._pod_name:
            try:
                pod = self._live.find(AgentPod, self._pod_name, namespace=self._namespace)
            except RuntimeLibraryError as error:
                log.warning("the agent's own pod cannot be read", pod=self._pod_name, error=str(error))
                return ""
            self._known = host_path_of(pod.spec, str(self._root)) if pod is not None else ""
        return self._known or ""


def host_path_of(spec: dict[str, Any], directory: str) -> str:
    """The host path that a container of the pod sees at a directory; empty if it is none, or two containers differ."""
    paths = {volume.get("name"): (volume.get("hostPath") or {}).get("path") for volume in spec.get("volumes") or ()}
    found = set()
    for container in spec.get("containers") or ():
        mounts = [m for m in container.get("volumeMounts") or () if _is_within(directory, m.get("mountPath") or "")]
        mount = max(mounts, key=lambda m: len(m["mountPath"]), default=None)
        if mount is not None and (path := paths.get(mount.get("name"))):
            below = posixpath.relpath(directory, mount["mountPath"])
            found.add(posixpath.normpath(posixpath.join(path, mount.get("subPath") or "", below)))
    return found.pop() if len(found) == 1 else ""


def _is_within(directory: str, top: str) -> bool:
    return bool(top) and (posixpath.normpath(directory) + "/").startswith(posixpath.normpath(top).rstrip("/") + "/")
