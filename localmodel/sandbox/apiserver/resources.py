"""The verbs of stored resources: from a parsed request to the registry and back to an answer.

Everything that an object means is in the registry; here are status codes, representations (plain, Table, metadata only)
and the lines of watches. List items and watch events are passed on as the bytes that the store keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from localmodel.runtime.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, PatchType
from localmodel.runtime.errors import (
    ApiError,
    BadRequestError,
    ExpiredError,
    MethodNotAllowedError,
    RequestEntityTooLargeError,
    ServerTimeoutError,
    UnsupportedMediaTypeError,
    make_status,
)
from localmodel.runtime.objects import GroupVersionKind
from localmodel.runtime.testing.answers import nameless
from localmodel.runtime.testing.definitions import ResourceDefinition, UserInfo
from localmodel.runtime.testing.registry import Registry
from localmodel.runtime.testing.writerequest import Written

from . import gotypes
from . import requestoptions as options
from .builtins import ALL_VERBS
from .definitions import printer_of, resource_of
from .messages import JSON, Headers, Request, Response, WatchResponse
from .negotiation import Representation, decode_body, negotiate, not_acceptable, require_producible
from .requestbodies import decode_patch, typed_object
from .routing import RequestInfo, not_found_page
from .table import partial_metadata, row, table
from .users import User
from .watchlines import Lines, event_line

Json = dict[str, Any]

_PATCH_TYPES: dict[str, PatchType] = {
    type_: type_ for type_ in (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)
}
_DELETE_OPTIONS = GroupVersionKind("", "v1", "DeleteOptions")


_SHOWN_WHEN_DELETED = frozenset(
    {
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "csistoragecapacities.storage.k8s.io",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
        "storageclasses.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
    }
)
"""A delete answers with the object itself (ReturnDeletedObject of the store), else with a Status."""
_PRESERVED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


def _default_propagation(definition: ResourceDefinition, wanted: dict[str, Any]) -> Headers:
    """Jobs of batch/v1 orphan their pods unless the client says otherwise, and warn of it (jobStrategy)."""
    if definition.group_resource != "jobs.batch" or wanted["propagation"] is not None:
        return ()
    wanted["propagation"] = "Orphan"
    return warning_headers([_PRESERVED])


def not_allowed() -> MethodNotAllowedError:
    message = "the server does not allow this method on the requested resource"
    return MethodNotAllowedError({**make_status("MethodNotAllowed", 405, message), "details": {}})


class ResourceHandler:
    """Serves the verbs on a definition of the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def handle(
        self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User
    ) -> Response | WatchResponse:
        """Raises ApiError. A subresource is one that the definition merges (status, finalize)."""
        if definition.mapping.namespaced and not info.namespace and (info.name or info.verb not in ("list", "watch")):
            raise not_found_page() if info.name else not_allowed()
        if info.verb == "patch" and info.name:
            patch_type_of(request, definition)
        require_producible(request.headers.get("accept", ""))
        match info.verb:
            case "get" if "get" in _subresource_verbs(info, definition):
                return self._get(request, info, definition)
            case "list":
                return self._list(request, info, definition)
            case "watch":
                return self._watch(request, info, definition)
            case "create" if not info.name:
                return self._create(request, info, definition, user)
            case "update" if info.name:
                return self._update(request, info, definition, user)
            case "patch" if info.name:
                return self._patch(request, info, definition, user)
            case "delete":
                return self._delete(request, info, definition, user)
            case "deletecollection" if not info.subresource and definition.group_resource != "namespaces":
                return self._delete_collection(request, info, definition, user)
            case _:
                raise not_allowed()

    def _get(self, request: Request, info: RequestInfo, definition: ResourceDefinition) -> Response:
        form = negotiate(request.headers.get("accept", ""))
        query = request.query
        if "export" in query:
            raise BadRequestError.of("the export parameter, deprecated since v1.14, is no longer supported")
        _check_include(query, form)
        raw = self._registry.get_raw(
            definition, info.namespace, info.name, resource_version=query.get("resourceVersion", "")
        )
        return self.present(definition, raw, form, include=query.get("includeObject", ""))

    def present(
        self,
        definition: ResourceDefinition,
        raw: bytes,
        form: Representation,
        *,
        status: int = 200,
        include: str = "",
        headers: Headers = (),
    ) -> Response:
        """One object in the form that was asked for."""
        if not form.form:
            return Response(status=status, body=raw, headers=headers)
        obj = msgspec.json.decode(raw)
        if form.form == "Table":
            value = self.table_of(
                definition, {"resourceVersion": obj["metadata"].get("resourceVersion", "")}, [obj], form, include
            )
        else:
            value = partial_metadata(obj, version=form.version)
        return Response.of_json(value, status=status, headers=headers)

    def table_of(
        self,
        definition: ResourceDefinition,
        metadata: Json,
        objects: Sequence[Json],
        form: Representation,
        include: str,
        *,
        with_definitions: bool = True,
    ) -> Json:
        """Objects as a Table; `metadata` is that of the list."""
        printer, now = printer_of(definition), self._registry.clock.now()
        rows = [row(printer, obj, now, include=include, version=form.version) for obj in objects]
        return table(
            metadata, rows, version=form.version, definitions=printer.definitions if with_definitions else None
        )

    def _list(self, request: Request, info: RequestInfo, definition: ResourceDefinition) -> Response:
        form = negotiate(request.headers.get("accept", ""), "list")
        query = request.query
        _check_include(query, form)
        page = self._registry.list(definition, options.list_options(query, info.namespace))
        metadata: Json = {"resourceVersion": page.resource_version}
        if page.continue_:
            metadata["continue"] = page.continue_
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        gvk = definition.mapping.gvk
        if not form.form:
            head = msgspec.json.encode({"kind": f"{gvk.kind}List", "apiVersion": gvk.api_version, "metadata": metadata})
            items = b",".join(_without_head(definition, bytes(item)) for item in page.items)
            return Response(status=200, body=b"".join((head[:-1], b',"items":[', items, b"]}")))
        objects = [msgspec.json.decode(item) for item in page.items]
        if form.form == "Table":
            include = query.get("includeObject", "")
            return Response.of_json(self.table_of(definition, metadata, objects, form, include))
        return Response.of_json(
            {
                "kind": "PartialObjectMetadataList",
                "apiVersion": f"meta.k8s.io/{form.version}",
                "metadata": metadata,
                "items": [partial_metadata(obj, version=form.version) for obj in objects],
            }
        )

    def _watch(self, request: Request, info: RequestInfo, definition: ResourceDefinition) -> WatchResponse:
        form = negotiate(request.headers.get("accept", ""), "watch")
        query = request.query
        _check_include(query, form)
        wanted = options.watch_options(query, info.namespace, info.name)
        if form.form == "Table" and wanted.allow_bookmarks and wanted.begins_with_state:
            raise not_acceptable()
        response = WatchResponse()
        lines = Lines(self, definition, form, query.get("includeObject", ""))
        try:
            watch = self._registry.watch(
                definition, wanted, lambda event: response.push(*lines.pieces(event)), on_end=response.finish
            )
        except (ExpiredError, ServerTimeoutError) as error:
            # The watch itself was understood: like the watch cache, it starts and ends with this one event.
            response.push(event_line("ERROR", msgspec.json.encode(error.status)))
            response.finish()
            return response
        lines.is_initial = False
        response.on_close = watch.close
        response.tick = watch.tick
        return response

    def _body(self, request: Request, definition: ResourceDefinition, validation: str) -> tuple[Json, list[str]]:
        """The object of a body, and warnings about keys that stand twice; in strict mode those are refused."""
        gvk = definition.mapping.gvk
        body = decode_body(
            request.body,
            request.headers.get("content-type", ""),
            find_duplicates=validation in ("", "Warn", "Strict"),
            kind=gvk.kind,
        )
        obj = typed_object(body.value, request.body, definition, self._registry.definitions)
        if body.duplicates and validation == "Strict":
            raise BadRequestError.of(
                f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: strict decoding error: '
                f"{', '.join(body.duplicates)}"
            )
        return obj, body.duplicates

    def _create(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        form = negotiate(request.headers.get("accept", ""))
        write = options.write_options(request, kind="CreateOptions")
        obj, warnings = self._body(request, definition, write.field_validation)
        written = self._registry.create(definition, info.namespace, obj, write, user=user_info(user))
        return self._written(definition, written, form, warnings, status=201)

    def _update(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        form = negotiate(request.headers.get("accept", ""))
        write = options.write_options(request, kind="UpdateOptions")
        obj, warnings = self._body(request, definition, write.field_validation)
        if not (obj.get("metadata") or {}).get("name"):
            raise nameless(info.name)
        written = self._registry.update(
            definition, info.namespace, info.name, obj, write, subresource=info.subresource, user=user_info(user)
        )
        return self._written(definition, written, form, warnings)

    def _patch(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        form = negotiate(request.headers.get("accept", ""))
        patch_type = patch_type_of(request, definition)
        write, force = options.patch_options(request, applies=patch_type == APPLY_PATCH)
        try:
            patch, warnings = decode_patch(request.body, patch_type, write.field_validation, definition)
        except (BadRequestError, RequestEntityTooLargeError):
            if patch_type != APPLY_PATCH:
                self._registry.get_raw(definition, info.namespace, info.name)  # looked for before the patch is read
            raise
        written = self._registry.patch(
            definition,
            info.namespace,
            info.name,
            patch,
            patch_type,
            write,
            force=force,
            subresource=info.subresource,
            user=user_info(user),
        )
        return self._written(definition, written, form, warnings)

    def _written(
        self,
        definition: ResourceDefinition,
        written: Written,
        form: Representation,
        warnings: list[str],
        *,
        status: int = 200,
    ) -> Response:
        headers = warning_headers((*warnings, *written.warnings))
        return self.present(definition, written.raw, form, status=201 if written.created else status, headers=headers)

    def _delete_body(self, request: Request) -> Json:
        if not request.body:
            return {}
        content_type = request.headers.get("content-type", "")
        body = decode_body(request.body, content_type, find_duplicates=False, kind="DeleteOptions").value
        if body is None:
            return {}
        if not isinstance(body, dict) or body.get("kind", "DeleteOptions") != "DeleteOptions":
            raise BadRequestError.of("the body of a delete request must be DeleteOptions")
        gotypes.decode(_DELETE_OPTIONS, body)
        return body

    def _delete(self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User) -> Response:
        if info.subresource:
            raise not_allowed()
        negotiate(request.headers.get("accept", ""))
        wanted = options.delete_options(request, self._delete_body(request))
        headers = _default_propagation(definition, wanted)
        written = self._registry.delete(definition, info.namespace, info.name, user=user_info(user), **wanted)
        if not written.deleted or definition.group_resource in _SHOWN_WHEN_DELETED:
            return Response(status=200, body=written.raw, headers=headers)
        mapping = definition.mapping
        details = {"name": info.name, "kind": mapping.plural, "uid": written.object["metadata"].get("uid", "")}
        if mapping.gvk.group:
            details["group"] = mapping.gvk.group
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Response.of_json(status)

    def _delete_collection(
        self, request: Request, info: RequestInfo, definition: ResourceDefinition, user: User
    ) -> Response:
        negotiate(request.headers.get("accept", ""), "list")
        wanted = options.delete_options(request, self._delete_body(request))
        del wanted["preconditions"]
        headers = _default_propagation(definition, wanted)
        selection = options.list_options(request.query, info.namespace)
        deleted = self._registry.delete_collection(definition, selection, user=user_info(user), **wanted)
        gvk = definition.mapping.gvk
        return Response.of_json(
            {
                "kind": f"{gvk.kind}List",
                "apiVersion": gvk.api_version,
                "metadata": {"resourceVersion": str(self._registry.store.revision)},
                "items": [msgspec.Raw(_without_head(definition, written.raw)) for written in deleted],
            },
            headers=headers,
        )


def patch_type_of(request: Request, definition: ResourceDefinition) -> PatchType:
    """Raises UnsupportedMediaTypeError, for strategic patches of custom resources too."""
    sent = request.headers.get("content-type", "")
    content_type = _PATCH_TYPES.get(sent) or _PATCH_TYPES.get(sent.partition(";")[0].strip())
    if content_type is not None and (content_type != STRATEGIC_MERGE_PATCH or definition.strategic):
        return content_type
    if definition.strategic:
        message = "415: Unsupported Media Type\n\nAvailable representations: "
        raise UnsupportedMediaTypeError({**make_status("UnsupportedMediaType", 415, message), "details": {}})
    raise UnsupportedMediaTypeError.of(
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(type_ for type_ in _PATCH_TYPES if type_ != STRATEGIC_MERGE_PATCH)
    )


def _head_of(definition: ResourceDefinition) -> bytes:
    """How a stored object of a built-in kind begins, up to its metadata: items of lists leave that out, being typed."""
    if not definition.strategic:
        return b"{"
    gvk = definition.mapping.gvk
    return msgspec.json.encode({"apiVersion": gvk.api_version, "kind": gvk.kind})[:-1] + b","


def _without_head(definition: ResourceDefinition, raw: bytes) -> bytes:
    start = _head_of(definition)
    return b"{" + raw[len(start) :] if raw.startswith(start) else raw


def _subresource_verbs(info: RequestInfo, definition: ResourceDefinition) -> tuple[str, ...]:
    """The verbs that a subresource has, as discovery shows them; of the resource itself, all."""
    if not info.subresource:
        return ALL_VERBS
    shown = resource_of(definition).subresources
    return next((sub.verbs for sub in shown if sub.name == info.subresource), ())


def _check_include(query: Mapping[str, str], form: Representation) -> None:
    """The includeObject parameter of Tables. Raises BadRequestError."""
    include = query.get("includeObject", "")
    if form.form == "Table" and include not in ("", "Metadata", "Object", "None"):
        raise BadRequestError.of(
            f'Unable to convert to Table as requested: includeObject: Invalid value: "{include}": '
            "must be 'Metadata', 'Object', 'None', or empty"
        )


def user_info(user: User) -> UserInfo:
    return UserInfo(user.name, user.groups, user.uid, user.extra)


def warning_headers(texts: Sequence[str]) -> Headers:
    """Each text once."""
    if not texts:
        return ()
    return tuple(("Warning", f"299 - {quoted(text)}") for text in dict.fromkeys(texts))


def quoted(text: str) -> str:
    """A header's quoted string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
    return f'"{escaped}"'


def error_response(error: ApiError) -> Response:
    """The Status of an error, with Retry-After where it asks for patience, and the warnings that came before it."""
    patience = (("Retry-After", str(error.retry_after)),) if error.retry_after else ()
    headers = (*patience, *warning_headers(error.warnings))
    return Response.of_json(error.status, status=error.code, content_type=JSON, headers=headers)
