"""Certificates of authorities that a download trusts beside the system's: a ConfigMap of the job namespace (D-51).

One is named for all downloads (`storageInitializer.caBundleConfigMapName`), another by a key of the storage secret
(`cabundle_configmap`) or a Secret of S3 (`AWS_CA_BUNDLE_CONFIGMAP`), which goes first. Mounts and variables are those
of KServe's init container, so that its image and ours find it. KServe copies the one for all into the namespaces of
services as `global-ca-bundle`; the manager does so in the job namespace.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any, Final

from localmodel.api.config import StorageInitializerConfig
from localmodel.api.names import CA_BUNDLE_COPY, is_object_name
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ConfigMap

from .additions import Credentials, literal
from .errors import CertificatesError

DEFAULT_FILE: Final = "cabundle.crt"
DEFAULT_PATH: Final = "/etc/ssl/custom-certs"
_VOLUME: Final = "cabundle-cert"
_MODELS: Final = "/mnt/models"


def trust(
    reader: Reader, namespace: str, config: StorageInitializerConfig, env: Iterable[Mapping[str, Any]]
) -> Credentials:
    """The mount and variables; none where no bundle is named.

    `env` are the variables that the container has, `namespace` is the job namespace.

    Raises CertificatesError where the ConfigMap, or the certificates in it, are not there; ApiError and TransportError.
    """
    given = {str(item.get("name")): str(item.get("value") or "") for item in env}
    file = given.get("AWS_CA_BUNDLE", "")
    own, shared = given.get("AWS_CA_BUNDLE_CONFIGMAP", ""), config.ca_bundle_config_map_name
    if not own and not shared:
        return Credentials()
    names = [own] if own else [shared, CA_BUNDLE_COPY]
    found = next((it for name in names if (it := _find(reader, name, namespace)) is not None), None)
    key = posixpath.basename(file) or DEFAULT_FILE
    if found is None:
        raise CertificatesError(_missing(names[0], namespace, key, shared=not own))
    if key not in found.data and key not in found.binary_data:
        raise CertificatesError(f"ConfigMap {found.key} has no key {key!r} with certificates: add it")
    path = posixpath.dirname(file) if file else config.ca_bundle_volume_mount_path or DEFAULT_PATH
    _check(path)
    return Credentials(
        env=(
            literal("CA_BUNDLE_CONFIGMAP_NAME", found.name),
            literal("CA_BUNDLE_VOLUME_MOUNT_POINT", path),
        ),
        volumes=({"name": _VOLUME, "configMap": {"name": found.name}},),
        volume_mounts=({"name": _VOLUME, "mountPath": path, "readOnly": True},),
    )


def _find(reader: Reader, name: str, namespace: str) -> ConfigMap | None:
    """Without asking for what is no name: people write them."""
    if not is_object_name(name):
        return None
    try:
        return reader.find(ConfigMap, name, namespace=namespace)
    except ForbiddenError as error:
        raise CertificatesError(
            f"the agent may not read ConfigMap {namespace}/{name} with the certificates to trust: apply "
            f"config/rbac/agent.yaml ({error})"
        ) from error


def _missing(name: str, namespace: str, key: str, *, shared: bool) -> str:
    said = f"ConfigMap {namespace}/{name} with the certificates that downloads shall trust does not exist"
    if not shared:
        return f"{said}: create it with the key {key!r}"
    return (
        f"{said}, nor does the manager's copy {CA_BUNDLE_COPY}: create it with the key {key!r} in KServe's namespace, "
        "and, where the manager may not copy it, here as well"
    )


def _check(path: str) -> None:
    if not path.startswith("/") or ":" in path or posixpath.normpath(path) in ("/", "//"):
        raise CertificatesError(f"certificates cannot be mounted at {path!r}: give the whole path of a file")
    if _is_within(path, _MODELS) or _is_within(_MODELS, path):
        raise CertificatesError(f"certificates cannot be mounted at {path!r}, where the model is to be")


def _is_within(path: str, directory: str) -> bool:
    return f"{posixpath.normpath(path)}/".startswith(f"{posixpath.normpath(directory)}/")
