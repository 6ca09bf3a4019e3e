"""Digests over content that passes by, in the kinds that sources announce.

The hub publishes the sha256 of large files and, for small ones, git's blob id: the sha1 over a header with the size and
the content. Ours is sha256 for all, computed in the same pass.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 1 << 20


class RunningDigest:
    """sha256 of the bytes so far, and git's blob id too where the size is known beforehand and it is asked for."""

    def __init__(self, *, git_size: int | None = None) -> None:
        """`git_size`: the final size in bytes if git's blob id is wanted, which hashes the size first."""
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._git = None if git_size is None else hashlib.sha1(b"blob %d\0" % git_size, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """Appends bytes."""
        self.size += len(data)
        self._sha256.update(data)
        if self._git is not None:
            self._git.update(data)

    def update_from(self, path: Path) -> None:
        """Appends the whole content of the file at `path`."""
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                self.update(block)

    @property
    def sha256(self) -> str:
        """sha256 of the bytes so far, lower-case hex."""
        return self._sha256.hexdigest()

    @property
    def git_sha1(self) -> str | None:
        """Git's blob id, if it was asked for; right only once all `git_size` bytes have passed."""
        return None if self._git is None else self._git.hexdigest()
