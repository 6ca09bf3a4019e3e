"""The names in a directory that hardly ever changes and that every pass asks for several times."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_SETTLED_NANOSECONDS: Final = 2_000_000_000
"""A change within one tick of a file system's clock, which has up to two seconds, may leave the time as it is."""


class Listing:
    """Reads the directory again when it has changed, as its time of change tells. Raises OSError."""

    def __init__(self, directory: Path, pick: Callable[[Iterable[str]], set[str]]) -> None:
        """`pick` takes those of the names that matter, as what matters of them."""
        self._directory = os.fspath(directory)
        self._pick = pick
        self._known: tuple[tuple[int, int, int], frozenset[str]] | None = None

    def read(self) -> frozenset[str]:
        """The names; the same object while nothing has changed."""
        found = os.stat(self._directory)  # noqa: PTH116 - for speed
        version = found.st_dev, found.st_ino, found.st_mtime_ns
        if self._known is not None and self._known[0] == version:
            return self._known[1]
        names = frozenset(self._pick(os.listdir(self._directory)))  # noqa: PTH208 - names only
        is_settled = time.time_ns() - found.st_mtime_ns >= _SETTLED_NANOSECONDS
        self._known = (version, names) if is_settled else None
        return names
