"""Quantities as kube-apiserver keeps them: the canonical text of a number with a suffix.

Whatever a client writes (1000m, 0.5Gi, 1e3, a bare number), a stored quantity is the one text that resource.Quantity
gives for it: no fraction, the largest suffix that allows that, in the family of suffixes that the client chose.
https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity
"""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal
from functools import lru_cache

SYNTAX = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
FAULT = f"quantities must match the regular expression '{SYNTAX}'"

_FORM = re.compile(r"^([+-]?)(\d+\.?\d*|\.\d+)(.*)$", re.ASCII)
_EXPONENT = re.compile(r"^[eE]([+-]?\d+)$", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIXES = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_NANO = Decimal("1e-9")
_LARGEST = Decimal(2**63 - 1)


class QuantityError(ValueError):
    """Not a quantity; the message is kube-apiserver's."""


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """The canonical text; raises QuantityError."""
    match = _FORM.match(text)
    if match is None:
        raise QuantityError(FAULT)
    sign, digits, suffix = match.groups()
    number = Decimal(sign + digits)
    if suffix in _BINARY[1:]:
        return _binary(number * 1024 ** _BINARY.index(suffix))
    if suffix in _DECIMAL:
        return _decimal(number.scaleb(_DECIMAL[suffix]), exponents=False)
    if exponent := _EXPONENT.match(suffix):
        return _decimal(number.scaleb(int(exponent[1])), exponents=True)
    raise QuantityError("unable to parse quantity's suffix" if re.match(SYNTAX, text) else FAULT)


def _bounded(number: Decimal) -> Decimal:
    """Rounded up to a billionth, and no larger than an int64 can say."""
    rounded = number.quantize(_NANO, ROUND_UP) if number != number.to_integral_value() else number
    return max(-_LARGEST, min(_LARGEST, rounded))


def _binary(number: Decimal) -> str:
    number = _bounded(number)
    if -1024 < number < 1024 or number != number.to_integral_value():
        return _decimal(number, exponents=False)
    whole, power = int(number), 0
    while whole % 1024 == 0 and power < len(_BINARY) - 1:
        whole, power = whole // 1024, power + 1
    return f"{whole}{_BINARY[power]}"


def _decimal(number: Decimal, *, exponents: bool) -> str:
    number = _bounded(number)
    if number == 0:
        return "0"
    exponent = 18
    while exponent > -9 and (scaled := number.scaleb(-exponent)) != scaled.to_integral_value():
        exponent -= 3
    whole = int(number.scaleb(-exponent))
    if exponents:
        return f"{whole}e{exponent}" if exponent else str(whole)
    return f"{whole}{_SUFFIXES[exponent]}"
