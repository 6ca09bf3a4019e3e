"""CEL's standard operators and functions on values; `&&`, `||` and `?:` are in `evaluate`, they need not look at all.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#list-of-standard-definitions
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from . import regex
from .conversions import CONVERSIONS, type_of
from .values import (
    EvaluationError,
    NoSuchOverloadError,
    Optional,
    UInt,
    checked_int,
    checked_uint,
    compare,
    equal,
    is_number,
)

_OFFSET = re.compile(r"^([+-]?)(\d\d):(\d\d)$")


def _arithmetic(name: str, left: Any, right: Any) -> Any:
    if not is_number(left) or type(left) is not type(right):
        raise NoSuchOverloadError
    if isinstance(left, float):
        return _FLOAT[name](left, right)
    if name in ("/", "%") and right == 0:
        raise EvaluationError("division by zero" if name == "/" else "modulus by zero")
    value = _INTEGER[name](int(left), int(right))
    return checked_uint(value) if isinstance(left, UInt) else checked_int(value)


def _truncated(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _float_divide(left: float, right: float) -> float:
    if right == 0:
        if left == 0 or math.isnan(left):
            return math.nan
        return math.copysign(math.inf, left) * math.copysign(1, right)
    return left / right


def _no_remainder(*_: Any) -> float:
    raise NoSuchOverloadError


_INTEGER: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _truncated,
    "%": lambda left, right: left - right * _truncated(left, right),
}
_FLOAT: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _float_divide,
    "%": _no_remainder,
}


def add(left: Any, right: Any) -> Any:
    """`+` of numbers, strings, bytes, lists, times and durations."""
    if is_number(left):
        return _arithmetic("+", left, right)
    if type(left) is type(right) and isinstance(left, str | bytes | list):
        return left + right
    return _moved(operator.add, left, right)


def _subtract(left: Any, right: Any) -> Any:
    if is_number(left):
        return _arithmetic("-", left, right)
    if isinstance(left, datetime) and isinstance(right, datetime):
        return left - right
    return _moved(operator.sub, left, right)


def _moved(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    both = {type(left), type(right)}
    is_time = isinstance(left, datetime) or operation is operator.add
    if both == {timedelta} or (both == {datetime, timedelta} and is_time):
        try:
            return operation(left, right)
        except OverflowError:
            raise EvaluationError("timestamp overflow" if datetime in both else "duration overflow") from None
    raise NoSuchOverloadError


def _negate(value: Any) -> Any:
    if not is_number(value) or isinstance(value, UInt):
        raise NoSuchOverloadError
    return -value if isinstance(value, float) else checked_int(-value)


def _not(value: Any) -> bool:
    if not isinstance(value, bool):
        raise NoSuchOverloadError
    return not value


def _ordered(accepted: tuple[int, ...], left: Any, right: Any) -> bool:
    return compare(left, right) in accepted


def _in(value: Any, container: Any) -> bool:
    if isinstance(container, list):
        return any(equal(value, item) for item in container)
    if isinstance(container, dict):
        return _key(value) in container
    raise NoSuchOverloadError


def _key(value: Any) -> Any:
    """A map's key; anything that cannot be one is in no map."""
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and value == int(value):
        return int(value)
    return Optional()


def index(container: Any, key: Any) -> Any:
    """container[key]."""
    if isinstance(container, list):
        position = _position(key)
        if not 0 <= position < len(container):
            raise EvaluationError(f"index out of bounds: {position}")
        return container[position]
    if isinstance(container, dict):
        found = _key(key)
        if found not in container:
            raise EvaluationError(f"no such key: {shown_key(key)}")
        return container[found]
    raise NoSuchOverloadError


def _position(key: Any) -> int:
    if isinstance(key, bool) or not is_number(key):
        raise EvaluationError(f"unsupported index type '{type_of(key).name}' in list")
    if key != int(key):
        raise EvaluationError(f"unsupported index value {key} in list")
    return int(key)


def shown_key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def optional_index(container: Any, key: Any) -> Optional:
    """container[?key], and container.?field; of an optional too."""
    if isinstance(container, Optional):
        if not container.present:
            return container
        container = container.value
    if isinstance(container, list):
        position = _position(key)
        return Optional.of(container[position]) if 0 <= position < len(container) else Optional()
    if isinstance(container, dict):
        found = _key(key)
        return Optional.of(container[found]) if found in container else Optional()
    raise NoSuchOverloadError


def _size(value: Any) -> int:
    if not isinstance(value, str | bytes | list | dict):
        raise NoSuchOverloadError
    return len(value)


def _text(operation: Callable[[str, str], bool], text: Any, part: Any) -> bool:
    if not isinstance(text, str) or not isinstance(part, str):
        raise NoSuchOverloadError
    return operation(text, part)


def _zone(name: str) -> tzinfo:
    if match := _OFFSET.match(name):
        minutes = int(match[2]) * 60 + int(match[3])
        return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        raise EvaluationError(f"unknown time zone {name}") from None


def _moment(part: Callable[[datetime], int], unit: timedelta | None, value: Any, zone: Any = "") -> int:
    """A part of a time in its zone; of a duration, the whole units in it."""
    if isinstance(value, timedelta) and unit is not None:
        return int(value / unit)
    if not isinstance(value, datetime) or not isinstance(zone, str):
        raise NoSuchOverloadError
    return part(value.astimezone(_zone(zone)))


def _or(first: Any, second: Any) -> Any:
    return first if _opened(first).present else second


def _or_value(optional: Any, value: Any) -> Any:
    return optional.value if _opened(optional).present else value


def _value(optional: Any) -> Any:
    if not _opened(optional).present:
        raise EvaluationError("optional.none() dereference")
    return optional.value


def _opened(value: Any) -> Optional:
    if not isinstance(value, Optional):
        raise NoSuchOverloadError
    return value


def _non_zero(value: Any) -> Optional:
    is_zero = value is None or (isinstance(value, bool | int | float | str | bytes | list | dict) and not value)
    return Optional() if is_zero or value == timedelta() else Optional.of(value)


def _parts() -> dict[str, Callable[..., Any]]:
    parts: dict[str, tuple[Callable[[datetime], int], timedelta | None]] = {
        "getFullYear": (lambda moment: moment.year, None),
        "getMonth": (lambda moment: moment.month - 1, None),
        "getDate": (lambda moment: moment.day, None),
        "getDayOfMonth": (lambda moment: moment.day - 1, None),
        "getDayOfWeek": (lambda moment: moment.isoweekday() % 7, None),
        "getDayOfYear": (lambda moment: moment.timetuple().tm_yday - 1, None),
        "getHours": (lambda moment: moment.hour, timedelta(hours=1)),
        "getMinutes": (lambda moment: moment.minute, timedelta(minutes=1)),
        "getSeconds": (lambda moment: moment.second, timedelta(seconds=1)),
        "getMilliseconds": (lambda moment: moment.microsecond // 1000, timedelta(milliseconds=1)),
    }
    return {name: partial(_moment, part, unit) for name, (part, unit) in parts.items()}


STANDARD: dict[str, Callable[..., Any]] = {
    "_+_": add,
    "_-_": _subtract,
    "_*_": partial(_arithmetic, "*"),
    "_/_": partial(_arithmetic, "/"),
    "_%_": partial(_arithmetic, "%"),
    "-_": _negate,
    "!_": _not,
    "_==_": equal,
    "_!=_": lambda left, right: not equal(left, right),
    "_<_": partial(_ordered, (-1,)),
    "_<=_": partial(_ordered, (-1, 0)),
    "_>_": partial(_ordered, (1,)),
    "_>=_": partial(_ordered, (1, 0)),
    "@in": _in,
    "_[_]": index,
    "_[?_]": optional_index,
    "_?._": optional_index,
    "size": _size,
    "contains": partial(_text, lambda text, part: part in text),
    "startsWith": partial(_text, str.startswith),
    "endsWith": partial(_text, str.endswith),
    "matches": partial(_text, regex.matches),
    "optional.of": Optional.of,
    "optional.none": Optional,
    "optional.ofNonZeroValue": _non_zero,
    "hasValue": lambda optional: _opened(optional).present,
    "value": _value,
    "or": _or,
    "orValue": _or_value,
    **CONVERSIONS,
    **_parts(),
}
"""By name; the receiver of a member function is the first argument."""
