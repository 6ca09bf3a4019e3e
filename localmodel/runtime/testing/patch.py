"""The patch types that turn an object and a patch into an object: JSON merge patch, JSON patch, strategic merge patch.

They do not change the object they are given, but may share parts with it. Server-side apply, which also needs to know
who owns what, is in `apply`.
"""

from __future__ import annotations

from typing import Any

from localmodel.runtime.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, PatchType
from localmodel.runtime.errors import InvalidError, UnsupportedMediaTypeError, make_status

from .answers import bad_request
from .definitions import Json, ResourceDefinition
from .strategic import strategic_merge_patch


def check_patch(definition: ResourceDefinition, patch: Any, patch_type: PatchType) -> None:
    """Raises UnsupportedMediaTypeError or BadRequestError for a patch that this resource cannot take at all."""
    served = [JSON_PATCH, MERGE_PATCH, *([STRATEGIC_MERGE_PATCH] if definition.strategic else []), APPLY_PATCH]
    if patch_type not in served:
        accepted = ", ".join(served)
        raise UnsupportedMediaTypeError.of(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    if patch_type != JSON_PATCH and not isinstance(patch, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal the patch into Go value of type map[string]any")


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
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    import jsonpatch
    import jsonpointer

    try:
        patch = jsonpatch.JsonPatch(operations)
    except (jsonpatch.InvalidJsonPatch, jsonpointer.JsonPointerException) as error:
        raise bad_request(f"error decoding patch: {error}") from error
    try:
        patched = patch.apply(target)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise _not_applicable(str(error)) from error
    if not isinstance(patched, dict):
        raise _not_applicable("the patch does not leave an object")
    return patched


def _not_applicable(why: str) -> InvalidError:
    """handlers/patch.go answers 422 with this generic message; the cause says what was wrong."""
    message = "the server rejected our request due to an error in our request"
    causes = [{"reason": "UnexpectedServerResponse", "message": why}]
    return InvalidError(make_status("Invalid", 422, message, {"causes": causes}))
