"""Does a model fit? Its bytes are reserved before its download starts, so that two downloads cannot overfill a disk."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import InsufficientStorageError
from .usage import DiskUsage

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def check_room(key: str, size: int, *, usage: DiskUsage, reserved: Mapping[str, int], limit: int | None) -> None:
    """Raises InsufficientStorageError where a model of `size` bytes does not fit.

    `reserved` are the sizes of the models whose download is under way, by storage key; what they and this one have
    written so far is part of `usage`. `limit` is the node group's storageLimit in bytes, None for none.
    """
    others = {other: amount for other, amount in reserved.items() if other != key}
    staged_here = usage.staged.get(key, 0)
    settled = usage.used - staged_here - sum(usage.staged.get(other, 0) for other in others)
    promised = sum(max(amount, usage.staged.get(other, 0)) for other, amount in others.items())
    if limit is not None and settled + promised + size > limit:
        raise InsufficientStorageError(
            f"the model needs {human(size)}; models take {human(settled)} of the node group's limit of {human(limit)}"
            f"{_promised(promised)}; raise storageLimit or remove models from this node"
        )
    to_come = sum(max(amount - usage.staged.get(other, 0), 0) for other, amount in others.items())
    if size - staged_here + to_come > usage.available:
        raise InsufficientStorageError(
            f"the model needs {human(size)}; the disk has {human(usage.available)} left of {human(usage.capacity)}"
            f"{_promised(promised)}; free space on this node"
        )


def _promised(amount: int) -> str:
    """Also where it is nothing: which other downloads are under way makes no other failure of it."""
    return f", and {human(amount)} are reserved for downloads under way"


def human(amount: int) -> str:
    """A number of bytes for people: 1.5 GiB."""
    value, unit = float(amount), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{amount} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
