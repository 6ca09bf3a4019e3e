"""Functions of lists (Kubernetes' list library) and of lists as sets (cel-go's ext.Sets)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

from .functions import Function, function, member
from .standard import add
from .values import EvaluationError, compare, equal

_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_ZEROS: dict[str, Any] = {"int": 0, "uint": 0, "double": 0.0, "duration": timedelta()}


def _is_sorted(items: list[Any]) -> bool:
    return all((compare(left, right) or 0) <= 0 for left, right in pairwise(items))


def _extreme(name: str, wanted: int) -> Callable[[list[Any]], Any]:
    def extreme(items: list[Any]) -> Any:
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if compare(item, best) == wanted:
                best = item
        return best

    return extreme


def _sum(items: list[Any]) -> Any:
    if not items:
        return 0
    total = items[0]
    for item in items[1:]:
        total = add(total, item)
    return total


def _index_of(items: list[Any], wanted: Any) -> int:
    return next((index for index, item in enumerate(items) if equal(item, wanted)), -1)


def _last_index_of(items: list[Any], wanted: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if equal(items[index], wanted)), -1)


def _has(items: list[Any], wanted: Any) -> bool:
    return any(equal(item, wanted) for item in items)


def _contains(items: list[Any], others: list[Any]) -> bool:
    return all(_has(items, other) for other in others)


def _equivalent(items: list[Any], others: list[Any]) -> bool:
    return _contains(items, others) and _contains(others, items)


def _intersects(items: list[Any], others: list[Any]) -> bool:
    return any(_has(items, other) for other in others)


def _typed() -> Iterator[Function]:
    for type_ in _COMPARABLE:
        yield member(f"list<{type_}>", "isSorted", [], "bool", _is_sorted)
        yield member(f"list<{type_}>", "min", [], type_, _extreme("min", -1))
        yield member(f"list<{type_}>", "max", [], type_, _extreme("max", 1))
    for type_ in _ZEROS:
        yield member(f"list<{type_}>", "sum", [], type_, _sum)


LISTS: tuple[Function, ...] = (
    *_typed(),
    member("list<~A>", "indexOf", ["~A"], "int", _index_of),
    member("list<~A>", "lastIndexOf", ["~A"], "int", _last_index_of),
    function("sets.contains", ["list<~A>", "list<~A>"], "bool", _contains),
    function("sets.equivalent", ["list<~A>", "list<~A>"], "bool", _equivalent),
    function("sets.intersects", ["list<~A>", "list<~A>"], "bool", _intersects),
)
