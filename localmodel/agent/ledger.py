"""The store's books: one manifest and one record per storage key, as files in `models/.localmodel/`.

Part of `store`, which decides what is written; this module only reads and writes it, atomically. Every pass looks at
all of it, so what was parsed once is kept: a manifest until its file changes, a record for as long as the root is held,
since nobody else writes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from .beneath import Beneath
from .filesystem import TEMPORARY_SUFFIX, FileSystem
from .listing import Listing
from .manifest import FolderState, KeyRecord, ModelManifest

_KEY = re.compile(r"[0-9a-f]{16}")
_FILE = re.compile(r"[0-9a-f]{16}\.json")
_LENGTH = 16

log = structlog.get_logger(__name__)


def storage_keys(names: Iterable[str]) -> set[str]:
    """Those of the names that have the form of a storage key."""
    return {name for name in names if _KEY.fullmatch(name)}


class Ledger:
    """Manifests and records below one directory. Methods raise OSError."""

    def __init__(self, directory: Path, filesystem: FileSystem) -> None:
        self.directory = directory
        self.records = directory / "records"
        self._fs = filesystem
        self._base = os.fspath(directory)
        self._beneath = Beneath(directory)
        self._listings = Listing(directory, _keys_in), Listing(self.records, _keys_in)
        self._records: dict[str, KeyRecord] = {}
        self._manifests: dict[str, tuple[tuple[int, int, int], ModelManifest, FolderState]] = {}
        """With the file's inode, time and size, and what a folder is that is as it says."""

    def manifest_path(self, key: str) -> Path:
        return self.directory / f"{key}.json"

    def recall(self, key: str) -> ModelManifest | None:
        """The manifest as it was read last, which costs nothing; read now where it was not."""
        known = self._manifests.get(key)
        return known[1] if known is not None else self.manifest(key)

    def manifest(self, key: str) -> ModelManifest | None:
        """The manifest of a key, or None where there is none or it cannot be understood."""
        try:
            found = os.lstat(f"{self._base}/{key}.json")  # Asked for each model several times a pass.
        except FileNotFoundError:
            self._manifests.pop(key, None)
            return None
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._manifests.get(key)
        if known is not None and known[0] == version:
            return known[1]
        path = self.manifest_path(key)
        try:
            manifest = msgspec.json.decode(self._beneath.read(path), type=ModelManifest)
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("a manifest cannot be understood", path=str(path), error=str(error))
            return None
        self._manifests[key] = version, manifest, FolderState("complete", manifest=manifest)
        return manifest

    def whole(self, key: str, manifest: ModelManifest) -> FolderState:
        """The state of a folder that is as its manifest says; the same object while that is the same."""
        known = self._manifests.get(key)
        return known[2] if known is not None and known[1] is manifest else FolderState("complete", manifest=manifest)

    def write_manifest(self, manifest: ModelManifest) -> None:
        self._manifests.pop(manifest.storage_key, None)
        self._fs.write_file(self.manifest_path(manifest.storage_key), msgspec.json.encode(manifest))

    def forget_manifest(self, key: str) -> None:
        """Removes a manifest, durably."""
        self._manifests.pop(key, None)
        if os.path.lexists(self.manifest_path(key)):
            self._fs.remove_file(self.manifest_path(key))
            self._fs.sync_directory(self.directory)

    def record(self, key: str) -> KeyRecord:
        """What was written down about a key; an empty record where there is none or it cannot be understood."""
        known = self._records.get(key)
        if known is None:
            known = self._records[key] = self._read_record(self.records / f"{key}.json")
        return known

    def _read_record(self, path: Path) -> KeyRecord:
        try:
            return msgspec.json.decode(self._beneath.read(path), type=KeyRecord)
        except FileNotFoundError:
            return KeyRecord()
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("a record cannot be understood and counts as empty", path=str(path), error=str(error))
            return KeyRecord()

    def write_record(self, key: str, record: KeyRecord) -> None:
        """Replaces a key's record; nothing is written where it says the same already."""
        if record != self.record(key):
            self._fs.write_file(self.records / f"{key}.json", msgspec.json.encode(record))
            self._records[key] = record

    def read_note(self, name: str) -> bytes | None:
        """Another file of the directory, None where there is none."""
        try:
            return self._beneath.read(self.directory / name)
        except FileNotFoundError:
            return None

    def write_note(self, name: str, data: bytes) -> None:
        """Replaces such a file."""
        self._fs.write_file(self.directory / name, data)

    def keys(self) -> frozenset[str]:
        """Storage keys with a manifest, or with a record that caches stand in or that cannot be read."""
        manifests, records = (listing.read() for listing in self._listings)
        return manifests.union(filter(self._is_referenced, records))

    def _is_referenced(self, key: str) -> bool:
        try:
            return bool(self.record(key).references)
        except OSError:
            return True  # Whoever asks for the record itself is told why.

    def reset(self) -> None:
        """Forgets what was parsed: the directory may be another one now."""
        self._manifests.clear()
        self._records.clear()

    def clean(self) -> None:
        """Removes files that were half written."""
        for directory in (self.directory, self.records):
            for path in directory.glob(f"*{TEMPORARY_SUFFIX}"):
                self._fs.remove_file(path)


def _keys_in(names: Iterable[str]) -> set[str]:
    return {name[:_LENGTH] for name in names if _FILE.fullmatch(name)}
