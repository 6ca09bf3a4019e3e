"""OpenAPI: v3, an index with one document per group version, and v2, all in one document (see `openapiv2`).

A document is what kubectl needs of one: the schemas of the kinds (with group, version and kind), list paths that
`kubectl explain` starts from, and PATCH operations that tell `kubectl apply` which patches the kind takes and that the
server checks fields itself. Documents are made on demand and kept until what is served changes. Their entity tags, and
the hashes in the index, cover the document alone: clients fetch it again only when it is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from localmodel.runtime.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from localmodel.runtime.errors import NotAcceptableError

from . import openapiv2, schemas
from .discovery import ApiResource
from .messages import JSON, Request, Response
from .negotiation import media_types

Json = dict[str, Any]
CustomSchema = Callable[[ApiResource], Json | None]
"""The openAPIV3Schema of a custom resource; None for a built-in kind."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_OBJECT_META = f"{schemas.REF_PREFIX}{_META}ObjectMeta"
_LIST_META = f"{schemas.REF_PREFIX}{_META}ListMeta"
_SELECTABLE = "x-kubernetes-selectable-fields"
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
        # Hash and body; of v3 by path, of v2 by content type.
        self._documents: dict[str, tuple[str, bytes]] = {}

    def reset(self) -> None:
        self._documents = {}

    def answer(self, request: Request, path: str) -> Response | None:
        """The answer to a path under /openapi/; None if there is nothing. Raises NotAcceptableError."""
        content_type = JSON
        if path == "/openapi/v2":
            content_type = _form_of_v2(request.headers.get("accept", ""))
            digest, body = self._version2(content_type)
        elif path == "/openapi/v3":
            digest, body = _hashed(msgspec.json.encode(self._index()))
        else:
            name = path.removeprefix("/openapi/v3/")
            if not any(_path_of(resource) == name for resource in self._resources()):
                return None
            digest, body = self._document(name)
        tag = f'"{digest}"'
        headers = (("ETag", tag), ("Vary", "Accept"))
        if tag in request.headers.get("if-none-match", ""):
            return Response(status=304, body=b"", content_type=content_type, headers=headers)
        return Response(status=200, body=body, content_type=content_type, headers=headers)

    def _index(self) -> Json:
        paths = {}
        for path in dict.fromkeys(_path_of(resource) for resource in self._resources()):
            digest, _ = self._document(path)
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}

    def _document(self, path: str) -> tuple[str, bytes]:
        """The v3 document of a group version, api/v1 or apis/GROUP/VERSION, and its hash."""
        documents = self._documents
        if path not in documents:
            served = [resource for resource in self._resources() if _path_of(resource) == path]
            documents[path] = _hashed(msgspec.json.encode(self._build(served)))
        return documents[path]

    def _version2(self, content_type: str) -> tuple[str, bytes]:
        documents = self._documents
        if content_type not in documents:
            document = openapiv2.document(self._build(list(self._resources())))
            encode = msgspec.json.encode if content_type == JSON else openapiv2.encode
            documents[content_type] = _hashed(encode(document))
        return documents[content_type]

    def _build(self, resources: list[ApiResource]) -> Json:
        paths: Json = {}
        components: Json = {}
        for resource in resources:
            self._add_schemas(resource, components)
            _add_paths(resource, paths, self._patch_types(resource))
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "unversioned"},
            "paths": paths,
            "components": {"schemas": components},
        }

    def _patch_types(self, resource: ApiResource) -> Sequence[str]:
        """Custom resources take no strategic merge patches."""
        types = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
        return types if self._custom_schema(resource) is not None else [*types, STRATEGIC_MERGE_PATCH]

    def _add_schemas(self, resource: ApiResource, components: Json) -> None:
        custom = self._custom_schema(resource)
        if custom is None:
            name = schemas.schema_name(_gvk(resource))
            if name is None:
                return
            _add_closure(name, components)
            if "list" not in resource.verbs:
                return
            listed = _list_schema(name, resource)
            listed["properties"]["items"]["items"] = {"default": {}, "allOf": [listed["properties"]["items"]["items"]]}
            listed["properties"]["metadata"] = {"default": {}, **listed["properties"]["metadata"]}
        else:
            name = ".".join((*reversed(resource.group.split(".")), resource.version, resource.kind))
            components[name] = published_schema(custom, resource)
            _add_closure(f"{_META}ObjectMeta", components)
            listed = {**_list_schema(name, resource), _SELECTABLE: custom.get(_SELECTABLE, [])}
        _add_closure(f"{_META}ListMeta", components)
        components[f"{name}List"] = listed


def _hashed(body: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(body).hexdigest().upper(), body


def _form_of_v2(accept: str) -> str:
    """The content type of the first form that the client takes."""
    for name, _ in media_types(accept or JSON):
        if name.replace("@", ".") == openapiv2.PROTOBUF:
            return openapiv2.PROTOBUF
        if name in (JSON, "application/*", "*/*"):
            return JSON
    raise NotAcceptableError.of(f"only the following media types are accepted: {JSON}, {openapiv2.PROTOBUF}")


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


def _add_paths(resource: ApiResource, paths: Json, patch_types: Sequence[str]) -> None:
    base = f"/{_path_of(resource)}"
    collection = (
        f"{base}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{base}/{resource.plural}"
    )

    def item(served: Sequence[str], *verbs: str) -> Json:
        return {_METHODS[verb]: _operation(resource, verb, patch_types) for verb in verbs if verb in served}

    if resource.namespaced and "list" in resource.verbs:
        paths[f"{base}/{resource.plural}"] = item(resource.verbs, "list")
    paths[collection] = item(resource.verbs, "list", "create", "deletecollection")
    if of_one := item(resource.verbs, "get", "update", "patch", "delete"):
        paths[f"{collection}/{{name}}"] = of_one
    for subresource in resource.subresources:
        paths[f"{collection}/{{name}}/{subresource.name}"] = item(subresource.verbs, *subresource.verbs)


def _operation(resource: ApiResource, verb: str, patch_types: Sequence[str]) -> Json:
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
    if verb == "patch":
        operation["requestBody"] = {"content": {type_: {} for type_ in patch_types}}
    return operation
