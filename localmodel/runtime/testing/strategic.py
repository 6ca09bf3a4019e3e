"""Strategic merge patch: a merge patch that merges lists by key, for built-in kinds.

Directives: `$patch` (replace, delete, merge), `$retainKeys`, `$setElementOrder/LIST`, `$deleteFromPrimitiveList/LIST`.
Source: k8s.io/apimachinery/pkg/util/strategicpatch and
https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from typing import Any

from .answers import bad_request
from .definitions import Json
from .schema import MergeSchema, Path

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def strategic_merge_patch(target: Json, patch: Json, schema: MergeSchema) -> Json:
    """The patched object; shares unchanged parts with `target`. BadRequestError for directives that make no sense."""
    return _merge_map(target, patch, schema, ())


def _merge_map(target: Json, patch: Json, schema: MergeSchema, path: Path) -> Json:
    directive = patch.get("$patch", "merge")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive != "merge":
        raise bad_request(f"unknown patch directive {directive!r} at {_shown(path)}")
    retained = _list_of("$retainKeys", patch["$retainKeys"], path) if "$retainKeys" in patch else None
    merged = {key: value for key, value in target.items() if retained is None or key in retained}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(merged.get(key), value, schema, (*path, key))
    _apply_list_directives(merged, patch, schema, path)
    return merged


def _merge_value(current: Any, value: Any, schema: MergeSchema, path: Path) -> Any:
    if isinstance(value, dict):
        return _merge_map(current if isinstance(current, dict) else {}, value, schema, path)
    if isinstance(value, list):
        return _merge_list(current if isinstance(current, list) else [], value, schema, path)
    return value


def _merge_list(current: list[Any], patch: list[Any], schema: MergeSchema, path: Path) -> list[Any]:
    kind = schema.patch_type(path)
    if kind.type == "set":
        return [*current, *(item for item in patch if item not in current)]
    if kind.type == "atomic":
        return patch
    others = [item for item in patch if not (isinstance(item, dict) and item.get("$patch") == "replace")]
    if len(others) < len(patch):
        return others
    return _merge_items(current, patch, kind.keys[0], schema, path)


def _merge_items(current: list[Any], patch: list[Any], key: str, schema: MergeSchema, path: Path) -> list[Any]:
    merged = {_identity(item, key, path): item for item in current}
    for item in patch:
        identity = _identity(item, key, path)
        if item.get("$patch") == "delete":
            merged.pop(identity, None)
        else:
            merged[identity] = _merge_map(merged.get(identity, {}), item, schema, path)
    return list(merged.values())


def _identity(item: Any, key: str, path: Path) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise bad_request(f"map: {item!r} does not contain declared merge key: {key} (at {_shown(path)})")
    return _scalar(item[key], f"merge key {key}", path)


def _scalar(value: Any, what: str, path: Path) -> Any:
    if isinstance(value, dict | list):
        raise bad_request(f"{what} at {_shown(path)} must be a scalar, not {value!r}")
    return value


def _list_of(directive: str, value: Any, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"{directive} at {_shown(path)} must be a list, not {value!r}")
    return value


def _shown(path: Path) -> str:
    return ".".join(path) or "the root"


def _apply_list_directives(merged: Json, patch: Json, schema: MergeSchema, path: Path) -> None:
    for name, value in _directives(_DELETE, patch, path):
        if isinstance(merged.get(name), list):
            merged[name] = [item for item in merged[name] if item not in value]
    for name, value in _directives(_ORDER, patch, path):
        if isinstance(merged.get(name), list):
            keys = schema.patch_type((*path, name)).keys
            merged[name] = _ordered(merged[name], value, keys[0] if keys else "", (*path, name))


def _directives(prefix: str, patch: Json, path: Path) -> list[tuple[str, list[Any]]]:
    """The lists that the directives of one sort are about, with what they say."""
    return [
        (name.removeprefix(prefix), _list_of(name, value, path))
        for name, value in patch.items()
        if name.startswith(prefix)
    ]


def _ordered(items: list[Any], order: list[Any], key: str, path: Path) -> list[Any]:
    """The items in the wanted order; an item that is not named stays in front of the named one it preceded."""

    def identity(item: Any) -> Any:
        return _scalar(item.get(key) if key and isinstance(item, dict) else item, "an item of an ordered list", path)

    rank = {identity(item): position for position, item in enumerate(order)}
    named = sorted((item for item in items if identity(item) in rank), key=lambda item: rank[identity(item)])
    result: list[Any] = []
    waiting: list[Any] = []
    before: dict[Any, list[Any]] = {}
    for item in items:
        if identity(item) in rank:
            before[identity(item)] = waiting
            waiting = []
        else:
            waiting.append(item)
    for item in named:
        result += [*before[identity(item)], item]
    return result + waiting
