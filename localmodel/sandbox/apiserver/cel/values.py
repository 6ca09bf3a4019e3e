"""Values of CEL expressions while they are evaluated, and what every operator needs of them: kinds, equality, order.

CEL's bool, int, double, string, bytes, null, list, map, timestamp and duration are Python's own; `UInt`, `CelType`,
`Optional` and the opaque values of the Kubernetes library (`Opaque`) are classes here. Messages are cel-go's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


class EvaluationError(Exception):
    """An expression has no value: the message is cel-go's."""


class NoSuchOverloadError(EvaluationError):
    """An operator or function was given values of types that it is not made for."""

    def __init__(self) -> None:
        super().__init__("no such overload")


class UInt(int):
    """An unsigned integer, which differs from an int in type only."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class CelType:
    """A type as a value: what `type(x)` gives."""

    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    """optional.of(value), or optional.none()."""

    value: Any = None
    present: bool = False

    @staticmethod
    def of(value: Any) -> Optional:
        return Optional(value, True)


class Opaque:
    """A value of a type that only functions can look into. Subclasses are compared with ==."""

    type_name: ClassVar[str]


_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null_type",
    list: "list",
    dict: "map",
    datetime: "google.protobuf.Timestamp",
    timedelta: "google.protobuf.Duration",
    CelType: "type",
    Optional: "optional_type",
}


def kind_of(value: Any) -> str:
    """The name of a value's type, without type parameters."""
    name = _NAMES.get(type(value))
    if name is None:
        return str(value.type_name)
    return name


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left: Any, right: Any) -> bool:
    """Values of different types differ; numbers are compared as numbers."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(item, right[key]) for key, item in left.items())
    if isinstance(left, Optional):
        return left.present == right.present and equal(left.value, right.value)
    return bool(left == right)


def compare(left: Any, right: Any) -> int | None:
    """-1, 0 or 1; None where one of two numbers is no number. Raises NoSuchOverloadError."""
    if is_number(left) and is_number(right):
        if math.isnan(left) or math.isnan(right):
            return None
    elif type(left) is not type(right) or not isinstance(left, bool | str | bytes | datetime | timedelta):
        raise NoSuchOverloadError
    return int(left > right) - int(left < right)


def checked_int(value: int) -> int:
    """Raises EvaluationError if the value is no 64-bit integer."""
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("integer overflow")
    return value


def checked_uint(value: int) -> UInt:
    if not 0 <= value <= UINT_MAX:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)
