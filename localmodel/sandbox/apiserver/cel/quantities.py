"""Resource quantities in expressions: quantity('1.5Gi'), isQuantity, comparison and arithmetic."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from .functions import Function, function, member
from .values import INT_MAX, INT_MIN, EvaluationError, Opaque

_FORMAT_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


_SUFFIXES = {
    **{name: Decimal(1024) ** power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
    **{
        name: Decimal(1000) ** power for power, name in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
}
_SYNTAX = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d+))?$")


@dataclass(frozen=True, slots=True)
class Quantity(Opaque):
    """Equal to every quantity of the same value: 1Gi and 1024Mi."""

    type_name: ClassVar[str] = "kubernetes.Quantity"
    value: Decimal
    fits_int: bool = field(default=True, compare=False)
    """False for a fraction with a binary suffix: Kubernetes keeps it as a decimal, whatever it comes to."""


def _parse(text: str) -> Quantity:
    match = _SYNTAX.match(text)
    if match is None:
        raise EvaluationError(_FORMAT_ERROR)
    number, suffix, exponent = match.groups()
    scale = Decimal(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""]
    return Quantity(Decimal(number) * scale, "." not in number or not (suffix or "").endswith("i"))


def _is_quantity(text: str) -> bool:
    try:
        _parse(text)
    except EvaluationError:
        return False
    return True


def _is_integer(quantity: Quantity) -> bool:
    value = quantity.value
    return quantity.fits_int and value == value.to_integral_value() and INT_MIN <= value <= INT_MAX


def _as_integer(quantity: Quantity) -> int:
    if not _is_integer(quantity):
        raise EvaluationError("cannot convert value to integer")
    return int(quantity.value)


def _compare(left: Quantity, right: Quantity) -> int:
    return (left.value > right.value) - (left.value < right.value)


def _sign(quantity: Quantity) -> int:
    return (quantity.value > 0) - (quantity.value < 0)


def _plus(left: Quantity, right: Any) -> Quantity:
    other = right if isinstance(right, Quantity) else Quantity(Decimal(right))
    return Quantity(left.value + other.value, left.fits_int and other.fits_int)


def _minus(left: Quantity, right: Any) -> Quantity:
    other = right if isinstance(right, Quantity) else Quantity(Decimal(right))
    return Quantity(left.value - other.value, left.fits_int and other.fits_int)


_QUANTITY = Quantity.type_name

QUANTITIES: tuple[Function, ...] = (
    function("quantity", ["string"], _QUANTITY, _parse),
    function("isQuantity", ["string"], "bool", _is_quantity),
    member(_QUANTITY, "isInteger", [], "bool", _is_integer),
    member(_QUANTITY, "asInteger", [], "int", _as_integer),
    member(_QUANTITY, "asApproximateFloat", [], "double", lambda quantity: float(quantity.value)),
    function("sign", [_QUANTITY], "int", _sign),
    member(_QUANTITY, "add", [_QUANTITY], _QUANTITY, _plus),
    member(_QUANTITY, "add", ["int"], _QUANTITY, _plus),
    member(_QUANTITY, "sub", [_QUANTITY], _QUANTITY, _minus),
    member(_QUANTITY, "sub", ["int"], _QUANTITY, _minus),
    member(_QUANTITY, "isLessThan", [_QUANTITY], "bool", lambda left, right: _compare(left, right) < 0),
    member(_QUANTITY, "isGreaterThan", [_QUANTITY], "bool", lambda left, right: _compare(left, right) > 0),
    member(_QUANTITY, "compareTo", [_QUANTITY], "int", _compare),
)
