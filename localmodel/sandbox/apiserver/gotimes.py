"""metav1.Time and metav1.MicroTime: what texts they read, and the one they write.

A time is kept in UTC, to the second or the microsecond; the refusals are those of Go's time.Parse.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_RFC3339 = "2006-01-02T15:04:05Z07:00"
_MICRO = "2006-01-02T15:04:05.000000Z07:00"
_PARTS = (
    ("2006", re.compile(r"\d{4}", re.ASCII)),
    ("-", re.compile("-")),
    ("01", re.compile(r"\d{2}", re.ASCII)),
    ("-", re.compile("-")),
    ("02", re.compile(r"\d{2}", re.ASCII)),
    ("T", re.compile("T")),
    ("15", re.compile(r"\d{1,2}", re.ASCII)),
    (":", re.compile(":")),
    ("04", re.compile(r"\d{2}", re.ASCII)),
    (":", re.compile(":")),
    ("05", re.compile(r"\d{2}(?:[.,]\d+)?", re.ASCII)),
    ("Z07:00", re.compile(r"Z|[+-]\d{2}:\d{2}", re.ASCII)),
)
_MICRO_PARTS = (
    *_PARTS[:10],
    ("05", re.compile(r"\d{2}", re.ASCII)),
    (".000000", re.compile(r"[.,]\d{6}(?!\d)", re.ASCII)),
    _PARTS[-1],
)
_RANGES = ((1, "month", 12), (2, "day", 31), (3, "hour", 23), (4, "minute", 59), (5, "second", 59))


class TimeError(ValueError):
    """Not a time; the message is Go's."""


def _parse(text: str, layout: str, parts: tuple[tuple[str, re.Pattern[str]], ...]) -> datetime:
    found: list[str] = []
    position = 0
    for part, pattern in parts:
        match = pattern.match(text, position)
        if match is None:
            rest = text[position:]
            raise TimeError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"')
        if part == ".000000":
            found[-1] += match[0]
        elif part[0].isalnum() and part != "T":
            found.append(match[0])
        position = match.end()
    if position < len(text):
        raise TimeError(f'parsing time "{text}": extra text: "{text[position:]}"')
    year, month, day, hour, minute = map(int, found[:5])
    seconds, _, fraction = found[5].replace(",", ".").partition(".")
    for value, (_, name, limit) in zip((month, day, hour, minute, int(seconds)), _RANGES, strict=True):
        if value > limit or (name in ("month", "day") and value == 0):
            raise TimeError(f'parsing time "{text}": {name} out of range')
    micro = int(fraction[:6].ljust(6, "0")) if fraction else 0
    try:
        return datetime(year, month, day, hour, minute, int(seconds), micro, _zone(found[6])).astimezone(UTC)
    except (ValueError, OverflowError):
        raise TimeError(f'parsing time "{text}": day out of range') from None


def _zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)


def whole_seconds(text: str) -> str:
    """A metav1.Time; raises TimeError."""
    return _parse(text, _RFC3339, _PARTS).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(text: str) -> str:
    """A metav1.MicroTime; raises TimeError."""
    return _parse(text, _MICRO, _MICRO_PARTS).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
