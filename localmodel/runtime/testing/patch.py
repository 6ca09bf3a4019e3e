"""Patches that need nothing but the object and the patch: JSON merge patch and JSON patch.

The patched object is a private copy of the caller's; what it was made from stays as it was. Strategic merge patches are
in `strategic`, server-side apply in `apply`.
"""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer

from localmodel.runtime.errors import InvalidError, make_status

from .answers import bad_request
from .definitions import Json


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
