"""How a staged download becomes the model, and what is made of a publication that a crash cut short.

Part of `store`, which locks and guards; see there for the invariants.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from localmodel.download.manifest import NOTES_DIR

from . import tree
from .errors import VerificationError, WrongOwnerError
from .filesystem import FileSystem
from .ledger import Ledger
from .manifest import FolderState, ModelManifest
from .root import ModelsRoot
from .trash import NOTES, Trash

log = structlog.get_logger(__name__)


class Publisher:
    """Publishes and recovers. Methods raise OSError."""

    def __init__(self, root: ModelsRoot, *, filesystem: FileSystem, ledger: Ledger, trash: Trash) -> None:
        self._root = root
        self._fs = filesystem
        self._ledger = ledger
        self._trash = trash

    def make_way(self, key: str) -> None:
        """Removes an empty folder of another user from the model's place; raises WrongOwnerError for one that holds
        something. To be done before all else: the kernel moves a directory elsewhere only for who may write it."""
        folder = self._root.models / key
        if not folder.is_symlink() and folder.is_dir() and not os.access(folder, os.W_OK):
            self._trash.remove_foreign(folder)

    def publish(self, key: str, manifest: ModelManifest) -> ModelManifest:
        """Makes the verified staging directory the model."""
        folder = self._root.staging / key
        listed = {file.path for file in manifest.files}
        # A link counts as the file that it names: that one belongs to the model, too.
        kept = listed | {inner for path in listed if (inner := tree.inner_file(folder, path)) is not None}
        for path in sorted(tree.scan(folder).keys() - kept):
            log.info("dropping a file that is not part of the model", storage_key=key, file=path)
            self._fs.remove_file(folder / path)
        for path in sorted(kept):
            if not (folder / path).is_symlink():
                self._fs.sync_file(folder / path)
        for directory in tree.directories(folder):
            self._fs.sync_directory(directory)
        manifest = msgspec.structs.replace(manifest, folder=folder.lstat().st_ino)
        self._ledger.write_manifest(manifest)
        self.put_in_place(key)
        return manifest

    def put_in_place(self, key: str) -> None:
        """The last steps: from here on only the place of the folder changes."""
        staged, folder = self._root.staging / key, self._root.models / key
        if os.path.lexists(staged / NOTES_DIR):
            self._trash.discard(staged / NOTES_DIR, NOTES)
        if os.path.lexists(folder) and not self._exchange(staged, folder):
            self._trash.discard(folder, key)
        if not os.path.lexists(folder):
            self._fs.rename(staged, folder)
        self._fs.sync_directory(self._root.models)
        self._fs.sync_directory(self._root.staging)
        if os.path.lexists(staged):
            self._trash.discard(staged, key)

    def _exchange(self, staged: Path, folder: Path) -> bool:
        """False where `folder` is yet to be moved, or was removed."""
        try:
            return self._fs.exchange(staged, folder)
        except PermissionError:
            if folder.is_symlink() or not folder.is_dir():
                raise
            self._trash.remove_foreign(folder)
            return True

    # after a crash -----------------------------------------------------------------------------------------------

    def is_unfinished(self, key: str, manifest: ModelManifest, inode: int | None) -> bool:
        """The manifest is that of the staging directory, not of the folder with this inode (None: there is none)."""
        if not manifest.folder or manifest.folder == inode:
            return False
        try:
            return (self._root.staging / key).lstat().st_ino == manifest.folder
        except FileNotFoundError:
            return False

    def recover(self, key: str, check: Callable[[str], FolderState]) -> None:
        """Finishes a publication of a staged key, or discards what it left behind; all else stays as it is."""
        try:
            manifest = self._ledger.manifest(key)
        except OSError as error:
            log.warning("a manifest cannot be read", storage_key=key, error=str(error))
            return
        if manifest is None or manifest.damaged:
            return
        try:
            if check(key).is_complete:
                log.info("discarding what a publication left behind", storage_key=key)
                self._trash.discard(self._root.staging / key, key)
            elif _matches_exactly(self._root.staging / key, manifest):
                log.info("finishing a publication that was interrupted", storage_key=key)
                self.put_in_place(key)
        except (WrongOwnerError, PermissionError) as error:
            # Another user's folder is in the way: that is this model's affair, which is told when its turn comes.
            log.warning("cannot finish a publication", storage_key=key, error=str(error))


def _matches_exactly(folder: Path, manifest: ModelManifest) -> bool:
    try:
        return tree.scan(folder) == {file.path: file.size for file in manifest.files}
    except (VerificationError, NotADirectoryError):
        return False
