"""An API server where KServe's own CRDs are installed: what we added is pruned, and one status has no subresource."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.crd import crds
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


def definitions(*, minimal: bool = False) -> list[Json]:
    """The CustomResourceDefinitions of our kinds as KServe's are, for a real API server.

    The full ones lack what we added; the minimal ones have no schema, and take everything.
    """
    fields = {
        "LocalModelCache": (_CACHE_SPEC, _CACHE_STATUS),
        "LocalModelNamespaceCache": (_CACHE_SPEC, _CACHE_STATUS),
        "LocalModelNode": ({"localModels"}, {"modelStatus"}),
        "LocalModelNodeGroup": (_GROUP_SPEC, {"used", "available"}),
    }
    made = [definition for definition in crds(minimal=minimal) if definition["spec"]["names"]["kind"] in fields]
    for definition in made:
        kind = definition["spec"]["names"]["kind"]
        for version in definition["spec"]["versions"]:
            version["additionalPrinterColumns"] = []
            if kind == "LocalModelNodeGroup":
                version.pop("subresources", None)
            if not minimal:
                _strip(version["schema"]["openAPIV3Schema"]["properties"], *fields[kind])
    return made


def _strip(properties: Json, spec: Iterable[str], status: Iterable[str]) -> None:
    """Leaves only these fields of spec and status, and of entries those that KServe's have; required ones go along."""
    for part, names in (("spec", spec), ("status", status)):
        schema = properties[part]
        schema.pop("x-kubernetes-validations", None)
        schema["properties"] = {name: value for name, value in schema["properties"].items() if name in set(names)}
        schema["required"] = [name for name in schema.get("required", ()) if name in schema["properties"]]
        if not schema["required"]:
            del schema["required"]
    if "localModels" in properties["spec"]["properties"]:
        entry = properties["spec"]["properties"]["localModels"]["items"]
        entry["properties"] = {name: value for name, value in entry["properties"].items() if name in _ENTRY}
