"""Equality of JSON values. Python's takes true for 1."""

from __future__ import annotations

from typing import Any

import msgspec


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON: true is not 1, but 1.0 is."""
    if one is other:
        return True
    if one != other:
        return False
    if isinstance(one, dict | list):
        # Quick where, as mostly, the keys have the same order.
        return msgspec.json.encode(one) == msgspec.json.encode(other) or _is_same_inside(one, other)
    return isinstance(one, bool) is isinstance(other, bool)


def _is_same_inside(one: Any, other: Any) -> bool:
    """The same about values that Python says are equal."""
    if isinstance(one, dict):
        return all(_is_same_inside(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return all(map(_is_same_inside, one, other))
    return isinstance(one, bool) is isinstance(other, bool)
