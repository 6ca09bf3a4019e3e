"""`Hook`: one webhook of a configuration object, ready to be asked; `Hooks`: all of one kind, kept in step with them.

Compiled when a configuration is written; so a request pays nothing for webhooks as long as there are none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.testing.registry import Registry

from .matching import GROUP

if TYPE_CHECKING:
    from .expressions import Conditions

log = structlog.get_logger(__name__)

Json = dict[str, Any]


class Hook(msgspec.Struct, frozen=True, eq=False):
    """One webhook. Compared by identity: two with the same name in two configurations are two."""

    configuration: str
    raw: Json
    conditions: Conditions

    @property
    def name(self) -> str:
        return str(self.raw["name"])

    @property
    def fails_closed(self) -> bool:
        return bool(self.raw.get("failurePolicy", "Fail") == "Fail")

    @property
    def is_reinvoked(self) -> bool:
        return bool(self.raw.get("reinvocationPolicy", "Never") == "IfNeeded")

    @property
    def has_side_effects(self) -> bool:
        return self.raw.get("sideEffects") not in ("None", "NoneOnDryRun")


class Hooks:
    """The webhooks of one kind of configuration, by the names of the configurations, then in their order."""

    def __init__(self, registry: Registry, plural: str) -> None:
        self._registry = registry
        definition = registry.lookup(GROUP, "v1", plural)
        if definition is None:
            raise LookupError(f"{plural}.{GROUP} is not registered")
        self._definition = definition
        # Replaced as a whole, so that readers need no lock.
        self.all: tuple[Hook, ...] = ()
        self._load()
        options = WatchOptions(resource_version=str(registry.store.revision), timeout_seconds=2**31)
        registry.watch(definition, options, lambda _: self._load())

    def _load(self) -> None:
        page = self._registry.list(self._definition, ListOptions())
        configurations = [msgspec.json.decode(item) for item in page.items]
        configurations.sort(key=lambda configuration: configuration["metadata"]["name"])
        self.all = tuple(
            hook
            for configuration in configurations
            for raw in configuration.get("webhooks") or ()
            if (hook := _compiled(configuration["metadata"]["name"], raw)) is not None
        )


def _compiled(configuration: str, raw: Json) -> Hook | None:
    # Brings CEL, which is slow to import.
    from .expressions import CompilationError, Conditions, environment

    try:
        return Hook(configuration, raw, Conditions.compile(raw.get("matchConditions"), environment()))
    except CompilationError as error:
        # Validation refuses such a webhook; it can only come from the data directory of another version.
        log.error("webhook with a condition that does not compile is not called", webhook=raw["name"], error=str(error))
        return None
