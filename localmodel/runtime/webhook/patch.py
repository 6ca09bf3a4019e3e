"""JSON patches for admission responses: what a defaulter changed, carried over to the object as it was sent.

A typed object does not say everything that the JSON said: types that are only read drop fields which they do not
declare, and empty values are left out. So a patch is not the difference between the JSON that came and that of the
changed object, which would remove all that. `carry_changes` finds what was changed *between* the two states of the
typed object, and does it to the original.
"""

from __future__ import annotations

import copy
from typing import Any

from localmodel.runtime.mergepatch import equal_as_json

Json = dict[str, Any]
Operations = tuple[Json, ...]


def json_patch(original: Json, current: Json) -> Operations:
    """RFC 6902 operations that turn `original` into `current`; none if they are equal."""
    import jsonpatch

    return tuple(jsonpatch.make_patch(original, current).patch)


def apply_patch(original: Json, patch: Operations) -> Json:
    """A changed copy; raises `jsonpatch.JsonPatchException`."""
    import jsonpatch

    patched: Json = jsonpatch.apply_patch(original, list(patch))
    return patched


def carry_changes(original: Json, before: Json, after: Json) -> Json:
    """A copy of `original` with what changed from `before` to `after`.

    What `before` and `after` have alike, or both lack, stays as `original` has it. The items of a list are matched by
    their equality, then by their `name` or `key`; an item without a match is new.
    """
    result = copy.deepcopy(original)
    for key in before.keys() - after.keys():
        result.pop(key, None)
    for key, value in after.items():
        if key not in before:
            result[key] = value
        elif not equal_as_json(before[key], value):
            result[key] = _carry(result.get(key), before[key], value)
    return result


def _carry(original: Any, before: Any, after: Any) -> Any:
    if isinstance(original, dict) and isinstance(before, dict) and isinstance(after, dict):
        return carry_changes(original, before, after)
    if isinstance(original, list) and isinstance(before, list) and isinstance(after, list):
        return _carry_list(original, before, after)
    return after


def _carry_list(original: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
    if len(original) != len(before):
        return after
    left = list(zip(original, before, strict=True))
    result: list[Any] = [None] * len(after)
    unmatched = []
    for index, item in enumerate(after):
        match = next((pair for pair in left if equal_as_json(pair[1], item)), None)
        if match is None:
            unmatched.append(index)
        else:
            left.remove(match)
            result[index] = match[0]
    for index in unmatched:
        item = after[index]
        match = next((pair for pair in left if _identity(pair[1]) == _identity(item) is not None), None)
        if match is not None:
            left.remove(match)
            result[index] = _carry(match[0], match[1], item)
        elif len(before) == len(after) and _identity(item) is None:
            result[index] = _carry(original[index], before[index], item)
        else:
            result[index] = item
    return result


def _identity(item: Any) -> object:
    """What a list item goes by in Kubernetes, where it has such a field."""
    return (item.get("name") or item.get("key")) if isinstance(item, dict) else None
