"""The models on one node's disk: `ModelStore`, the only code that changes anything below the models root.

Layout below the root R: `models/<storageKey>` the whole models; `models/.staging/<storageKey>` where a download writes;
`models/.localmodel/<storageKey>.json` manifests, beside them `records/`, the marker, the lock, the book of scrubs and
the file that a probe writes; `models/.trash/` what is to be deleted. No Kubernetes here; the reconciler decides, the
store does.

Invariants, which hold after a crash at any step once `open` has run:
- `check` answers complete only for a folder that was verified, synced and renamed into place in one step.
- A manifest that stands beside a staging directory was written after that directory was verified: `prepare_staging`
  removes the old manifest first. So `open` may finish a rename that was cut short, and never publishes anything else.
- A folder is renamed, whole, to the trash before any of its files is deleted.
- What has neither a manifest nor a storage key in use is reported and never touched.
- No symbolic link below the root is followed, by reading, writing or deleting: see `beneath`.
- Two stores never work on one root: a lock on an open file says so, and ends with the process.

The parts: `root` the place, `ledger` the books, `publishing` the way into place, `trash` the way out.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from localmodel.download.manifest import FileEntry, compute_digest
from localmodel.runtime.clock import Clock, RealClock

from . import tree
from .beneath import Beneath
from .errors import DiskFullError, StoreError, VerificationError, disk_errors
from .filesystem import FileSystem
from .ledger import Ledger, storage_keys
from .listing import Listing
from .manifest import FolderState, KeyRecord, ModelManifest, Reference
from .publishing import Publisher
from .root import DIRECTORY_MODE, ModelsRoot
from .trash import NO_HOLDERS, Trash
from .usage import DiskUsage, measure
from .verification import Content, Publication, verify

if TYPE_CHECKING:
    from localmodel.download.progress import Progress

    from .podlook import Holders

_PROGRESS_BYTES: Final = 64 << 10
_MOST: Final = 1 << 62

log = structlog.get_logger(__name__)


class ModelStore:
    """See the module. Methods raise StoreError where the disk fails.

    One thread decides and changes; the methods that say so may be called by another, and share the mutex with changes.
    """

    def __init__(
        self, root: Path, *, owner: str = "", filesystem: FileSystem | None = None, clock: Clock | None = None
    ) -> None:
        """`root` is the models root R. `owner`, the node's name, is written into the lock for others to read."""
        self._fs = filesystem or FileSystem()
        self._fs.confine(root)
        self._clock: Clock = clock or RealClock()
        self._root = ModelsRoot(root, owner=owner, filesystem=self._fs)
        self.root = root
        self.models = self._root.models
        self._models = os.fspath(self.models)
        self.staging = self._root.staging
        self.trash = self._root.trash
        self.notes = self._root.notes
        self.marker = self._root.marker
        self._beneath = Beneath(root)
        self._ledger = Ledger(self.notes, self._fs)
        self._trash = Trash(self.trash, self._fs, self._clock)
        self._publisher = Publisher(self._root, filesystem=self._fs, ledger=self._ledger, trash=self._trash)
        self._names = Listing(self.models, set)
        self._staged = Listing(self.staging, storage_keys)
        self._mutex = threading.RLock()

    # opening -----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """The root is held, and its marker was there the last time `open` looked. Does not touch the disk."""
        return self._root.is_open

    def open(self, downloaded: Mapping[str, str] | None = None) -> list[str]:
        """Takes the root and finishes what a crash cut short. Cheap where it is open already; call it before each pass.

        `downloaded` (storage key -> URI) are the models that this node's status calls downloaded. They matter only
        where the marker is missing: a root that holds one of them was filled by KServe's agent, and those folders are
        adopted (where the URI is not empty); a root that holds none is taken for a disk that is not mounted. Returns
        the keys adopted now.

        Raises StoreLockedError, RootNotMountedError, RootMissingError and other StoreErrors; the store is closed then.
        A root that cannot be written but was used before is open all the same, and `problem` tells why.
        """
        uris = downloaded or {}
        with self._mutex, disk_errors(self.models):
            found = self._root.open(uris, forget=self._ledger.reset, finish=lambda found: self._finish(found, uris))
            manifests = {key: self._ledger.manifest(key) for key in found}
            return [key for key, manifest in manifests.items() if manifest is not None and manifest.adopted]

    def _finish(self, found: list[str], uris: Mapping[str, str]) -> None:
        self._ledger.clean()
        for key in self.staged_keys():
            self._publisher.recover(key, self.check)
        for key in found:
            self._adopt(key, uris[key])

    def close(self) -> None:
        """Gives the root back. Idempotent."""
        self._root.close()

    def problem(self) -> StoreError | None:
        """What forbids to write to the open root, as far as the kernel tells without a write; None if nothing does."""
        with disk_errors(self.models):
            return self._root.problem()

    @property
    def leftovers(self) -> list[str]:
        """What was discarded and cannot be deleted: path, cause and what to do."""
        return self._trash.stuck

    def _adopt(self, key: str, uri: str) -> None:
        """Believes a folder of KServe's agent, which leaves no proof: only at the first opening of a root. One with a
        manifest is ours already, which only the marker got lost of."""
        if self._ledger.manifest(key) is not None:
            return
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

    def recall(self, key: str) -> ModelManifest | None:
        """The manifest as a look at the disk has shown it last: for who asks about each model in each pass."""
        with disk_errors(self.models):
            return self._ledger.recall(key)

    def recorded(self, key: str) -> KeyRecord:
        """The key's record; an empty one where it cannot be read, of which who asks for it itself is told why."""
        try:
            return self.record(key)
        except StoreError as error:
            log.debug("a record cannot be read", storage_key=key, error=str(error))
            return KeyRecord()

    def references(self, key: str) -> tuple[Reference, ...]:
        """The caches that are or were known to want the model, as far as the books can be read."""
        try:
            manifest = self.recall(key)
        except StoreError as error:
            log.debug("a manifest cannot be read", storage_key=key, error=str(error))
            manifest = None
        references = self.recorded(key).references
        # Mostly the same.
        more = manifest.references if manifest is not None and manifest.references != references else ()
        return (*references, *more)

    def check(self, key: str) -> FolderState:
        """Whether the model is whole: a manifest, and its files with their sizes. Costs one stat per file."""
        with disk_errors(self.models):
            folder = f"{self._models}/{key}"
            try:
                found = os.lstat(folder)
            except FileNotFoundError:
                return FolderState("absent")
            if not stat.S_ISDIR(found.st_mode):
                return FolderState("incomplete", "a file or link stands in its place")
            manifest = self._ledger.manifest(key)
            if manifest is None or self._publisher.is_unfinished(key, manifest, found.st_ino):
                return FolderState("incomplete", "it was never verified")
            difference = manifest.damaged or tree.first_difference(folder, manifest.files)
            return FolderState("incomplete", difference, manifest) if difference else self._ledger.whole(key, manifest)

    def staged_keys(self) -> list[str]:
        """Storage keys with a staging directory."""
        with disk_errors(self.models):
            return sorted(self._staged.read())

    def known_keys(self) -> frozenset[str]:
        """Storage keys that are ours by a manifest, a staging directory, or a record that caches stand in."""
        with disk_errors(self.models):
            return self._ledger.keys() | self._staged.read()

    def unknown_directories(self, wanted: Collection[str]) -> list[str]:
        """Names in `models/` that are neither known nor wanted: older versions' folders, `lost+found`, what somebody
        put there. They are only reported, never deleted (D-01, D-14)."""
        with disk_errors(self.models):
            ours = self.known_keys().union(wanted, (path.name for path in (self.staging, self.trash, self.notes)))
            return sorted(self._names.read() - ours)

    def usage(self) -> DiskUsage:
        """The room on the volume and what the models take of it. Walks only what has no manifest."""
        with disk_errors(self.models):
            staged = {key: tree.disk_size(self.staging / key) for key in self.staged_keys()}
            return measure(
                self.models,
                room=self._fs.room(self.models),
                staged=staged,
                discarded=tree.disk_size(self.trash),
                size_of=self._known_size,
            )

    def _known_size(self, key: str) -> int | None:
        try:
            manifest = self._ledger.recall(key)
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

    def read_note(self, name: str) -> bytes | None:
        """A file of the agent's own beside the manifests, None where there is none. For any thread."""
        with disk_errors(self.models):
            return self._ledger.read_note(name)

    def write_note(self, name: str, data: bytes) -> None:
        """Replaces such a file. For any thread, as long as each file has one writer."""
        with disk_errors(self.models):
            self._ledger.write_note(name, data)

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
                self._trash.discard(folder, key)
            if not folder.is_dir():
                self._fs.make_directory(folder, DIRECTORY_MODE)
            return folder

    def _is_resumable(self, folder: Path, uri: str) -> bool:
        if folder.is_symlink() or not os.access(folder, os.W_OK | os.X_OK):
            return False
        progress = self.progress(folder.name)
        return (progress is not None and progress.uri == uri) or not any(folder.iterdir())

    def progress(self, key: str) -> Progress | None:
        """What our own download says of itself, or None where it says nothing (yet) that can be understood."""
        # Imported here: an idle agent never needs it.
        from localmodel.download.progress import Progress, progress_path

        try:
            data = self._beneath.read(progress_path(self.staging / key), limit=_PROGRESS_BYTES)
            progress = msgspec.json.decode(data, type=Progress)
        except (OSError, msgspec.DecodeError, RecursionError):
            return None
        # A foreign image may bring such a file from the source: no number goes on that a status could not hold.
        numbers = progress.bytes_done, progress.bytes_total, progress.files_done, progress.files_total
        return progress if all(0 <= (number or 0) <= _MOST for number in numbers) else None

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
        VerificationError and WrongOwnerError, and then nothing of the model has changed.
        """
        with disk_errors(self.models):
            self._publisher.make_way(key)
        manifest = self._manifest_of(key, publication, self.verify(key, publication))
        with self._mutex, disk_errors(self.models):
            return self._publisher.publish(key, manifest)

    def add_digests(self, key: str, manifest: ModelManifest, digests: Mapping[str, str]) -> bool:
        """Completes a manifest that lacks digests (of a foreign image, an adopted folder) by those of its files; False,
        and nothing changes, where it is no longer the key's. For any thread."""
        entries = tuple(FileEntry(path=file.path, size=file.size, sha256=digests[file.path]) for file in manifest.files)
        whole = msgspec.structs.replace(manifest, files=entries, digest=compute_digest(entries))
        with self._if_still(key, manifest) as holds:
            if holds:
                self._ledger.write_manifest(whole)
        return holds

    def condemn(self, key: str, manifest: ModelManifest, detail: str) -> bool:
        """Marks a model as not whole, for good, though its names and sizes fit: its content does not. The folder stays
        for pods that have it until another takes its place. False, and nothing changes, where the manifest is no longer
        the key's. For any thread."""
        with self._if_still(key, manifest) as holds:
            if holds:
                self._ledger.write_manifest(msgspec.structs.replace(manifest, damaged=detail))
        return holds

    @contextmanager
    def _if_still(self, key: str, manifest: ModelManifest) -> Iterator[bool]:
        with self._mutex, disk_errors(self.models):
            yield self.is_open and self.check(key).is_complete and self._ledger.manifest(key) == manifest

    def remove(self, key: str) -> None:
        """Takes a model, what was staged for it and its manifest away; the record keeps only its attempt counter.

        The caller has made sure that nothing uses it. `empty_trash` frees the room.
        """
        with self._mutex, disk_errors(self.models):
            if os.path.lexists(self.models / key):
                self._trash.discard(self.models / key, key)
            self._ledger.forget_manifest(key)
            if os.path.lexists(self.staging / key):
                self._trash.discard(self.staging / key, key)
            self._fs.sync_directory(self.models)
        attempt = self.record(key).attempt
        self.write_record(key, KeyRecord(attempt=attempt, outcome="removed" if attempt else ""))

    def evict(self, key: str, record: KeyRecord, holders: Holders) -> None:
        """Takes a whole model away; the record says so. The caller has made sure that nothing uses it.

        The record is written first: where a crash comes between, the model is found whole and was not evicted. Only a
        full disk may have room for the record when the model is gone; a crash then makes it a model that was lost.
        """
        is_written = True
        try:
            self.write_record(key, record)
        except DiskFullError:
            is_written = False
        with self._mutex, disk_errors(self.models):
            self._trash.discard(self.models / key, key)
            self._fs.sync_directory(self.models)
            if is_written:
                self._ledger.forget_manifest(key)
                return
            self._trash.empty(holders)
            self._ledger.forget_manifest(key)
        self.write_record(key, record)

    def discard_leftovers(self, key: str, *, staged: bool, folder: bool) -> None:
        """Takes away what was staged for a key, and a folder that is not whole. The caller has made sure that no
        download writes, and that nothing has the folder mounted."""
        with self._mutex, disk_errors(self.models):
            if staged and os.path.lexists(self.staging / key):
                self._trash.discard(self.staging / key, key)
            if folder and os.path.lexists(self.models / key) and not self.check(key).is_complete:
                self._trash.discard(self.models / key, key)
            self._fs.sync_directory(self.models)

    def disown(self, key: str) -> None:
        """What is here of a key counts no more: its folder is not complete again until another takes its place, and
        what was staged is discarded. The caller has made sure that no download writes."""
        with self._mutex, disk_errors(self.models):
            self._ledger.forget_manifest(key)
            if os.path.lexists(self.staging / key):
                self._trash.discard(self.staging / key, key)
        record = self.record(key)
        self.write_record(
            key,
            KeyRecord(
                uri=record.uri,
                attempt=record.attempt,
                outcome="removed",
                references=record.references,
                last_used_time=record.last_used_time,
                wanted_time=record.wanted_time,
                want_answered=record.want_answered,
            ),
        )

    def empty_trash(self, holders: Holders = NO_HOLDERS) -> int:
        """Deletes what was discarded, except what a pod may still have mounted; the number of things deleted.

        One item that cannot be deleted does not stop the others: see `leftovers`.
        """
        with disk_errors(self.models):
            return self._trash.empty(holders)
