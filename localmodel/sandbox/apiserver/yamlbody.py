"""YAML bodies as the JSON values that kube-apiserver makes of them.

Scalars are read as by Go's yaml package: no dates and no base-60 numbers, a scalar with a tag of its own is a string.
Only the first document counts. Anchors are followed as long as they do not make a document out of proportion.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 900
"""Nodes within each other; what is made of a document is walked recursively."""

_NESTED_LIMIT = 5000
"""Brackets and markers within each other; see `_nesting`."""
_NESTS = re.compile(rb"[\[{\]}]|^[ \t]*(?:[-?:][ \t]+)+", re.MULTILINE)
_MERGE = "tag:yaml.org,2002:merge"
_BOMB_FROM = 100
_LOW, _HIGH = 400_000, 4_000_000
"""Decoded nodes up to which nearly all may come from aliases, and from which on only a tenth."""


class YamlError(ValueError):
    """The text is not YAML that has a JSON form; the message is that of the Go package as far as possible."""


@dataclass(slots=True)
class Document:
    """The first document, and a message for each key that stands twice in its map."""

    value: Any
    duplicates: list[str] = field(default_factory=list)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A loader of its own, so that its resolvers and constructors are not everybody's."""

    yaml_implicit_resolvers: dict[Any, Any] = {
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rpartition(":")[2] not in ("timestamp", "int", "float", "merge", "value")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_INT = re.compile(r"^[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


def _float(_: Any, node: yaml.ScalarNode) -> float:
    text = node.value.lower().replace("_", "")
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _binary(_: Any, node: yaml.ScalarNode) -> str:
    try:
        return base64.b64decode(node.value).decode("utf-8", "replace")
    except binascii.Error:
        raise YamlError("yaml: !!binary value contains invalid base64 data") from None


def _other(loader: Any, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return node.value
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node)


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("^<<$"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:binary", _binary)
for _tag in ("timestamp", "set", "omap", "pairs"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda loader, node: _other(loader, "", node))
_Loader.add_multi_constructor("!", _other)
_Loader.add_multi_constructor("tag:", _other)


def decode(body: bytes, *, find_duplicates: bool) -> Document:
    """Raises YamlError."""
    if _nesting(body) > _NESTED_LIMIT:
        raise YamlError("yaml: exceeded max depth")
    try:
        loader = _Loader(body)
        try:
            node = loader.get_node() if loader.check_node() else None
            if node is None:
                return Document(None)
            document = Document(None)
            _check(node, document.duplicates if find_duplicates else None)
            document.value = _json(loader.construct_document(node))
            return document
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line}: " if mark and mark.line else ""
        raise YamlError(f"yaml: {line}{error.problem or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlError(f"yaml: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise YamlError("yaml: exceeded max depth") from None
    except YamlError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # A scalar that its tag does not fit (`!!bool x`): the constructors raise whatever comes.
        raise YamlError(f"yaml: cannot decode a value: {error}") from None


def _nesting(body: bytes) -> int:
    """A bound for the depth that brackets and compact markers (`- - a`) reach; brackets in texts count, too.

    The C library's composer is recursive and overflows the stack at some ten thousand levels. Mere indentation needs
    too many bytes to get there.
    """
    brackets = deepest = markers = 0
    for match in _NESTS.finditer(body):
        token = match[0]
        if token in (b"[", b"{"):
            brackets += 1
            deepest = max(deepest, brackets)
        elif token in (b"]", b"}"):
            brackets = max(0, brackets - 1)
        else:
            markers = max(markers, len(token) // 2)
    return deepest + markers


def _check(root: yaml.Node, duplicates: list[str] | None) -> None:
    """Refuses what expands out of proportion, and notes keys that stand twice."""
    # Of a node that has been seen: how many nodes it stands for. An alias is the same node again.
    sizes: dict[int, int] = {}
    aliased = 0

    def size(node: yaml.Node, depth: int) -> int:
        nonlocal aliased
        if depth > MAX_DEPTH:
            raise YamlError("yaml: exceeded max depth")
        if id(node) in sizes:
            if sizes[id(node)] == 0:
                raise YamlError("yaml: anchor contains itself")
            aliased += sizes[id(node)]
            return sizes[id(node)]
        sizes[id(node)] = 0
        total = 1
        if isinstance(node, yaml.SequenceNode):
            total += sum(size(child, depth + 1) for child in node.value)
        elif isinstance(node, yaml.MappingNode):
            if duplicates is not None:
                duplicates.extend(_duplicates(node))
            total += sum(size(_named(key), depth + 1) + size(value, depth + 1) for key, value in node.value)
        sizes[id(node)] = total
        return total

    total = size(root, 0)
    aliased = max(aliased, total - len(sizes))
    if total > _BOMB_FROM and aliased / total > _allowed_ratio(total):
        raise YamlError("yaml: document contains excessive aliasing")


def _named(key: yaml.Node) -> yaml.Node:
    """The node of a key, made a string as it stands: else the keys 1 and true would be the same."""
    if not isinstance(key, yaml.ScalarNode):
        raise YamlError("yaml: invalid map key: a list or map")
    if key.tag.endswith(":bool"):
        key.value = "true" if key.value.lower() in ("yes", "true", "on", "y") else "false"
    if key.tag != _MERGE:
        key.tag = "tag:yaml.org,2002:str"
    return key


def _allowed_ratio(total: int) -> float:
    if total <= _LOW:
        return 0.99
    return 0.10 if total >= _HIGH else 0.99 - 0.89 * (total - _LOW) / (_HIGH - _LOW)


def _duplicates(node: yaml.MappingNode) -> list[str]:
    seen: set[str] = set()
    found = []
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            if key.value in seen:
                found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
            seen.add(key.value)
    return found


def _json(value: Any) -> Any:
    """A constructed value with what JSON has: no other keys than strings, no tuples, no infinity."""
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        shown = "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        raise YamlError(f"json: unsupported value: {shown}")
    return value
