"""Where agents run and which path they keep models in: what DaemonSets say, compared with what groups say.

Pure functions. A DaemonSet of agents is managed if a LocalModelNodeGroup controls it, else it was installed by hand, as
KServe's and config/agent's are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from localmodel.api import LocalModelNodeGroup, SelectorError, node_matches
from localmodel.api.names import AGENT_LABEL, AGENT_LABEL_VALUE
from localmodel.runtime.cache import KindForbiddenError
from localmodel.runtime.client import Reader
from localmodel.runtime.controllerutil import get_controller_of
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import DaemonSet, Node

from .agents import MODELS_MOUNT
from .entries import group_has_node


def agent_daemon_sets(reader: Reader, namespace: str) -> list[DaemonSet] | None:
    """The DaemonSets of agents; None where they may not be read, so that nothing is known of them."""
    try:
        return reader.list(DaemonSet, namespace=namespace, labels={AGENT_LABEL: AGENT_LABEL_VALUE})
    except (KindForbiddenError, ForbiddenError):
        return None


def is_managed(daemon_set: DaemonSet) -> bool:
    """Whether a group controls it, which may be gone."""
    controller = get_controller_of(daemon_set)
    gvk = LocalModelNodeGroup.mapping.gvk
    return controller is not None and (controller.group, controller.kind) == (gvk.group, gvk.kind)


def hand_installed(daemon_sets: Iterable[DaemonSet]) -> list[DaemonSet]:
    """Those that no group controls and that are there to stay."""
    return [it for it in daemon_sets if not is_managed(it) and not it.is_deleting]


def covers(daemon_set: DaemonSet, node: Node) -> bool:
    """Whether node selector and required node affinity of its pods admit the node; taints are not looked at."""
    spec = _pod_spec(daemon_set)
    selector = spec.get("nodeSelector") or {}
    if any(node.metadata.labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    try:
        return node_matches({"required": required}, node)
    except SelectorError:
        return False


def mounted_path(daemon_set: DaemonSet) -> str:
    """The host path that a container of its pods mounts at /mnt/models; nothing where none does."""
    spec = _pod_spec(daemon_set)
    volumes = {volume.get("name"): volume for volume in spec.get("volumes") or []}
    for container in spec.get("containers") or []:
        for mount in container.get("volumeMounts") or []:
            host_path = (volumes.get(mount.get("name")) or {}).get("hostPath") or {}
            if _is_same(str(mount.get("mountPath", "")), MODELS_MOUNT) and host_path.get("path"):
                return str(PurePosixPath(host_path["path"]) / mount.get("subPath", ""))
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathMismatch:
    """A hand-installed DaemonSet whose agents look for models elsewhere than a group's volumes put them (D-12)."""

    daemon_set: str
    path: str
    """The host path of its agents."""
    nodes: Sequence[str]
    """The nodes of the group that it covers, sorted."""


def path_mismatches(
    group: LocalModelNodeGroup, nodes: Iterable[Node], daemon_sets: Iterable[DaemonSet]
) -> list[PathMismatch]:
    """Of the group's `nodes`. Where a path is not known nothing is said."""
    nodes, found = list(nodes), []
    for daemon_set in hand_installed(daemon_sets):
        path = mounted_path(daemon_set)
        if not path or not group.models_path or _is_same(path, group.models_path):
            continue
        if covered := sorted(node.name for node in nodes if covers(daemon_set, node)):
            found.append(PathMismatch(daemon_set=str(daemon_set.key), path=path, nodes=covered))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A group that comes first on nodes of another one and keeps models in another path."""

    winner: str
    path: str
    """The winner's."""
    nodes: Sequence[str]
    """Those that both have, sorted."""


def overlaps(group: LocalModelNodeGroup, nodes: Iterable[Node], groups: Iterable[LocalModelNodeGroup]) -> list[Overlap]:
    """Where `group` comes second: a node's agent is that of its first group by name. `nodes` are the group's."""
    earlier = sorted((other for other in groups if other.name < group.name), key=lambda other: other.name)
    shared: dict[str, list[str]] = {}
    for node in nodes if earlier else ():
        winner = next((other.name for other in earlier if group_has_node(other, node)), None)
        if winner is not None:
            shared.setdefault(winner, []).append(node.name)
    paths = {other.name: other.models_path for other in earlier}
    return [
        Overlap(winner=winner, path=paths[winner], nodes=sorted(names))
        for winner, names in sorted(shared.items())
        if paths[winner] and group.models_path and not _is_same(paths[winner], group.models_path)
    ]


def _is_same(path: str, other: str) -> bool:
    """As paths: a slash at the end or two in a row make no difference."""
    return PurePosixPath(path) == PurePosixPath(other)


def _pod_spec(daemon_set: DaemonSet) -> Mapping[str, Any]:
    template: Mapping[str, Any] = daemon_set.spec.get("template") or {}
    return template.get("spec") or {}
