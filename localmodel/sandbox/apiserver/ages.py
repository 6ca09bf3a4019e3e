"""Human durations as kubectl shows them: 45s, 12m, 3h20m, 2d4h, 40d."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

UNKNOWN = "<unknown>"
_LONGEST = 2**63 // 10**9
"""Seconds that Go's durations hold."""


def human_duration(duration: timedelta) -> str:
    """The rules of apimachinery's `duration.HumanDuration`."""
    seconds = min(int(duration.total_seconds()), _LONGEST)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 8 * 365 else f"{days // 365}y"


def _two(first: int, unit: str, second: int, second_unit: str) -> str:
    return f"{first}{unit}{second}{second_unit}" if second else f"{first}{unit}"


def parse_time(value: Any) -> datetime | None:
    """RFC 3339 with or without fractions; None for anything else."""
    if not isinstance(value, str) or not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def age(value: Any, now: datetime) -> str:
    """The time since a timestamp."""
    moment = parse_time(value)
    return UNKNOWN if moment is None else human_duration(now - moment)
