"""`CertificatesReconciler`: keeps the certificates that all downloads shall trust in the job namespace, too (D-51).

`storageInitializer.caBundleConfigMapName` names a ConfigMap of KServe's namespace, which KServe copies into the
namespaces of services as `global-ca-bundle`. Downloads run in none of those, so the manager makes that copy in the job
namespace. It is read again every few minutes, as ConfigMaps are not watched; one without our label is somebody else's
and left alone. Without the rights for it the agents say what is missing, and what to do.
"""

from __future__ import annotations

from typing import Final

import structlog

from localmodel.api.names import CA_BUNDLE_COPY, CA_BUNDLE_COPY_LABEL, CONFIG_MAP_NAME
from localmodel.runtime.builder import Builder
from localmodel.runtime.controllerutil import delete_exactly
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.predicate import ResourceVersionChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .settings import Settings

REFRESH_SECONDS: Final = 240.0
"""How often the certificates are read again: new ones are copied within five minutes."""
NOT_FOUND: Final = "CertificatesNotFound"

log = structlog.get_logger(__name__)


class CertificatesReconciler(Reconciler):
    """The only writer of the copy. The request is the configuration's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._told = ""
        """What the last event or warning said, so that it is said once."""
        self._former = ""
        """The job namespace that was dealt with last."""

    def setup(self, builder: Builder) -> None:
        builder.named("certificates").for_(ConfigMap, ResourceVersionChanged())

    def reconcile(self, request: Request) -> Result | None:
        """Raises ApiError and TransportError, except for want of rights."""
        if request != Request(self._settings.namespace, CONFIG_MAP_NAME):
            return None
        config = self._settings.current(self.client, self.recorder)
        name, namespace = config.storage_initializer.ca_bundle_config_map_name, config.local_model.jobs_namespace
        former, self._former = self._former, namespace
        try:
            if former not in ("", namespace):
                self._remove(former)
            if not name or namespace == self._settings.namespace:
                self._remove(namespace)
                return None
            self._copy(name, namespace)
        except ForbiddenError as error:
            self._say(f"certificates of downloads cannot be copied: {error}")
        return Result(requeue_after=REFRESH_SECONDS)

    def _copy(self, name: str, namespace: str) -> None:
        source = self.live.find(ConfigMap, name, namespace=self._settings.namespace)
        if source is None:
            self._tell_missing(name)
            return
        self._told = ""
        found = self.live.find(ConfigMap, CA_BUNDLE_COPY, namespace=namespace)
        if found is None:
            metadata = ObjectMeta(name=CA_BUNDLE_COPY, namespace=namespace, labels={CA_BUNDLE_COPY_LABEL: "true"})
            self.client.create(ConfigMap(metadata=metadata, data=source.data, binary_data=source.binary_data))
            log.info("certificates of downloads copied", source=str(source.key), namespace=namespace)
        elif _is_ours(found) and (found.data, found.binary_data) != (source.data, source.binary_data):
            found.data, found.binary_data = source.data, source.binary_data
            self.client.update(found)
            log.info("certificates of downloads renewed", source=str(source.key), namespace=namespace)

    def _remove(self, namespace: str) -> None:
        found = self.live.find(ConfigMap, CA_BUNDLE_COPY, namespace=namespace)
        if found is not None and _is_ours(found) and not found.is_deleting:
            delete_exactly(self.client, found)
            log.info("certificates of downloads removed", namespace=namespace)

    def _tell_missing(self, name: str) -> None:
        """What was copied before stays."""
        message = (
            f"storageInitializer.caBundleConfigMapName is {name}, and there is no such ConfigMap in namespace "
            f"{self._settings.namespace}: create it with the key cabundle.crt"
        )
        config_map = self.client.find(ConfigMap, CONFIG_MAP_NAME, namespace=self._settings.namespace)
        if self._say(message) and config_map is not None:
            self.recorder.event(config_map, "Warning", NOT_FOUND, message)

    def _say(self, message: str) -> bool:
        """Whether it is news."""
        if message == self._told:
            return False
        self._told = message
        log.warning("Certificates of downloads are not copied", problem=message)
        return True


def _is_ours(copy: ConfigMap) -> bool:
    return CA_BUNDLE_COPY_LABEL in copy.metadata.labels
