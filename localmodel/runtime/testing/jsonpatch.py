"""JSON patch (RFC 6902) as kube-apiserver applies it, with what its library does beside the letter of the RFC.

An operation without a value has the value null. Negative indices count from the end. `replace` of a member that is not
there adds it, and `test` takes a missing member for null. Source: github.com/evanphx/json-patch, version 4.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from .jsonvalues import is_same

Json = dict[str, Any]

_INDEX = re.compile(r"[-+]?[0-9]{1,9}")


class JsonPatchError(ValueError):
    """An operation that does not apply; the message says which and why."""


def apply_operations(target: Json, operations: list[Any]) -> Any:
    """The patched document; `target` is left as it is. Raises JsonPatchError."""
    document = copy.deepcopy(target)
    for operation in operations:
        _apply(document, operation if isinstance(operation, dict) else {})
    return document


def _apply(document: Json, operation: Json) -> None:
    kind, path, value = operation.get("op"), operation.get("path"), copy.deepcopy(operation.get("value"))
    if not isinstance(path, str):
        raise JsonPatchError(f"{kind} operation: missing path")
    match kind:
        case "add":
            _add(*_parent(document, path), value)
        case "remove":
            _remove(*_parent(document, path))
        case "replace":
            container, key = _parent(document, path)
            _get(container, key)
            if isinstance(container, dict):
                container[key] = value
            else:
                container[_index(key, len(container))] = value
        case "test":
            if not is_same(_get(*_parent(document, path)), value):
                raise JsonPatchError(f"testing value {path} failed")
        case "move" | "copy":
            source = _parent(document, str(operation.get("from") or ""))
            moved = _get(*source)
            if kind == "move":
                _remove(*source)
            _add(*_parent(document, path), copy.deepcopy(moved))
        case _:
            raise JsonPatchError(f"unexpected kind: {kind}")


def _parent(document: Json, path: str) -> tuple[Any, str]:
    """The container that a path leads to, and the key in it. What stands before the first slash does not count."""
    _, *keys = path.split("/")
    if not keys:
        raise JsonPatchError(f"doc is missing path: {path}")
    container: Any = document
    for key in keys[:-1]:
        container = _get(container, _decoded(key))
        if not isinstance(container, dict | list):
            raise JsonPatchError(f"doc is missing path: {path}")
    return container, _decoded(keys[-1])


def _decoded(key: str) -> str:
    return key.replace("~1", "/").replace("~0", "~")


def _get(container: Any, key: str) -> Any:
    return container.get(key) if isinstance(container, dict) else container[_index(key, len(container))]


def _add(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    else:
        container.insert(_index(key, len(container) + 1), value)


def _remove(container: Any, key: str) -> None:
    if isinstance(container, list):
        del container[_index(key, len(container))]
    elif key in container:
        del container[key]
    else:
        raise JsonPatchError(f"unable to remove nonexistent key: {key}")


def _index(key: str, size: int) -> int:
    if not _INDEX.fullmatch(key) or not -size <= int(key) < size:
        raise JsonPatchError(f"invalid index: {key}")
    return int(key) % size
