"""The container of a download Job: ours, or that of a ClusterStorageContainer (kserve-behaviour.md 8).

Ours fits the restricted profile of Pod Security (D-22). Of a ClusterStorageContainer only what it leaves open is set,
so that one which needs more than that goes on working.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from localmodel.api.config import InferenceServiceConfig
from localmodel.api.node import LocalModelInfo

from .additions import literal, selection_variables
from .errors import DownloadSetupError
from .images import is_our_image, memory_settings

if TYPE_CHECKING:
    from localmodel.api.container import ClusterStorageContainer

CONTAINER_NAME: Final = "kserve-localmodel-download"
DOWNLOAD_USER: Final = 1000
"""User and group of downloads and of the agent, as in KServe's documentation."""
_ADMIN: Final = frozenset({"SYS_ADMIN", "CAP_SYS_ADMIN"})
Json = dict[str, Any]


def image_of(container: ClusterStorageContainer | None, config: InferenceServiceConfig) -> str:
    """The image that the download runs."""
    return str(container.spec.container.get("image") or "") if container is not None else config.download_image


def base_container(
    container: ClusterStorageContainer | None, entry: LocalModelInfo, config: InferenceServiceConfig
) -> Json:
    """The container as plain JSON of core/v1, without arguments and mounts; `env` is a list.

    Raises DownloadSetupError for a ClusterStorageContainer that a Job cannot run.
    """
    made = _custom_container(container) if container is not None else _default_container(config)
    env = made.get("env") or []
    if not is_our_image(image_of(container, config), config):
        given = {item.get("name") for item in env}
        env = [*(item for item in memory_settings(made, entry.source_model_uri) if item["name"] not in given), *env]
    made["env"] = env
    made.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    return made


def selection(entry: LocalModelInfo) -> list[Json]:
    """The variables that say what of the source to download, where the cache says so."""
    return [literal(name, value) for name, value in selection_variables(entry).items()]


def _custom_container(source: ClusterStorageContainer) -> Json:
    """A ClusterStorageContainer's own, with only those settings hardened that it leaves open."""
    made = copy.deepcopy(source.spec.container)
    if made.get("volumeDevices"):
        raise DownloadSetupError(
            f"ClusterStorageContainer {source.name} has volumeDevices, for which a download Job has no volumes: "
            "remove them"
        )
    env, security = made.get("env") or [], made.get("securityContext") or {}
    if not isinstance(security, dict) or not isinstance(env, list) or not all(isinstance(item, dict) for item in env):
        # Under KServe's minimal CRDs anything may stand there.
        raise DownloadSetupError(f"ClusterStorageContainer {source.name}: env or securityContext is malformed")
    made["name"] = made.get("name") or CONTAINER_NAME
    made["securityContext"] = _hardened(security)
    return made


def _hardened(security: Json) -> Json:
    """Defaults for what is not set. What contradicts the rest of it the API server would refuse: that is left out.

    A user of its own choice other than root can have no use of capabilities; root needs some to write where the
    download's user does.
    """
    made: Json = {"runAsUser": DOWNLOAD_USER, "runAsGroup": DOWNLOAD_USER} | security
    if made.get("privileged"):
        return made
    if not _ADMIN & set(_added(made)):
        made.setdefault("allowPrivilegeEscalation", False)
    if made["runAsUser"] != 0:
        made.setdefault("capabilities", {"drop": ["ALL"]})
    return made


def _added(security: Mapping[str, Any]) -> list[str]:
    capabilities = security.get("capabilities")
    added = capabilities.get("add") if isinstance(capabilities, Mapping) else None
    return [str(name) for name in added] if isinstance(added, list) else []


def _default_container(config: InferenceServiceConfig) -> Json:
    settings = config.storage_initializer
    container: Json = {
        "name": CONTAINER_NAME,
        "image": config.download_image,
        "securityContext": {
            "runAsUser": DOWNLOAD_USER,
            "runAsGroup": DOWNLOAD_USER,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    requests = {"cpu": settings.cpu_request, "memory": settings.memory_request}
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    resources = {
        kind: {name: value for name, value in amounts.items() if value}
        for kind, amounts in (("requests", requests), ("limits", limits))
        if any(amounts.values())
    }
    if resources:
        container["resources"] = resources
    return container
