"""Sets of fields in the form in which metadata.managedFields holds them (FieldsV1).

A set is a tree of plain dicts. The keys of a node are path elements: `f:NAME` a field, `k:{...}` the item of a map list
with these key values, `v:VALUE` an item of a set; `.` says that the node itself is in the set, and so does an empty
node. The root is no field: an empty root is the empty set. Sets are not changed in place, and share parts.

Source: sigs.k8s.io/structured-merge-diff/fieldpath (serialize.go, set.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from .answers import bad_request
from .definitions import Json
from .jsonvalues import is_same
from .schema import ListType, MergeSchema, Path

FieldSet = dict[str, Any]
_SELF = "."
_CONTAINERS = (dict, list)
_ESCAPED = frozenset('"\\')
"""What JSON does not write as it is, among printable characters."""


def fields_of(value: Any, schema: MergeSchema, path: Path = ()) -> FieldSet:
    """All fields of a value: its leaves (scalars, atomic or empty maps, atomic lists) and its list items.

    A set or map list without items is no field, and so is a map with nothing but such (typed/tofieldset.go).
    """
    return _fields_of(value, schema, path) or {}


def _fields_of(value: Any, schema: MergeSchema, path: Path) -> FieldSet | None:
    """The same; None for what is no field, in difference to a leaf."""
    if value and isinstance(value, dict) and not schema.is_atomic(path):
        fields = {
            f"f:{key}": _fields_of(item, schema, (*path, key)) if isinstance(item, _CONTAINERS) else {}
            for key, item in value.items()
        }
        return {key: inner for key, inner in fields.items() if inner is not None} or None
    if isinstance(value, list):
        items = items_by_key(value, schema.list_type(path), path)
        if items is not None:
            return {key: _item_fields(item, schema, path) for key, item in items.items()} or None
    return {}


def check_unique(value: Any, schema: MergeSchema, path: Path = ()) -> None:
    """Raises BadRequestError for a set or map list in which an item stands twice."""
    if isinstance(value, dict) and not schema.is_atomic(path):
        for key, item in value.items():
            check_unique(item, schema, (*path, key))
    elif isinstance(value, list):
        items = items_by_key(value, schema.list_type(path), path)
        if items is None:
            return
        if len(items) < len(value):
            seen = [next(iter(items_by_key([item], schema.list_type(path), path) or ())) for item in value]
            twice = next(element for element in seen if seen.count(element) > 1)
            raise bad_request(f".{'.'.join(path)}: duplicate entries for key {_element_text(twice)}")
        for item in items.values():
            if isinstance(item, dict):
                check_unique(item, schema, path)


def _item_fields(item: Any, schema: MergeSchema, path: Path) -> FieldSet:
    inner = fields_of(item, schema, path) if isinstance(item, dict) else {}
    return {_SELF: {}, **inner} if inner else {}


def is_field_set(value: Any) -> bool:
    """Whether a value that a client sent is a set in this form."""
    if not isinstance(value, dict):
        return False
    for element, inner in value.items():
        if not _is_element(element) or (inner != {} and not is_field_set(inner)):
            return False
    return True


@lru_cache(maxsize=16384)
def _is_element(element: str) -> bool:
    return element == _SELF or (element[:2] in ("f:", "v:", "i:") and len(element) > 2) or _is_key(element)


def _is_key(element: str) -> bool:
    if element[:2] != "k:":
        return False
    try:
        return isinstance(msgspec.json.decode(element[2:]), dict)
    except msgspec.DecodeError:
        return False


def items_by_key(items: list[Any], kind: ListType, path: Path) -> dict[str, Any] | None:
    """The items of a set or map list by their path element; None for an atomic list.

    Raises BadRequestError for an item without its key.
    """
    if kind.type == "atomic":
        return None
    if kind.type == "set":
        return {f"v:{_json(item)}": item for item in items}
    if len(kind.keys) == 1:
        return {_key_element(item, kind, path): item for item in items}
    return {f"k:{_json(_key_values(item, kind, path))}": item for item in items}


def _key_element(item: Any, kind: ListType, path: Path) -> str:
    """The path element of an item with one key, which mostly is a text."""
    value = item.get(kind.keys[0]) if isinstance(item, dict) else None
    if type(value) is str and value.isascii() and value.isprintable() and not _ESCAPED.intersection(value):
        return f'k:{{{_quoted(kind.keys[0])}:"{value}"}}'
    return f"k:{_json(_key_values(item, kind, path))}"


def _key_values(item: Any, kind: ListType, path: Path) -> Json:
    values: Json = {}
    for key in sorted(kind.keys):
        value = item.get(key, kind.defaults.get(key)) if isinstance(item, dict) else None
        if value is None:
            raise bad_request(
                f".{'.'.join(path)}: associative list with keys has an element that omits key field {_json(key)} "
                "(and doesn't have default value)"
            )
        values[key] = value
    return values


@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return _json(name)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def difference_of(old: Any, new: Any, schema: MergeSchema, path: Path = ()) -> tuple[FieldSet | None, FieldSet | None]:
    """(fields added or modified, fields removed) between two values, None where there are none.

    Only the parts that differ are looked into. A map or list that was not there is a field itself, beside what is in
    it; one that was there, if only empty or null, is not.
    """
    if is_same(old, new):
        return None, None
    if old and new and isinstance(old, dict) and isinstance(new, dict) and not schema.is_atomic(path):
        return _difference_of_maps(old, new, schema, path)
    before, after = _children(old, schema, path), _children(new, schema, path)
    if before is None and after is None:
        return {}, None
    if before is None and not _is_empty(old, new):
        return _whole(new, schema, path), None
    if after is None and not _is_empty(new, old):
        return {}, {element: node for element, node in _whole(old, schema, path).items() if element != _SELF}
    return _difference_of_children(before or {}, after or {}, schema, path)


def _difference_of_children(
    before: dict[str, Any], after: dict[str, Any], schema: MergeSchema, path: Path
) -> tuple[FieldSet | None, FieldSet | None]:
    changed: FieldSet = {}
    removed: FieldSet = {}
    for element, item in after.items():
        if element in before:
            inner = (*path, element[2:]) if element.startswith("f:") else path
            _note_difference(element, difference_of(before[element], item, schema, inner), changed, removed)
        else:
            changed[element] = _whole(item, schema, (*path, element[2:]) if element.startswith("f:") else path)
    for element, item in before.items():
        if element not in after:
            removed[element] = _whole(item, schema, (*path, element[2:]) if element.startswith("f:") else path)
    return changed or None, removed or None


def _difference_of_maps(
    old: Json, new: Json, schema: MergeSchema, path: Path
) -> tuple[FieldSet | None, FieldSet | None]:
    changed: FieldSet = {}
    removed: FieldSet = {}
    for key, item in new.items():
        if key not in old:
            changed[f"f:{key}"] = _whole(item, schema, (*path, key))
        elif not is_same(before := old[key], item):
            if isinstance(item, _CONTAINERS) or isinstance(before, _CONTAINERS):
                _note_difference(f"f:{key}", difference_of(before, item, schema, (*path, key)), changed, removed)
            else:
                changed[f"f:{key}"] = {}
    for key, item in old.items():
        if key not in new:
            removed[f"f:{key}"] = _whole(item, schema, (*path, key))
    return changed or None, removed or None


def _note_difference(
    element: str, difference: tuple[FieldSet | None, FieldSet | None], changed: FieldSet, removed: FieldSet
) -> None:
    modified, gone = difference
    if modified is not None:
        changed[element] = modified
    if gone is not None:
        removed[element] = gone


def _is_empty(value: Any, other: Any) -> bool:
    """Whether a value is nothing, or what the other one is without anything in it."""
    return value is None or (value in ({}, []) and type(value) is type(other))


def _whole(value: Any, schema: MergeSchema, path: Path) -> FieldSet:
    """A value with all that is in it, itself included."""
    if not value:
        return {}
    if isinstance(value, dict):
        return {} if schema.is_atomic(path) else _whole_map(value, schema, path)
    items = items_by_key(value, schema.list_type(path), path) if isinstance(value, list) else None
    if items is None:
        return {}
    return {_SELF: {}, **{element: _whole(item, schema, path) for element, item in items.items()}}


def _whole_map(value: Json, schema: MergeSchema, path: Path) -> FieldSet:
    for item in value.values():
        if item and isinstance(item, _CONTAINERS):
            break
    else:
        return _with_leaves(tuple(value))
    inside = {
        f"f:{key}": _whole(item, schema, (*path, key)) if item and isinstance(item, _CONTAINERS) else {}
        for key, item in value.items()
    }
    return {_SELF: {}, **inside}


@lru_cache(maxsize=4096)
def _with_leaves(names: tuple[str, ...]) -> FieldSet:
    """A map with nothing but leaves; the items of a list mostly are alike."""
    return {_SELF: {}, **{f"f:{name}": {} for name in names}}


def _children(value: Any, schema: MergeSchema, path: Path) -> dict[str, Any] | None:
    """The parts of a granular map or list by path element; None for a leaf, which an empty one is too."""
    if not value:
        return None
    if isinstance(value, dict):
        return None if schema.is_atomic(path) else {f"f:{key}": item for key, item in value.items()}
    if isinstance(value, list):
        return items_by_key(value, schema.list_type(path), path)
    return None


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """The fields in either set."""
    if not one or not other:
        return one or other
    return {**one, **{key: _unite(one[key], node) if key in one else node for key, node in other.items()}}


def _unite(one: FieldSet, other: FieldSet) -> FieldSet:
    merged = union(one, other)
    return {_SELF: {}, **merged} if merged and (_is_member(one) or _is_member(other)) else merged


def contains(one: FieldSet, other: FieldSet) -> bool:
    """Whether the first set has all fields of the second."""
    for key, node in other.items():
        mine = one.get(key)
        if mine is None:
            if key != _SELF:
                return False
        elif not node:
            if mine and _SELF not in mine:
                return False
        elif node != mine and ((_SELF in node and not _is_member(mine)) or not contains(mine, node)):
            return False
    return True


def subtract(one: FieldSet, other: FieldSet) -> FieldSet:
    """The fields of the first set that are not in the second."""
    common = [key for key in other if key in one and key != _SELF]
    if not common:
        return one
    left = dict(one)
    for key in common:
        node = _subtract(one[key], other[key])
        if node is None:
            del left[key]
        else:
            left[key] = node
    return left


def _subtract(one: FieldSet, other: FieldSet) -> FieldSet | None:
    left = subtract(one, other)
    if not _is_member(one):
        return left or None
    if not _is_member(other):
        return left if left.keys() != {_SELF} else {}
    return {key: node for key, node in left.items() if key != _SELF} or None


def intersect(one: FieldSet, other: FieldSet) -> FieldSet:
    """The fields in both sets."""
    common = {key: _intersect(node, other[key]) for key, node in one.items() if key in other and key != _SELF}
    return {key: node for key, node in common.items() if node is not None}


def _intersect(one: FieldSet, other: FieldSet) -> FieldSet | None:
    inner = intersect(one, other)
    if _is_member(one) and _is_member(other):
        return {_SELF: {}, **inner} if inner else {}
    return inner or None


def _is_member(node: FieldSet) -> bool:
    return not node or _SELF in node


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """The members as texts, `.spec.containers[name="main"].image`: sorted, those of a level before the deeper ones."""
    inner = sorted(
        ((_element_text(element), node) for element, node in fields.items() if element != _SELF),
        key=lambda item: item[0],
    )
    yield from (prefix + text for text, node in inner if _is_member(node))
    for text, node in inner:
        yield from paths(node, prefix + text)


def _element_text(element: str) -> str:
    kind, text = element[0], element[2:]
    if kind == "f":
        return f".{text}"
    if kind == "v":
        return f"[={text}]"
    values = msgspec.json.decode(text)
    return f"[{','.join(f'{key}={_json(value)}' for key, value in values.items())}]"
