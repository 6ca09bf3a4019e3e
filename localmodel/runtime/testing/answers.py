"""The refusals of an API server, in its words: errors with the message, reason and details that clients look for.

Texts follow k8s.io/apimachinery/pkg/api/errors and k8s.io/apiserver/pkg/storage/errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from localmodel.runtime.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    ExpiredError,
    InternalError,
    InvalidError,
    NotFoundError,
    ServerTimeoutError,
    make_status,
)

from .definitions import Causes, Json, ResourceDefinition

OBJECT_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def nameless(name: str) -> BadRequestError:
    """An object without a name, where the URL has one."""
    return bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")


def details(definition: ResourceDefinition, name: str) -> Json:
    """Status details that name one object: the plural stands in `kind`, as API servers have it."""
    found: Json = {"name": name, "kind": definition.mapping.plural}
    if definition.mapping.gvk.group:
        found["group"] = definition.mapping.gvk.group
    return found


def not_found(definition: ResourceDefinition, name: str) -> NotFoundError:
    message = f'{definition.group_resource} "{name}" not found'
    return NotFoundError(make_status("NotFound", 404, message, details(definition, name)))


def already_exists(
    definition: ResourceDefinition, name: str, *, generated: bool = False, terminating: bool = False
) -> AlreadyExistsError:
    message = f'{definition.group_resource} "{name}" already exists'
    if generated:
        message += ", the server was not able to generate a unique name for the object"
    if terminating:
        message = f"object is being deleted: {message}"
    return AlreadyExistsError(make_status("AlreadyExists", 409, message, details(definition, name)))


def conflict(definition: ResourceDefinition, name: str, why: str = OBJECT_MODIFIED) -> ConflictError:
    message = f'Operation cannot be fulfilled on {definition.group_resource} "{name}": {why}'
    return ConflictError(make_status("Conflict", 409, message, details(definition, name)))


def uid_conflict(definition: ResourceDefinition, namespace: str, name: str, wanted: str, stored: str) -> ConflictError:
    """An update of an object that is not the one it was meant for."""
    group = definition.mapping.gvk.group if not definition.strategic else ""
    key = "/".join(part for part in ("/registry", group, definition.mapping.plural, namespace, name) if part)
    why = (
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition "
        f"failed: UID in precondition: {wanted}, UID in object meta: {stored}"
    )
    return conflict(definition, name, why)


def unfit_patch(definition: ResourceDefinition, patched: Json, why: str) -> InvalidError:
    """422 for a patch whose result is no object of the kind; that of a custom resource has its keys in order."""
    text = msgspec.json.encode(patched, order=None if definition.strategic else "sorted").decode()
    shown = msgspec.json.encode(text).decode()
    found = cause("FieldValueInvalid", "patch", f"Invalid value: {shown}: {why}")
    message = f' "" is invalid: patch: {found["message"]}'
    return InvalidError(make_status("Invalid", 422, message, {"causes": [found]}))


def wrong_kind(definition: ResourceDefinition, name: str, kind: Any) -> InvalidError:
    """What a custom resource's validation says of another kind: that this other object is invalid."""
    gvk = definition.mapping.gvk
    return invalid_kind(str(kind), gvk.group, name, [bad_value("kind", kind, f"must be {gvk.kind}")])


def precondition_failed(definition: ResourceDefinition, name: str, why: str) -> ConflictError:
    """A conflict of a deletion, which names the kind instead of the resource."""
    gvk = definition.mapping.gvk
    kind = f"{gvk.kind}.{gvk.group}" if gvk.group else gvk.kind
    found = {**details(definition, name), "kind": gvk.kind}
    message = f'Operation cannot be fulfilled on {kind} "{name}": {why}'
    return ConflictError(make_status("Conflict", 409, message, found))


def cause(reason: str, field: str, message: str) -> dict[str, str]:
    return {"reason": reason, "message": message, "field": field}


def bad_value(field: str, value: object, why: str) -> dict[str, str]:
    """The cause of a field whose value is wrong; strings are shown in quotes."""
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return cause("FieldValueInvalid", field, f"Invalid value: {shown}: {why}")


def required(field: str, why: str = "") -> dict[str, str]:
    return cause("FieldValueRequired", field, f"Required value: {why}" if why else "Required value")


def forbidden_value(field: str, why: str) -> dict[str, str]:
    return cause("FieldValueForbidden", field, f"Forbidden: {why}")


def invalid(definition: ResourceDefinition, name: str, causes: Causes) -> InvalidError:
    """422 with all causes, each also in the message."""
    gvk = definition.mapping.gvk
    return invalid_kind(gvk.kind, gvk.group, name, causes)


def invalid_kind(kind: str, group: str, name: str, causes: Causes) -> InvalidError:
    # A fault that is found twice has two causes, and stands in the message once.
    texts = list(dict.fromkeys(f"{c['field']}: {c['message']}" if c.get("field") else c["message"] for c in causes))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f'{kind}.{group} "{name}" is invalid: {text}' if group else f'{kind} "{name}" is invalid: {text}'
    found: Json = {"kind": kind, "causes": causes}
    if name:
        found["name"] = name
    if group:
        found["group"] = group
    return InvalidError(make_status("Invalid", 422, message, found))


def unconditional(definition: ResourceDefinition, name: str) -> InvalidError:
    """An update that names no version, of a resource whose updates must."""
    why = "Invalid value: 0x0: must be specified for an update"
    mapping = definition.mapping
    causes = [cause("FieldValueInvalid", "metadata.resourceVersion", why)]
    return invalid_kind(mapping.plural, mapping.gvk.group, name, causes)


def invalid_options(kind: str, causes: Causes) -> InvalidError:
    """422 for the query of a request (ListOptions, PatchOptions)."""
    return invalid_kind(kind, "meta.k8s.io", "", causes)


def bad_request(message: str) -> BadRequestError:
    return BadRequestError(make_status("BadRequest", 400, message))


def untyped_patch(definition: ResourceDefinition, patch: Json, faults: Sequence[str]) -> InternalError:
    """An applied configuration that cannot be owned. Like kube-apiserver, 500 without a reason: it is taken for a
    failure of the server's, not of the client's."""
    gvk, metadata = definition.mapping.gvk, patch.get("metadata") or {}
    listed = faults[0] if len(faults) == 1 else "".join(["errors:", *(f"\n  {fault}" for fault in faults)])
    where = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {gvk.group}/{gvk.version}, Kind={gvk.kind}"
    status = make_status("", 500, f"failed to create typed patch object ({where}): {listed}")
    del status["reason"]
    return InternalError(status)


def too_large_resource_version(wanted: int, current: int) -> ServerTimeoutError:
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return ServerTimeoutError(make_status("Timeout", 504, message, {"causes": causes, "retryAfterSeconds": 1}))


def expired(message: str, *, continue_: str = "") -> ExpiredError:
    """410; with a token to go on with an inconsistent list, if there is one."""
    status = make_status("Expired", 410, message)
    if continue_:
        status["metadata"] = {"continue": continue_}
    return ExpiredError(status)
