"""The objects that a fresh cluster has: system namespaces, what every namespace contains, and the system roles.

They are written through the registry like everything else, where they are missing: after a restart with a data
directory nothing is changed, and what a user changed stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from localmodel.runtime.client import WriteOptions
from localmodel.runtime.errors import AlreadyExistsError, ForbiddenError, NotFoundError
from localmodel.runtime.listwatch import WatchEvent, WatchOptions
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry

from .aggregation import RoleAggregation
from .rbac import GROUP

Json = dict[str, Any]

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
ROOT_CA = "kube-root-ca.crt"
CLIENT_AUTHORITY = "extension-apiserver-authentication"
"""The ConfigMap that tells kubelets and extension servers whose client certificates count."""
PRIORITY_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_TRUSTED = WriteOptions(field_manager="kube-apiserver", field_validation="Ignore")


def bootstrap(registry: Registry, *, authority_pem: str) -> None:
    """Writes what is missing, and fills every namespace from now on."""
    contents = NamespaceContents(registry, authority_pem=authority_pem)
    for name in SYSTEM_NAMESPACES:
        _ensure(registry, _definition(registry, "", "namespaces"), "", {"metadata": {"name": name}})
    contents.start()
    _publish_authority(registry, authority_pem)
    for name, value in PRIORITY_CLASSES.items():
        priority: Json = {"metadata": {"name": name}, "value": value}
        _ensure(registry, _definition(registry, "scheduling.k8s.io", "priorityclasses"), "", priority)
    for document in default_roles():
        _ensure(registry, _definition(registry, GROUP, f"{document['kind'].lower()}s"), "", document)
    RoleAggregation(registry, _definition(registry, GROUP, "clusterroles")).start()


def default_roles() -> list[Json]:
    """The ClusterRoles and ClusterRoleBindings of a stock cluster, made by `hack/update-default-roles`."""
    data = Path(__file__).with_name("data").joinpath("roles.json").read_bytes()
    decoded: list[Json] = msgspec.json.decode(data)
    return decoded


def _publish_authority(registry: Registry, authority_pem: str) -> None:
    """Unlike the rest brought up to date: the authority may be a new one."""
    config_maps, data = _definition(registry, "", "configmaps"), {"client-ca-file": authority_pem}
    if registry.store.get(config_maps.resource, "kube-system", CLIENT_AUTHORITY) is None:
        registry.create(config_maps, "kube-system", {"metadata": {"name": CLIENT_AUTHORITY}, "data": data}, _TRUSTED)
        return
    current = registry.get(config_maps, "kube-system", CLIENT_AUTHORITY)
    if (current.get("data") or {}).get("client-ca-file") != authority_pem:
        registry.update(config_maps, "kube-system", CLIENT_AUTHORITY, {**current, "data": data}, _TRUSTED)


def _definition(registry: Registry, group: str, plural: str) -> ResourceDefinition:
    definition = registry.lookup(group, "v1", plural)
    if definition is None:
        raise LookupError(f"{plural} is not registered")
    return definition


def _ensure(registry: Registry, definition: ResourceDefinition, namespace: str, obj: Json) -> None:
    if registry.store.get(definition.resource, namespace, obj["metadata"]["name"]) is not None:
        return
    try:
        registry.create(definition, namespace, obj, _TRUSTED)
    except (AlreadyExistsError, ForbiddenError, NotFoundError):
        # Somebody else was first, or the namespace is on its way out.
        return


class NamespaceContents:
    """Gives every namespace its `default` ServiceAccount and the ConfigMap with the server's authority."""

    def __init__(self, registry: Registry, *, authority_pem: str) -> None:
        self._registry = registry
        self._authority = authority_pem

    def start(self) -> None:
        options = WatchOptions(timeout_seconds=2**31, allow_bookmarks=False)
        self._registry.watch(_definition(self._registry, "", "namespaces"), options, self._on_event)

    def _on_event(self, event: WatchEvent) -> None:
        if event.type != "ADDED":
            return
        namespace: Json = msgspec.json.decode(event.object)
        if namespace["metadata"].get("deletionTimestamp"):
            return
        name = namespace["metadata"]["name"]
        account = {"metadata": {"name": "default"}}
        _ensure(self._registry, _definition(self._registry, "", "serviceaccounts"), name, account)
        self._publish_authority(name)

    def _publish_authority(self, namespace: str) -> None:
        """Writes the authority that clients trust, also over an earlier one."""
        definition = _definition(self._registry, "", "configmaps")
        config_map: Json = {"metadata": {"name": ROOT_CA}, "data": {"ca.crt": self._authority}}
        entry = self._registry.store.get(definition.resource, namespace, ROOT_CA)
        if entry is None:
            _ensure(self._registry, definition, namespace, config_map)
        elif msgspec.json.decode(entry.value).get("data") != config_map["data"]:
            self._registry.update(definition, namespace, ROOT_CA, config_map, _TRUSTED)
