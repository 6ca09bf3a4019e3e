"""A custom resource and a built-in one for tests of the registry, and short ways to write requests."""

from __future__ import annotations

from typing import Any

import msgspec

from localmodel.runtime.listwatch import ListPage, WatchEvent
from localmodel.runtime.objects import RESTMapping
from localmodel.runtime.testing.builtins import builtin_definition
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.schema import SET, MergeSchema, map_list
from localmodel.runtime.testing.watching import Watch

Json = dict[str, Any]

WIDGETS = ResourceDefinition(
    mapping=RESTMapping.of("example.com", "v1", "Widget"),
    schema=MergeSchema({("spec", "parts"): map_list("name"), ("spec", "tags"): SET}),
    fields={"spec.colour": lambda obj: (obj.get("spec") or {}).get("colour", "")},
)
CONFIG_MAPS = builtin_definition(RESTMapping.of("", "v1", "ConfigMap"), status_subresource=False)
PODS = builtin_definition(RESTMapping.of("", "v1", "Pod"))
DEPLOYMENTS = builtin_definition(RESTMapping.of("apps", "v1", "Deployment"))
NS = "ns"


def widget(name: str = "a", *, labels: dict[str, str] | None = None, **spec: Any) -> Json:
    metadata: Json = {"name": name, "namespace": NS}
    if labels is not None:
        metadata["labels"] = labels
    return {"metadata": metadata, "spec": spec}


def names(page: ListPage) -> list[str]:
    return [msgspec.json.decode(item)["metadata"]["name"] for item in page.items]


def told(event: WatchEvent) -> tuple[str, str]:
    """Type and name of the object; of a bookmark, the type alone."""
    return event.type, msgspec.json.decode(event.object)["metadata"].get("name", "")


def events_so_far(watch: Watch) -> list[WatchEvent]:
    """All events of a watch that have been delivered by now; ends it."""
    watch.end()
    return list(watch)
