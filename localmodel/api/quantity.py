"""Amounts of bytes in statuses: quantities that are short to read in a column of kubectl."""

from __future__ import annotations

from localmodel.runtime.objects import parse_quantity

_UNITS = (("Ti", 1024**4), ("Gi", 1024**3), ("Mi", 1024**2))


def format_bytes(count: int) -> str:
    """A quantity in the largest binary unit that fits, with at most one decimal: 87.4Mi. Below 1Mi it is exact."""
    for unit, size in _UNITS:
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + unit
    return str(count)


def bytes_of(quantity: str | int) -> int:
    """What a quantity that was reported amounts to; 0 for one that was not, or that cannot be read."""
    try:
        return parse_quantity(quantity)
    except ValueError:
        return 0
