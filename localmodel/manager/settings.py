"""The configuration that the reconcilers share: the last good state of `inferenceservice-config`.

What cannot be used costs an event, a condition, a metric and a log line, never the manager: each key of the ConfigMap
keeps its last good state on its own (design.md section 4). A missing ConfigMap means defaults, said once.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from localmodel.api import ConfigError, InferenceServiceConfig
from localmodel.api.config import CONFIG_KEYS
from localmodel.api.names import CONFIG_MAP_NAME, DEFAULT_JOB_NAMESPACE, KSERVE_NAMESPACE
from localmodel.runtime.builder import Builder
from localmodel.runtime.cache import KindForbiddenError
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.predicate import ResourceVersionChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .status import Problem

log = structlog.get_logger(__name__)

ASK_SECONDS: Final = 60.0
"""How often the ConfigMap is read where it may not be watched: KServe's roles give `get` on it, no more."""
INVALID: Final = "InvalidConfiguration"
"""The reason of events and conditions."""


class Settings:
    """One for all reconcilers of a process. Thread-safe."""

    def __init__(
        self,
        namespace: str = KSERVE_NAMESPACE,
        *,
        live: Reader | None = None,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`live` is asked where ConfigMaps may not be watched. With a `registry`, the gauge localmodel_config_invalid
        is in it."""
        self._live = live
        self._clock = clock or RealClock()
        self.namespace = namespace
        """Where the manager runs: of the ConfigMap and of the agents' Pods (POD_NAMESPACE)."""
        self.guards_pods = False
        """Whether this manager serves the webhooks of pods; set before it starts."""
        self._invalid = Gauge(
            "localmodel_config_invalid",
            f"1 for a key of {CONFIG_MAP_NAME} that cannot be used, so that its last good state holds",
            ("key",),
            registry=registry,
        )
        self._lock = threading.Lock()
        """Guards the fields below."""
        self._seen: str | None = None
        """The ConfigMap's resource version that was read last, empty where there was none."""
        self._last_good = InferenceServiceConfig()
        self._asked: tuple[float, ConfigMap | None] = (float("-inf"), None)
        """When the API server itself was asked last, by the monotonic clock, and its answer."""
        self._problem = ""
        """What is wrong with the version that was read last."""
        self._tell({})

    def current(self, reader: Reader, recorder: EventRecorder) -> InferenceServiceConfig:
        """The newest configuration that can be used. Each version of the ConfigMap is parsed once.

        Where it may not be watched it is read once a minute; raises what that raises.
        """
        try:
            config_map = reader.find(ConfigMap, CONFIG_MAP_NAME, namespace=self.namespace)
        except KindForbiddenError:
            config_map = self._ask()
        version = config_map.metadata.resource_version if config_map is not None else ""
        with self._lock:
            if version != self._seen:
                self._load(config_map, recorder)
                self._seen = version
            return self._last_good

    @property
    def last_good(self) -> InferenceServiceConfig:
        """What `current` returned last; defaults before that. Asks nobody."""
        return self._last_good

    def _ask(self) -> ConfigMap | None:
        if self._live is None:
            raise RuntimeLibraryError("Settings were made without a reader to ask: give them `live`")
        with self._lock:
            asked, config_map = self._asked
            if self._clock.monotonic() - asked >= ASK_SECONDS:
                config_map = self._live.find(ConfigMap, CONFIG_MAP_NAME, namespace=self.namespace)
                self._asked = self._clock.monotonic(), config_map
            return config_map

    def problems(self) -> list[Problem]:
        """What every cache shows of the configuration that `current` has read: one problem, or none."""
        with self._lock:
            message = self._problem
        return [Problem(reason=INVALID, message=message, own=False)] if message else []

    def _load(self, config_map: ConfigMap | None, recorder: EventRecorder) -> None:
        """Takes what is good. An event tells only what is new: other programs' keys change in the ConfigMap, too."""
        if config_map is None:
            log.warning(
                "Configuration is missing, using defaults",
                namespace=self.namespace,
                config_map=CONFIG_MAP_NAME,
                job_namespace=DEFAULT_JOB_NAMESPACE,
            )
        if self._seen is None:
            self._last_good = InferenceServiceConfig.salvaged(config_map)
        self._last_good, bad = self._last_good.updated(config_map)
        before, self._problem = self._problem, ""
        self._tell(bad)
        if bad and config_map is not None:
            wrong = "; ".join(map(str, bad.values()))
            self._problem = f"ConfigMap {config_map.key}: {wrong}"
            if self._problem != before:
                log.error("Configuration cannot be used, keeping the last good state", error=wrong)
                recorder.event(config_map, "Warning", INVALID, f"{wrong}; what was good before stays")
        elif before and config_map is not None:
            log.info("Configuration can be used again")
            recorder.event(config_map, "Normal", "ConfigurationMended", "the configuration can be used again")

    def _tell(self, bad: Mapping[str, ConfigError]) -> None:
        for key in CONFIG_KEYS:
            self._invalid.labels(key).set(int(key in bad))


class ConfigurationReconciler(Reconciler):
    """Reads the ConfigMap when it changes, so that a wrong value is told also where nothing else asks for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def setup(self, builder: Builder) -> None:
        builder.for_(ConfigMap, ResourceVersionChanged())

    def reconcile(self, request: Request) -> Result | None:
        if request == Request(self._settings.namespace, CONFIG_MAP_NAME):
            self._settings.current(self.client, self.recorder)
        return None
