"""The models on one node's disk: `ModelStore`, the only code that changes anything below the models root.

Layout below the root R: `models/<storageKey>` the whole models; `models/.staging/<storageKey>` where a download writes;
`models/.localmodel/<storageKey>.json` manifests, beside them `records/`, the marker and the lock; `models/.trash/` what
is to be deleted. No Kubernetes here; the reconciler decides, the store does.

Invariants, which hold after a crash at any step once `open` has run:
- `check` answers complete only for a folder that was verified, synced and renamed into place in one step.
- A manifest that stands beside a staging directory was written after that directory was verified: `prepare_staging`
  removes the old manifest first. So `open` may finish a rename that was cut short, and never publishes anything else.
- A folder is renamed, whole, to the trash before any of its files is deleted.
- What has neither a manifest nor a storage key in use is reported and never touched.
- Two stores never work on one root: a lock on an open file says so, and ends with the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from localmodel.download.manifest import NOTES_DIR, FileEntry, compute_digest
from localmodel.runtime.clock import Clock, RealClock

from . import tree
from .errors import RootMissingError, RootNotMountedError, StoreError, VerificationError, disk_errors
from .filesystem import FileSystem
from .ledger import Ledger, storage_keys
from .lock import RootLock
from .manifest import FolderState, KeyRecord, ModelManifest
from .usage import DiskUsage, measure
from .verification import Content, Publication, verify

STAGING_MODE = 0o2775
"""Set-gid, so that what a download writes belongs to the directory's group, which the agent shares."""
_MARKER_TEXT = b'{"comment":"localmodel keeps models here; without this file the disk counts as not mounted"}\n'

log = structlog.get_logger(__name__)


class ModelStore:
    """See the module. Methods raise StoreError where the disk fails.

    One thread decides and changes; `complete_digests` alone may run in another, and shares the mutex with all changes.
    """

    def __init__(
        self, root: Path, *, owner: str = "", filesystem: FileSystem | None = None, clock: Clock | None = None
    ) -> None:
        """`root` is the models root R. `owner`, the node's name, is written into the lock for others to read."""
        self.root = root
        self.models = root / "models"
        self.staging = self.models / ".staging"
        self.trash = self.models / ".trash"
        self.notes = self.models / ".localmodel"
        self.marker = self.notes / "marker"
        self._fs = filesystem or FileSystem()
        self._clock: Clock = clock or RealClock()
        self._ledger = Ledger(self.notes, self._fs)
        self._lock = RootLock(self.notes / "lock", owner=owner)
        self._trash_count = 0
        self._mutex = threading.RLock()

    # opening -----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """The root is held, and its marker was there the last time `open` looked."""
        return self._lock.is_held

    def open(self, downloaded: Mapping[str, str] | None = None) -> list[str]:
        """Takes the root and finishes what a crash cut short. Cheap where it is open already; call it before each pass.

        `downloaded` (storage key -> URI) are the models that this node's status calls downloaded. They matter only
        where the marker is missing: a root that holds one of them was filled by KServe's agent, and those folders are
        adopted (where the URI is not empty); a root that holds none is taken for a disk that is not mounted. Returns
        the keys adopted now.

        Raises StoreLockedError, RootNotMountedError, RootMissingError and other StoreErrors; the store is closed then.
        """
        try:
            with disk_errors(self.models):
                return self._open(downloaded or {})
        except StoreError:
            self.close()
            raise

    def _open(self, downloaded: Mapping[str, str]) -> list[str]:
        if not self.root.is_dir():
            raise RootMissingError(f"{self.root} does not exist; create it or mount the models' disk there")
        marked = self.marker.exists()
        if marked and self._lock.is_at_its_path():
            return []
        self.close()
        found = [key for key, uri in downloaded.items() if uri and not marked and self._may_adopt(key)]
        if not marked and downloaded and not found:
            raise RootNotMountedError(
                f"{self.models} has none of the {len(downloaded)} models that were downloaded to this node and lacks "
                f"{self.marker}: its disk is probably not mounted. Mount it, or, if the disk was replaced on purpose, "
                f"create that file"
            )
        self._make_layout()
        self._lock.acquire()
        self._ledger.reset()
        self._recover()
        for key in found:
            self._adopt(key, downloaded[key])
        if not marked:
            # Last: a crash before this line repeats the adoption.
            self._fs.write_file(self.marker, _MARKER_TEXT)
        return found

    def close(self) -> None:
        """Gives the root back. Idempotent."""
        self._lock.release()

    def _make_layout(self) -> None:
        for path in (self.models, self.staging, self.trash, self.notes, self._ledger.records):
            if not path.is_dir():
                self._fs.make_directory(path, STAGING_MODE)

    def _recover(self) -> None:
        for key in self.staged_keys():
            try:
                manifest = self.manifest(key)
            except StoreError as error:
                log.warning("a manifest cannot be read", storage_key=key, error=str(error))
                continue
            if manifest is None:
                continue
            if self.check(key).is_complete:
                log.info("discarding what a publication left behind", storage_key=key)
                self._discard(self.staging / key, key)
            elif self._matches_exactly(self.staging / key, manifest):
                log.info("finishing a publication that was interrupted", storage_key=key)
                self._put_in_place(key)

    @staticmethod
    def _matches_exactly(folder: Path, manifest: ModelManifest) -> bool:
        try:
            return tree.scan(folder) == {file.path: file.size for file in manifest.files}
        except (VerificationError, NotADirectoryError):
            return False

    def _may_adopt(self, key: str) -> bool:
        folder = self.models / key
        return not folder.is_symlink() and folder.is_dir() and any(folder.iterdir())

    def _adopt(self, key: str, uri: str) -> None:
        """Believes a folder of KServe's agent, which leaves no proof: only at the first opening of a root."""
        try:
            files = tree.scan(self.models / key)
        except VerificationError as error:
            log.warning("not adopting a folder", storage_key=key, error=str(error))
            return
        if files:
            log.info("adopting a folder that was downloaded before", storage_key=key, uri=uri, files=len(files))
            entries = tuple(FileEntry(path=path, size=size, sha256="") for path, size in sorted(files.items()))
            self._ledger.write_manifest(self._manifest_of(key, Publication(uri=uri), Content(entries), adopted=True))

    # reading -----------------------------------------------------------------------------------------------------

    def manifest(self, key: str) -> ModelManifest | None:
        """The manifest of a key, or None where there is none or it cannot be understood."""
        with disk_errors(self.models):
            return self._ledger.manifest(key)

    def check(self, key: str) -> FolderState:
        """Whether the model is whole: a manifest, and its files with their sizes. Costs one stat per file."""
        with disk_errors(self.models):
            folder = self.models / key
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                return FolderState("incomplete", "a file or link stands in its place")
            if not folder.is_dir():
                return FolderState("absent")
            manifest = self.manifest(key)
            if manifest is None:
                return FolderState("incomplete", "it was never verified")
            difference = tree.first_difference(folder, manifest.files)
            return FolderState("incomplete" if difference else "complete", difference, manifest)

    def staged_keys(self) -> list[str]:
        """Storage keys with a staging directory."""
        with disk_errors(self.models):
            return sorted(storage_keys(os.listdir(self.staging)))  # noqa: PTH208 - names only

    def known_keys(self) -> set[str]:
        """Storage keys that are ours by a manifest, a staging directory, or a record that caches stand in."""
        with disk_errors(self.models):
            return self._ledger.keys() | set(self.staged_keys())

    def unknown_directories(self, wanted: Collection[str]) -> list[str]:
        """Names in `models/` that are neither known nor wanted. They are only reported, never deleted."""
        with disk_errors(self.models):
            ours = self.known_keys() | set(wanted)
            ours |= {path.name for path in (self.staging, self.trash, self.notes)}
            return sorted(set(os.listdir(self.models)) - ours)  # noqa: PTH208 - names only

    def usage(self) -> DiskUsage:
        """The room on the volume and what the models take of it. Walks only what has no manifest."""
        with disk_errors(self.models):
            staged = {key: tree.disk_size(self.staging / key) for key in self.staged_keys()}
            return measure(self.models, staged=staged, discarded=tree.disk_size(self.trash), size_of=self._known_size)

    def _known_size(self, key: str) -> int | None:
        try:
            manifest = self._ledger.manifest(key)
        except OSError:
            return None  # Whoever asks for the model itself is told why.
        return manifest.total_size if manifest else None

    # records -----------------------------------------------------------------------------------------------------

    def record(self, key: str) -> KeyRecord:
        """What was written down about a key; an empty record where there is none or it cannot be understood."""
        with disk_errors(self.models):
            return self._ledger.record(key)

    def write_record(self, key: str, record: KeyRecord) -> None:
        """Replaces a key's record; nothing is written where it says the same already."""
        with disk_errors(self.models):
            self._ledger.write_record(key, record)

    # changing ----------------------------------------------------------------------------------------------------

    def prepare_staging(self, key: str, uri: str) -> Path:
        """The directory a download of this key writes to, ready before its Job starts.

        What an earlier download of the same URI left stays where our downloader's notes are with it, which make
        resuming safe; leftovers of a foreign image are discarded (D-07). Raises StoreError for a model that is whole.
        """
        with self._mutex, disk_errors(self.models):
            if self.check(key).is_complete:
                raise StoreError(f"{self.models / key} is whole; remove it before it is downloaded again")
            self._ledger.forget_manifest(key)
            folder = self.staging / key
            if os.path.lexists(folder) and not self._is_resumable(folder, uri):
                self._discard(folder, key)
            if not folder.is_dir():
                self._fs.make_directory(folder, STAGING_MODE)
            return folder

    @staticmethod
    def _is_resumable(folder: Path, uri: str) -> bool:
        # Imported here: an idle agent never needs it.
        from localmodel.download.progress import read_progress

        if folder.is_symlink() or not os.access(folder, os.W_OK | os.X_OK):
            return False
        progress = read_progress(folder)
        return (progress is not None and progress.uri == uri) or not any(folder.iterdir())

    def verify(self, key: str, publication: Publication) -> Content:
        """What was staged, if it is whole; raises VerificationError if not. Changes nothing."""
        with disk_errors(self.models):
            return verify(self.staging / key, publication)

    def _manifest_of(
        self, key: str, publication: Publication, content: Content, *, adopted: bool = False
    ) -> ModelManifest:
        return ModelManifest(
            storage_key=key,
            uri=publication.uri,
            revision=content.revision,
            files=content.files,
            total_size=sum(entry.size for entry in content.files),
            digest=content.digest,
            published_time=self._clock.now(),
            attempts=publication.attempts,
            references=publication.references,
            adopted=adopted,
        )

    def publish(self, key: str, publication: Publication) -> ModelManifest:
        """Makes a finished download the model: verified, synced, with its manifest, by one rename.

        What stood at its place moves to the trash in the same step; pods that have it mounted keep it. Raises
        VerificationError, and then nothing has changed.
        """
        manifest = self._manifest_of(key, publication, self.verify(key, publication))
        folder = self.staging / key
        with self._mutex, disk_errors(self.models):
            listed = {file.path for file in manifest.files}
            for path in tree.scan(folder).keys() - listed:
                log.info("dropping a file that is not part of the model", storage_key=key, file=path)
                self._fs.remove_file(folder / path)
            for path in listed:
                self._fs.sync_file((folder / path).resolve())
            for directory in tree.directories(folder):
                self._fs.sync_directory(directory)
            self._ledger.write_manifest(manifest)
            self._put_in_place(key)
        return manifest

    def _put_in_place(self, key: str) -> None:
        staged, folder = self.staging / key, self.models / key
        if (staged / NOTES_DIR).is_dir():
            self._discard(staged / NOTES_DIR, key)
        if os.path.lexists(folder) and not self._fs.exchange(staged, folder):
            self._discard(folder, key)
        if not os.path.lexists(folder):
            self._fs.rename(staged, folder)
        self._fs.sync_directory(self.models)
        self._fs.sync_directory(self.staging)
        if os.path.lexists(staged):
            self._discard(staged, key)

    def complete_digests(self, key: str, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Computes the digests that a manifest lacks (of a foreign image, an adopted folder); whether it has all now.

        Reads the whole model; meant for a quiet moment. Raises InterruptedError if `stop` says so.
        """
        state = self.check(key)
        manifest = state.manifest
        if not state.is_complete or manifest is None:
            return False
        if manifest.digest:
            return True
        with disk_errors(self.models):
            entries = tuple(
                FileEntry(
                    path=file.path,
                    size=file.size,
                    sha256=file.sha256 or tree.file_digest(self.models / key / file.path, stop=stop),
                )
                for file in manifest.files
            )
            with self._mutex:
                if not self.check(key).is_complete or self.manifest(key) != manifest:
                    return False
                whole = msgspec.structs.replace(manifest, files=entries, digest=compute_digest(entries))
                self._ledger.write_manifest(whole)
        return True

    def remove(self, key: str) -> None:
        """Takes a model, what was staged for it and its manifest away; the record keeps only its attempt counter.

        The caller has made sure that nothing uses it. `empty_trash` frees the room.
        """
        with self._mutex, disk_errors(self.models):
            if os.path.lexists(self.models / key):
                self._discard(self.models / key, key)
            self._ledger.forget_manifest(key)
            if os.path.lexists(self.staging / key):
                self._discard(self.staging / key, key)
            self._fs.sync_directory(self.models)
        attempt = self.record(key).attempt
        self.write_record(key, KeyRecord(attempt=attempt, outcome="removed" if attempt else ""))

    def disown(self, key: str) -> None:
        """What is here of a key counts no more: its folder is not complete again until another takes its place, and
        what was staged is discarded. The caller has made sure that no download writes."""
        with self._mutex, disk_errors(self.models):
            self._ledger.forget_manifest(key)
            if os.path.lexists(self.staging / key):
                self._discard(self.staging / key, key)
        record = self.record(key)
        self.write_record(
            key,
            KeyRecord(uri=record.uri, attempt=record.attempt, outcome="removed", references=record.references),
        )

    def empty_trash(self, is_mounted: Callable[[str, datetime], bool] = lambda _key, _since: False) -> None:
        """Deletes what was discarded, except what a pod may still have mounted.

        `is_mounted(key, since)` says whether a pod that was there at the time `since` uses the key. One item that
        cannot be deleted is logged and does not stop the others.
        """
        with disk_errors(self.models):
            items = sorted(self.trash.iterdir())
        for item in items:
            key, _, rest = item.name.partition(".")
            since = datetime.fromtimestamp(_leading_number(rest), tz=self._clock.now().tzinfo)
            if is_mounted(key, since):
                continue
            try:
                self._fs.remove_tree(item)
            except OSError as error:
                log.warning("cannot delete a discarded folder, trying again later", path=str(item), error=str(error))

    # steps -------------------------------------------------------------------------------------------------------

    def _discard(self, path: Path, key: str) -> None:
        """Moves a folder to the trash under a name of its own that tells key and time."""
        while True:
            self._trash_count += 1
            target = self.trash / f"{key}.{int(self._clock.now().timestamp())}.{self._trash_count}"
            if not os.path.lexists(target):
                break
        self._fs.rename(path, target)


def _leading_number(text: str) -> int:
    digits = text.partition(".")[0]
    return int(digits) if digits.isdigit() else 0
