"""The configuration that the reconcilers share: the last good state of `inferenceservice-config`.

A ConfigMap that cannot be used costs an event and a log line, never the manager: what was good before stays. A missing
one means defaults, said once.
"""

from __future__ import annotations

import threading

import structlog

from localmodel.api import ConfigError, InferenceServiceConfig
from localmodel.api.names import CONFIG_MAP_NAME, DEFAULT_JOB_NAMESPACE, KSERVE_NAMESPACE
from localmodel.runtime.client import Reader
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import ConfigMap

log = structlog.get_logger(__name__)


class Settings:
    """One for all reconcilers of a process. Thread-safe."""

    def __init__(self, namespace: str = KSERVE_NAMESPACE) -> None:
        self.namespace = namespace
        """Where the manager runs: of the ConfigMap and of the agents' Pods (POD_NAMESPACE)."""
        self._lock = threading.Lock()
        """Guards the fields below."""
        self._seen: str | None = None
        """The ConfigMap's resource version that was read last, empty where there was none."""
        self._last_good = InferenceServiceConfig()

    def current(self, reader: Reader, recorder: EventRecorder) -> InferenceServiceConfig:
        """The newest configuration that can be used. Each version of the ConfigMap is parsed once."""
        config_map = reader.find(ConfigMap, CONFIG_MAP_NAME, namespace=self.namespace)
        version = config_map.metadata.resource_version if config_map is not None else ""
        with self._lock:
            if version != self._seen:
                self._seen = version
                self._load(config_map, recorder)
            return self._last_good

    def _load(self, config_map: ConfigMap | None, recorder: EventRecorder) -> None:
        if config_map is None:
            log.warning(
                "Configuration is missing, using defaults",
                namespace=self.namespace,
                config_map=CONFIG_MAP_NAME,
                job_namespace=DEFAULT_JOB_NAMESPACE,
            )
            self._last_good = InferenceServiceConfig()
            return
        try:
            self._last_good = InferenceServiceConfig.from_config_map(config_map)
        except ConfigError as error:
            log.error("Configuration cannot be used, keeping the last good one", error=str(error))
            recorder.event(config_map, "Warning", "InvalidConfiguration", f"{error}; the last good configuration stays")
