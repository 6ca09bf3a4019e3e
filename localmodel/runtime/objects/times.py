"""Moments as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as `metav1.Time` is written."""
    # strftime asks the C library, which takes ten times as long.
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return f"{value.isoformat(timespec='seconds')[:-6]}Z"


def format_micro_time(value: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as `metav1.MicroTime` (leases, events) is written."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
