"""The agent's configuration: its last good state, kept up to date from the ConfigMap.

The ConfigMap is watched. KServe's role lets an agent only get it: then it is read live, once a minute.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import structlog

from localmodel.api.config import InferenceServiceConfig
from localmodel.api.names import CONFIG_MAP_NAME
from localmodel.api.node import LocalModelNode
from localmodel.runtime.cache import KindForbiddenError
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import ConfigMap

ASK_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


class Configuration:
    """`current` may be read by any thread; `read` is for one at a time."""

    def __init__(self, *, namespace: str, jobs_namespace: str) -> None:
        """`namespace` is KServe's. `jobs_namespace` holds until the agent restarts, whatever is configured later."""
        self._namespace = namespace
        self._jobs_namespace = jobs_namespace
        self.current = InferenceServiceConfig()
        self._was_read = False
        self._problem = ""
        self._asked: tuple[float, ConfigMap | None] = (float("-inf"), None)
        """When the API server was asked last, by the monotonic clock, and its answer."""

    def read(
        self, node: LocalModelNode | None, *, reader: Reader, live: Reader, recorder: EventRecorder, clock: Clock
    ) -> InferenceServiceConfig:
        """What is broken of the configuration is reported once, on the node, and its last good state stays.

        Raises ApiError and TransportError.
        """
        config_map = self._find(reader, live, clock)
        if not self._was_read:
            self._was_read, self.current = True, InferenceServiceConfig.salvaged(config_map)
        config, bad = self.current.updated(config_map)
        problem = ""
        if bad:
            problem = f"what cannot be used stays as it was: {'; '.join(map(str, bad.values()))}"
        elif config.local_model.jobs_namespace != self._jobs_namespace:
            problem = f"jobNamespace is {config.local_model.jobs_namespace} now: restart the agents to use it"
        pinned = config.local_model.model_copy(update={"job_namespace": self._jobs_namespace})
        self.current = replace(config, local_model=pinned)
        if problem and problem != self._problem:
            log.error("configuration problem", config_map=CONFIG_MAP_NAME, problem=problem)
            if node is not None:
                recorder.event(node, "Warning", "InvalidConfig", f"ConfigMap {CONFIG_MAP_NAME}: {problem}")
        self._problem = problem
        return self.current

    def _find(self, reader: Reader, live: Reader, clock: Clock) -> ConfigMap | None:
        try:
            return reader.find(ConfigMap, CONFIG_MAP_NAME, namespace=self._namespace)
        except KindForbiddenError:
            asked, found = self._asked
            if clock.monotonic() - asked >= ASK_SECONDS:
                found = live.find(ConfigMap, CONFIG_MAP_NAME, namespace=self._namespace)
                self._asked = clock.monotonic(), found
            return found
