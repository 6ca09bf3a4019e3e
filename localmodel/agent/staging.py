"""Where downloads write, `models/.staging/<storageKey>`: which there are, what they say, whether one can go on there.

Part of `store`. All in there is from a download, which is not to be trusted: nothing is read through a link.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from .beneath import Beneath
from .ledger import storage_keys
from .listing import Listing

if TYPE_CHECKING:
    from localmodel.download.progress import Progress

_PROGRESS_BYTES: Final = 64 << 10
_MOST: Final = 1 << 62


class Staging:
    """One directory with the downloads' own. Methods raise OSError unless they say otherwise."""

    def __init__(self, directory: Path, root: Path) -> None:
        """`root` is the models root, below which no link is followed."""
        self.directory = directory
        self._beneath = Beneath(root)
        self._names = Listing(directory, storage_keys)

    def keys(self) -> frozenset[str]:
        """Storage keys with a directory."""
        return self._names.read()

    def is_resumable(self, key: str, uri: str) -> bool:
        """Whether a download of the URI may go on with what is there: our own notes are of that URI, or nothing is."""
        folder = self.directory / key
        if folder.is_symlink() or not os.access(folder, os.W_OK | os.X_OK):
            return False
        progress = self.progress(key)
        return (progress is not None and progress.uri == uri) or not any(folder.iterdir())

    def progress(self, key: str) -> Progress | None:
        """What our own download says of itself, or None where it says nothing (yet) that can be understood."""
        # Imported here: an idle agent never needs it.
        from localmodel.download.progress import Progress, progress_path

        try:
            data = self._beneath.read(progress_path(self.directory / key), limit=_PROGRESS_BYTES)
            progress = msgspec.json.decode(data, type=Progress)
        except (OSError, msgspec.DecodeError, RecursionError):
            return None
        # A foreign image may bring such a file from the source: no number goes on that a status could not hold.
        numbers = progress.bytes_done, progress.bytes_total, progress.files_done, progress.files_total
        return progress if all(0 <= (number or 0) <= _MOST for number in numbers) else None
