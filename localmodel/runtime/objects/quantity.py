"""Quantities of Kubernetes, as 500Mi or 1.7T."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_QUANTITY = re.compile(r"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(m|[kMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?$")
_MOST_DIGITS = 100
"""Anybody can write a modelSize; arithmetic with a million digits takes minutes."""
_SUFFIXES = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18} | {
    f"{letter}i": 2 ** (10 * (index + 1)) for index, letter in enumerate("KMGTPE")
}


def parse_quantity(text: str | int) -> int:
    """The whole number of units (bytes) that a quantity stands for, rounded up; raises ValueError."""
    return int(quantity_value(text).to_integral_value(ROUND_CEILING))


def quantity_value(text: str | int) -> Decimal:
    """What a quantity stands for, exactly: "500m" is half a unit. Raises ValueError.

    Grammar: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    match = _QUANTITY.match(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a quantity: write a number with an optional suffix, as 500Mi or 1.7T")

    number, suffix = match[1], match[2] or ""
    exponent = suffix[1:].lstrip("+-0") if suffix[1:2].isdigit() or suffix[1:2] in ("+", "-") else ""
    if len(number) > _MOST_DIGITS or len(exponent) > len(str(_MOST_DIGITS)) - 1:
        raise ValueError(f"{str(text)[:40]!r} is not a quantity: no amount has so many digits")
    return _scaled(Decimal(number), suffix)


def _scaled(number: Decimal, suffix: str) -> Decimal:
    if suffix == "m":
        number /= 1000
    elif suffix[:1] in ("e", "E") and suffix not in ("E", "Ei"):
        number *= Decimal(10) ** int(suffix[1:])
    elif suffix:
        number *= _SUFFIXES[suffix]
    return number
