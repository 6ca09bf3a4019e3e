"""OpenAPI v3: an index with one document per group version, made on demand and kept until its schemas change.

A document is what kubectl needs of one: the schemas of the kinds (with group, version and kind), list paths that
`kubectl explain` starts from, and PATCH operations whose fieldValidation parameter tells `kubectl apply` that the
server checks fields itself. The hash in the index covers the document alone: clients fetch it again only when it is
new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from . import schemas
from .discovery import ApiResource

Json = dict[str, Any]
CustomSchema = Callable[[ApiResource], Json | None]
"""The openAPIV3Schema of a custom resource; None for a built-in kind."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_OBJECT_META = f"{schemas.REF_PREFIX}{_META}ObjectMeta"
_LIST_META = f"{schemas.REF_PREFIX}{_META}ListMeta"
_QUERY_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_METHODS = {
    "get": "get",
    "list": "get",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "delete",
}


class OpenApi:
    """The documents of what is served now. `reset` is called when a CRD comes, changes or goes."""

    def __init__(self, resources: Callable[[], Iterable[ApiResource]], custom_schema: CustomSchema) -> None:
        self._resources = resources
        self._custom_schema = custom_schema
        self._documents: dict[str, tuple[str, bytes]] = {}

    def reset(self) -> None:
        self._documents = {}

    def index(self) -> Json:
        """The answer to /openapi/v3."""
        paths = {}
        for path in dict.fromkeys(_path_of(resource) for resource in self._resources()):
            digest, _ = self._document(path)
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}

    def document(self, path: str) -> bytes | None:
        """The answer to /openapi/v3/PATH (api/v1 or apis/GROUP/VERSION); None if nothing is served there."""
        if not any(_path_of(resource) == path for resource in self._resources()):
            return None
        return self._document(path)[1]

    def _document(self, path: str) -> tuple[str, bytes]:
        documents = self._documents
        if path not in documents:
            served = [resource for resource in self._resources() if _path_of(resource) == path]
            body = msgspec.json.encode(self._build(served))
            documents[path] = hashlib.sha256(body).hexdigest().upper(), body
        return documents[path]

    def _build(self, resources: list[ApiResource]) -> Json:
        paths: Json = {}
        components: Json = {}
        for resource in resources:
            self._add_schemas(resource, components)
            _add_paths(resource, paths)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "unversioned"},
            "paths": paths,
            "components": {"schemas": components},
        }

    def _add_schemas(self, resource: ApiResource, components: Json) -> None:
        custom = self._custom_schema(resource)
        if custom is None:
            name = schemas.schema_name(_gvk(resource))
            if name is None:
                return
            _add_closure(name, components)
        else:
            name = ".".join((*reversed(resource.group.split(".")), resource.version, resource.kind))
            components[name] = published_schema(custom, resource)
            _add_closure(f"{_META}ObjectMeta", components)
        _add_closure(f"{_META}ListMeta", components)
        components[f"{name}List"] = _list_schema(name, resource)


def _gvk(resource: ApiResource) -> Any:
    from localmodel.runtime.objects import GroupVersionKind

    return GroupVersionKind(resource.group, resource.version, resource.kind)


def _path_of(resource: ApiResource) -> str:
    return f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"


def published_schema(custom: Json, resource: ApiResource) -> Json:
    """A CRD's schema with what every object has, and its kind."""
    known = schemas.components()[f"{_META}ObjectMeta"]
    properties = {
        "apiVersion": {"type": "string", "description": _API_VERSION},
        "kind": {"type": "string", "description": _KIND},
        **(custom.get("properties") or {}),
        "metadata": {"allOf": [{"$ref": _OBJECT_META}], "description": known.get("description", "")},
    }
    return {
        **custom,
        "type": "object",
        "properties": properties,
        "x-kubernetes-group-version-kind": [_gvk_object(resource)],
    }


_API_VERSION = "The versioned schema of this representation of the object."
_KIND = "The REST resource that this object represents, in CamelCase."


def _gvk_object(resource: ApiResource, *, suffix: str = "") -> Json:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind + suffix}


def _list_schema(name: str, resource: ApiResource) -> Json:
    return {
        "description": f"{resource.kind}List is a list of {resource.kind}.",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": _API_VERSION},
            "kind": {"type": "string", "description": _KIND},
            "metadata": {"allOf": [{"$ref": _LIST_META}]},
            "items": {"type": "array", "items": {"$ref": schemas.REF_PREFIX + name}},
        },
        "x-kubernetes-group-version-kind": [_gvk_object(resource, suffix="List")],
    }


def _add_closure(name: str, components: Json) -> None:
    """A packaged schema and all that it refers to."""
    if name in components:
        return
    schema = components[name] = schemas.components()[name]
    pending: list[Any] = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                _add_closure(node["$ref"].removeprefix(schemas.REF_PREFIX), components)
            pending += node.values()
        elif isinstance(node, list):
            pending += node


def _add_paths(resource: ApiResource, paths: Json) -> None:
    base = f"/{_path_of(resource)}"
    collection = (
        f"{base}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{base}/{resource.plural}"
    )
    if resource.namespaced and "list" in resource.verbs:
        paths[f"{base}/{resource.plural}"] = {"get": _operation(resource, "list")}
    verbs = set(resource.verbs)
    paths[collection] = {
        _METHODS[verb]: _operation(resource, verb) for verb in ("list", "create", "deletecollection") if verb in verbs
    }
    item = {
        _METHODS[verb]: _operation(resource, verb) for verb in ("get", "update", "patch", "delete") if verb in verbs
    }
    if item:
        paths[f"{collection}/{{name}}"] = item
    for subresource in resource.subresources:
        paths[f"{collection}/{{name}}/{subresource.name}"] = {
            _METHODS[verb]: _operation(resource, verb) for verb in subresource.verbs
        }


def _operation(resource: ApiResource, verb: str) -> Json:
    operation: Json = {
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": {"create": "post", "update": "put"}.get(verb, verb),
        "x-kubernetes-group-version-kind": _gvk_object(resource),
    }
    if verb in ("create", "update", "patch"):
        operation["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in _QUERY_PARAMETERS
        ]
    return operation
