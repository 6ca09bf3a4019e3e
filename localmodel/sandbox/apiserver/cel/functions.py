"""`Function`: one overload of a function of the Kubernetes library, declared and implemented in one row.

The declaration goes to the compiler, which checks calls against it; at run time the overload is chosen again by the
values' own types, because an expression may know no more of its operands than `dyn`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .values import kind_of

_TYPE = re.compile(r"^([^<>]+)(?:<(.*)>)?$")
_KINDS = {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}


@dataclass(frozen=True)
class Function:
    """Types are written `string`, `list<~A>`, `map<string,dyn>`, `kubernetes.Quantity`; `~A` any one type."""

    name: str
    target: str
    """The type of the receiver; empty for a function that has none."""
    params: tuple[str, ...]
    result: str
    call: Callable[..., Any]

    @cached_property
    def overload(self) -> str:
        """The id under which a checked expression refers to this overload."""
        return f"kubernetes:{self.target}.{self.name}({','.join(self.params)})"

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """What the values must be, the receiver first; "dyn" for anything."""
        types = (self.target, *self.params) if self.target else self.params
        return tuple(_kind(type_) for type_ in types)

    def takes(self, values: Sequence[Any]) -> bool:
        return len(values) == len(self.kinds) and all(
            kind in ("dyn", kind_of(value)) for kind, value in zip(self.kinds, values, strict=True)
        )

    def declaration(self) -> dict[str, Any]:
        """An overload in the compiler's configuration."""
        target = {"target": type_spec(self.target)} if self.target else {}
        args = [type_spec(param) for param in self.params]
        return {"id": self.overload, **target, "args": args, "return": type_spec(self.result)}


def member(target: str, name: str, params: Sequence[str], result: str, call: Callable[..., Any]) -> Function:
    """`target.name(params)`."""
    return Function(name, target, tuple(params), result, call)


def function(name: str, params: Sequence[str], result: str, call: Callable[..., Any]) -> Function:
    """`name(params)`; the name may have a namespace (sets.contains)."""
    return Function(name, "", tuple(params), result, call)


def _kind(type_: str) -> str:
    name = type_.partition("<")[0]
    return "dyn" if name.startswith("~") else _KINDS.get(name, name)


def type_spec(type_: str) -> dict[str, Any]:
    """A type in the compiler's configuration."""
    match = _TYPE.match(type_)
    if match is None:
        raise ValueError(f"{type_!r} is no type")
    name, params = match.groups()
    if name.startswith("~"):
        return {"type_name": name[1:], "is_type_param": True}
    spec: dict[str, Any] = {"type_name": _KINDS.get(name, name)}
    if params:
        spec["params"] = [type_spec(param) for param in _split(params)]
    return spec


def _split(params: str) -> Iterator[str]:
    depth, start = 0, 0
    for index, character in enumerate(params):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "," and depth == 0:
            yield params[start:index].strip()
            start = index + 1
    yield params[start:].strip()
