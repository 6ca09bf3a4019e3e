"""A merge patch from an object as it was read and as it shall be (client.MergeFrom).

Such a patch names only what the reconciler changed, so that it neither conflicts with nor undoes what others write
meanwhile. Lists are replaced whole: where another may add to the same list, take the optimistic lock, which has the
server refuse a patch of anything but the version read. Format: RFC 7386.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .objects import Object


def merge_from(before: Object, after: Object, *, optimistic_lock: bool = False) -> dict[str, Any]:
    """The merge patch that makes `before` into `after`; empty if they are alike.

    With `optimistic_lock` it also names the resource version of `before`: ConflictError if the object has changed
    (client.MergeFromWithOptimisticLock). Raises ValueError if `before` has none.

    >>> before = client.get(Deployment, "web", namespace="shop")
    >>> after = before.deepcopy()
    >>> after.spec.replicas = 3
    >>> client.patch(after, merge_from(before, after))
    """
    patch = merge_patch_between(before.to_dict(), after.to_dict())
    if optimistic_lock:
        version = before.metadata.resource_version
        if not version:
            raise ValueError(f"{before} has no resource version: only an object read from the API server can be locked")
        patch.setdefault("metadata", {})["resourceVersion"] = version
    return patch


def merge_patch_between(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The same of plain JSON types. Shares parts with `after`."""
    patch: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        known = before.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            if inner := merge_patch_between(known, value):
                patch[key] = inner
        elif key not in before or not equal_as_json(known, value):
            patch[key] = value
    return patch


def equal_as_json(one: Any, other: Any) -> bool:
    """Python holds 1, 1.0 and True for equal."""
    return one == other and _encode(one) == _encode(other)


_encode = msgspec.json.Encoder(order="deterministic").encode
