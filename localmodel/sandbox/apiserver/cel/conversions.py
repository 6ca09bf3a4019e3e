"""Conversions between CEL's types: int(), uint(), double(), string(), bytes(), bool(), timestamp(), duration().

Texts of errors are cel-go's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from .values import INT_MAX, INT_MIN, UINT_MAX, CelType, EvaluationError, NoSuchOverloadError, UInt, kind_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7, "h": 3.6e9}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_INTEGERS = {"int": re.compile(r"^[+-]?\d+$"), "uint": re.compile(r"^\d+$")}
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|[iI]nf|NaN)$")
_MOMENT = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


def to_int(value: Any) -> int:
    match value:
        case bool():
            raise NoSuchOverloadError
        case int():
            if value > INT_MAX:
                raise EvaluationError("integer overflow")
            return int(value)
        case float():
            if not math.isfinite(value) or not INT_MIN < value < INT_MAX:
                raise EvaluationError("integer overflow")
            return int(value)
        case str():
            return _parse_integer(value, "int", INT_MIN, INT_MAX)
        case datetime():
            return int((value - _EPOCH) // timedelta(seconds=1))
        case timedelta():
            return int(value / timedelta(microseconds=1)) * 1000
    raise NoSuchOverloadError


def to_uint(value: Any) -> UInt:
    match value:
        case bool():
            raise NoSuchOverloadError
        case int() | float():
            if (isinstance(value, float) and not math.isfinite(value)) or not 0 <= value <= UINT_MAX:
                raise EvaluationError("unsigned integer overflow")
            return UInt(int(value))
        case str():
            return UInt(_parse_integer(value, "uint", 0, UINT_MAX))
    raise NoSuchOverloadError


def _parse_integer(text: str, type_: str, least: int, most: int) -> int:
    if not _INTEGERS[type_].match(text) or not least <= int(text) <= most:
        raise _unconvertible(type_)
    return int(text)


def _unconvertible(type_: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from 'string' to '{type_}'")


def to_double(value: Any) -> float:
    match value:
        case bool():
            raise NoSuchOverloadError
        case int() | float():
            return float(value)
        case str():
            if not _NUMBER.match(value):
                raise _unconvertible("double")
            return float(value)
    raise NoSuchOverloadError


def to_bool(value: Any) -> bool:
    match value:
        case bool():
            return value
        case str() if value in _TRUE:
            return True
        case str() if value in _FALSE:
            return False
        case str():
            raise _unconvertible("bool")
    raise NoSuchOverloadError


def to_bytes(value: Any) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
    raise NoSuchOverloadError


def to_string(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(int(value))
        case float():
            return double_text(value)
        case datetime():
            return timestamp_text(value)
        case timedelta():
            return duration_text(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    text = getattr(value, "text", None)
    if text is None:
        raise NoSuchOverloadError
    return str(text)


def to_timestamp(value: Any) -> datetime:
    match value:
        case datetime():
            return value
        case bool():
            raise NoSuchOverloadError
        case int():
            try:
                return _EPOCH + timedelta(seconds=value)
            except OverflowError:
                raise EvaluationError("timestamp overflow") from None
        case str():
            return _parse_moment(value)
    raise NoSuchOverloadError


def _parse_moment(text: str) -> datetime:
    try:
        if _MOMENT.match(text):
            return datetime.fromisoformat(text.upper())
    except ValueError:
        raise _unconvertible("google.protobuf.Timestamp") from None
    raise _unconvertible("google.protobuf.Timestamp")


def to_duration(value: Any) -> timedelta:
    match value:
        case timedelta():
            return value
        case str():
            return parse_duration(value)
    raise NoSuchOverloadError


def parse_duration(text: str) -> timedelta:
    """Go's time.ParseDuration; raises EvaluationError."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return timedelta()
    parts = _PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        raise _unconvertible("google.protobuf.Duration")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return timedelta(microseconds=-total if text.startswith("-") else total)


def double_text(value: float) -> str:
    """Go's shortest 'g' form: with an exponent below 1e-4 and from 1e6 on, unless the digits are more."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    shown = "".join(map(str, digits))
    power = len(shown) + int(exponent) - 1
    if -4 <= power < 6 or value == 0:
        return (
            str(int(value))
            if value == int(value)
            else repr(float(value))
            if power > -5 and "e" not in repr(value)
            else f"{value:f}"
        )
    mantissa = shown[0] + (f".{shown[1:]}" if len(shown) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{power:+03d}"


def timestamp_text(value: datetime) -> str:
    """RFC 3339, in the value's own zone."""
    text = value.replace(tzinfo=None, microsecond=0).isoformat()
    fraction = f"{value.microsecond:06d}".rstrip("0")
    zone = value.isoformat()[-6:] if value.utcoffset() else "Z"
    return f"{text}.{fraction}{zone}" if fraction else f"{text}{zone}"


def duration_text(value: timedelta) -> str:
    """Seconds, as 5400s or 1.5s."""
    return double_text(value / timedelta(seconds=1)) + "s"


def type_of(value: Any) -> CelType:
    return CelType(kind_of(value))


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "int": to_int,
    "uint": to_uint,
    "double": to_double,
    "bool": to_bool,
    "bytes": to_bytes,
    "string": to_string,
    "timestamp": to_timestamp,
    "duration": to_duration,
    "dyn": lambda value: value,
    "type": type_of,
}
