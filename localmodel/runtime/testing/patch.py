"""The patch types that turn an object and a patch into an object: JSON merge patch, JSON patch, strategic merge patch.

They do not change the object they are given, but may share parts with it. Server-side apply, which also needs to know
who owns what, is in `apply`.
"""

from __future__ import annotations

import copy
from typing import Any

from localmodel.runtime.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, PatchType
from localmodel.runtime.errors import (
    BadRequestError,
    InvalidError,
    RequestEntityTooLargeError,
    UnsupportedMediaTypeError,
    make_status,
)

from .answers import bad_request, untyped_patch
from .definitions import Json, ResourceDefinition
from .jsonpatch import JsonPatchError, apply_operations
from .metadatatypes import go_name
from .strategic import strategic_merge_patch

_PATCH_TYPES: tuple[PatchType, ...] = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)
MAX_OPERATIONS = 10_000
"""Of one JSON patch."""


def check_patch(definition: ResourceDefinition, patch: Any, patch_type: PatchType) -> None:
    """Raises UnsupportedMediaTypeError or BadRequestError for a patch that this resource cannot take at all."""
    if patch_type not in _PATCH_TYPES or (patch_type == STRATEGIC_MERGE_PATCH and not definition.strategic):
        accepted = ", ".join(type_ for type_ in _PATCH_TYPES if type_ != STRATEGIC_MERGE_PATCH or definition.strategic)
        raise UnsupportedMediaTypeError.of(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    if patch_type == JSON_PATCH:
        check_operations(patch)
    elif not isinstance(patch, dict):
        raise no_map(patch)


def check_operations(value: Any) -> list[Json]:
    """The operations of a JSON patch. Raises BadRequestError, RequestEntityTooLargeError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {go_name(value)} into Go value of type "
            "[]handlers.jsonPatchOp"
        )
    if len(value) > MAX_OPERATIONS:
        raise RequestEntityTooLargeError.of(
            f"Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, "
            f"got {len(value)}"
        )
    for operation in value:
        if not isinstance(operation, dict | None):
            raise bad_request(
                f"error decoding patch: json: cannot unmarshal {go_name(operation)} into Go value of type "
                "handlers.jsonPatchOp"
            )
        for field in ("op", "path", "from"):
            found = (operation or {}).get(field)
            if not isinstance(found, str | None):
                raise bad_request(
                    f"error decoding patch: json: cannot unmarshal {go_name(found)} into Go struct field "
                    f"jsonPatchOp.{field} of type string"
                )
    return [operation or {} for operation in value]


def no_map(value: Any) -> BadRequestError:
    """The refusal of a merge patch that is no object."""
    return bad_request(
        f"error decoding patch: json: cannot unmarshal {go_name(value)} into Go value of type map[string]interface {{}}"
    )


def check_declared(definition: ResourceDefinition, patch: Json) -> None:
    """An apply has no field that the schema lacks: it could not be owned. Raises BadRequestError."""
    if definition.prune is None:
        return
    unknown = definition.prune(copy.deepcopy(patch))
    if unknown:
        raise untyped_patch(definition, patch, [f".{path}: field not declared in schema" for path in unknown])


def patched(definition: ResourceDefinition, obj: Json, patch: Any, patch_type: PatchType) -> Json:
    """The object with the patch applied. Raises BadRequestError, InvalidError."""
    if patch_type == JSON_PATCH:
        return json_patch(obj, patch)
    if patch_type == STRATEGIC_MERGE_PATCH:
        return strategic_merge_patch(obj, patch, definition.schema)
    merged: Json = merge_patch(obj, patch)
    return merged


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces. Shares unchanged parts with its arguments."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge_patch(merged.get(key), value)
        else:
            merged[key] = value
    return merged


def json_patch(target: Json, operations: Any) -> Json:
    """RFC 6902. Raises BadRequestError for a malformed patch, InvalidError for one that does not fit the object."""
    try:
        patched = apply_operations(target, check_operations(operations))
    except JsonPatchError as error:
        raise _not_applicable() from error
    if not isinstance(patched, dict):
        raise _not_applicable()
    return patched


def _not_applicable() -> InvalidError:
    """handlers/patch.go answers 422 with this generic message, and does not say what was wrong."""
    message = "the server rejected our request due to an error in our request"
    return InvalidError({**make_status("Invalid", 422, message), "details": {}})
