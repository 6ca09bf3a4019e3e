"""An API server where KServe's own CRDs are installed: what we added is pruned, and one status has no subresource."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup
from localmodel.runtime.objects import Object
from localmodel.runtime.testing.builtins import definition_of
from localmodel.runtime.testing.fake import FakeClient

Json = dict[str, Any]

_CACHE_SPEC = {"sourceModelUri", "modelSize", "nodeGroups", "serviceAccountName", "storage"}
_CACHE_STATUS = {"nodeStatus", "copies", "inferenceServices", "llmInferenceServices"}
_ENTRY = {"sourceModelUri", "modelName", "namespace", "nodeGroup", "serviceAccountName", "storage"}
_GROUP_SPEC = {"storageLimit", "persistentVolumeSpec", "persistentVolumeClaimSpec"}


def install(client: FakeClient, *, minimal: bool = False, only: type[Object] | None = None) -> None:
    """Serves our kinds, or `only` one, by KServe's CRDs, from now on. The minimal ones prune nothing."""
    shapes: dict[type[Object], Callable[[Json], None]] = {
        LocalModelCache: lambda obj: _keep(obj, _CACHE_SPEC, _CACHE_STATUS),
        LocalModelNamespaceCache: lambda obj: _keep(obj, _CACHE_SPEC, _CACHE_STATUS),
        LocalModelNode: _local_model_node,
        LocalModelNodeGroup: lambda obj: _keep(obj, _GROUP_SPEC, {"used", "available"}),
    }
    for kind, shape in shapes.items():
        if only not in (None, kind):
            continue
        definition = definition_of(kind)
        client.registry.register(
            replace(
                definition,
                prune=None if minimal else _pruning(shape),
                status_subresource=kind is not LocalModelNodeGroup,
            )
        )
        client._served.pop(kind, None)


def _pruning(shape: Callable[[Json], None]) -> Callable[[Json], list[str]]:
    def prune(obj: Json) -> list[str]:
        shape(obj)
        return []

    return prune


def _keep(obj: Json, spec: Iterable[str], status: Iterable[str]) -> None:
    for part, names in (("spec", spec), ("status", status)):
        if part in obj:
            obj[part] = {name: value for name, value in obj[part].items() if name in set(names)}


def _local_model_node(obj: Json) -> None:
    _keep(obj, {"localModels"}, {"modelStatus"})
    models = obj.get("spec", {}).get("localModels", [])
    models[:] = [{name: value for name, value in entry.items() if name in _ENTRY} for entry in models]
