"""A download from plan to manifest: resolve, make room, transfer in parallel, unpack, make durable, bear witness.

All sources pass through here, so what a user can rely on holds for each of them: a download that was cut off at any
point goes on from the bytes it has; a file that is in place and right is not fetched again; what the source replaced in
between is replaced here; and `manifest.json` exists only while everything it lists is in DEST, whole and on disk.

The state lies in `DEST/.localmodel/`: `lock` (one download per destination), `plan.json` (the paths this program has
set out to write, so that only its own leftovers are ever removed), `parts/`, `progress.json`, `manifest.json`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import msgspec
import structlog

from localmodel.download.archive import unpack
from localmodel.download.atomic import sync_directory, write_atomically
from localmodel.download.clock import Clock
from localmodel.download.digests import RunningDigest
from localmodel.download.errors import (
    DestinationError,
    DownloadError,
    IntegrityError,
    InvalidURIError,
    NotFoundError,
    redact_uri,
)
from localmodel.download.filters import PathFilter
from localmodel.download.manifest import NOTES_DIR, FileEntry, Manifest, manifest_path
from localmodel.download.options import DownloadOptions
from localmodel.download.progress import Progress, ProgressTracker
from localmodel.download.redaction import Redactor
from localmodel.download.retry import with_retries
from localmodel.download.sources import source_for
from localmodel.download.sources.base import ArchiveKind, Plan, PlannedFile, Source
from localmodel.download.throttle import Throttle
from localmodel.download.transfer import (
    FileTransfer,
    TransferContext,
    free_bytes,
    no_space,
    part_path,
    parts_dir,
    place_file,
)

log = structlog.get_logger(__name__)


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """`plan.json`: for which URI this program set out to write which paths into DEST."""

    uri: str
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Seams:
    """What tests replace: writing to a part, and asking for the free space."""

    write: Callable[[int, bytes | memoryview], int] = os.write
    free_bytes: Callable[[Path], int] = free_bytes


_SYSTEM = Seams()


class Engine:
    """One download of one URI into one directory. `run` is called once."""

    def __init__(
        self,
        *,
        uri: str,
        dest: Path,
        env: Mapping[str, str],
        clock: Clock,
        on_progress: Callable[[Progress], None] | None = None,
        source: Source | None = None,
        seams: Seams = _SYSTEM,
    ) -> None:
        """`source` stands in for the one that the URI names."""
        self._uri = uri
        self._dest = dest
        self._env = env
        self._clock = clock
        self._source = source
        self._seams = seams
        self._stop = threading.Event()
        self._tracker = ProgressTracker(uri=uri, dest=dest, clock=clock, on_progress=on_progress)

    def run(self) -> Manifest:
        """Downloads and returns the manifest that now lies in DEST. Raises DownloadError, and reports it as progress.

        Interrupted by any other exception (a signal's), it stops its threads at their next chunk and leaves all parts.
        """
        redact = Redactor(self._env)
        self._prepare()
        with self._locked():
            try:
                return self._download()
            except DownloadError as error:
                error.name_uri(redact_uri(self._uri))
                self._tracker.enter("failed", message=redact(str(error)))
                raise
            except OSError as error:
                failure = DestinationError(f"cannot use {self._dest}: {error}")
                self._tracker.enter("failed", message=redact(str(failure)))
                raise failure from error
            except BaseException as error:
                self._tracker.enter("failed", message=redact(str(error)) or "the download was interrupted")
                raise
            finally:
                self._stop.set()

    def _download(self) -> Manifest:
        self._tracker.enter("resolving")
        options = DownloadOptions.from_env(self._env)
        wanted = PathFilter.from_env(self._env)
        source = self._source or source_for(self._uri, env=self._env, options=options)
        plan = with_retries(source.resolve, options=options, clock=self._clock, stop=self._stop)
        if plan.archive is None:
            plan = replace(plan, files=tuple(file for file in plan.files if wanted.wants(file.path)))
        if not plan.files:
            raise NotFoundError(f"{redact_uri(self._uri)} has no file that the patterns let through")
        log.info("resolved", uri=redact_uri(self._uri), revision=plan.revision, files=len(plan.files))
        previous = self._previous_manifest(plan)
        manifest_path(self._dest).unlink(missing_ok=True)

        self._tracker.enter("verifying")
        kept = self._files_in_place(plan, previous)
        if plan.archive is None:
            self._record([file.path for file in plan.files])
            fetched = self._transfer(plan, {entry.path for entry in kept}, options)
        elif previous is not None and len(kept) == len(previous.files):
            fetched = []
        else:
            self._transfer(plan, set(), options)
            kept, fetched = [], self._unpack(plan.files[0], plan.archive, wanted)
        return self._finish(plan, [*kept, *fetched])

    def _prepare(self) -> None:
        try:
            parts_dir(self._dest).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DestinationError(f"cannot create {self._dest}: {error.strerror or error}") from error
        if (self._dest / NOTES_DIR).is_symlink():
            raise DestinationError(f"{self._dest / NOTES_DIR} is a link; remove it")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the destination's lock, which the system takes back if this process dies."""
        with (self._dest / NOTES_DIR / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise DestinationError(f"cannot lock {self._dest}: {error.strerror}") from error
                raise DestinationError(f"another download is writing into {self._dest}; wait until it ends") from error
            yield

    # What is there already

    def _previous_manifest(self, plan: Plan) -> Manifest | None:
        """What an earlier run completed, if it was the same URI at the same, known revision."""
        try:
            manifest = Manifest.read(manifest_path(self._dest))
        except (OSError, ValueError, DownloadError):
            return None  # none, or none that can be relied on: the files are then judged by the plan alone
        same = manifest.uri == self._uri and manifest.revision == plan.revision and plan.revision is not None
        return manifest if same else None

    def _files_in_place(self, plan: Plan, previous: Manifest | None) -> list[FileEntry]:
        """The files in DEST that are what the plan, or for lack of digests the earlier manifest, says they must be."""
        earlier = {entry.path: entry for entry in previous.files} if previous else {}
        self._tracker.plan(bytes_total=_total(plan.files), files_total=len(plan.files))
        if plan.archive is not None:
            found = [self._check(entry.path, size=entry.size, sha256=entry.sha256) for entry in earlier.values()]
            return [entry for entry in found if entry is not None]
        kept = []
        for file in plan.files:
            sha256 = file.sha256
            if not file.has_digest and file.path in earlier:
                sha256 = earlier[file.path].sha256
            entry = self._check(file.path, size=file.size, sha256=sha256, git_sha1=file.git_sha1)
            if entry is not None:
                kept.append(entry)
                self._tracker.found(entry.size)
                self._tracker.file_done()
        return kept

    def _check(
        self, name: str, *, size: int | None, sha256: str | None, git_sha1: str | None = None
    ) -> FileEntry | None:
        """The entry of the file at this path, or None unless it is there and has the size and a digest as given."""
        path = self._plain(name)
        if path is None or (sha256 is None and git_sha1 is None) or not path.is_file():
            return None
        actual_size = path.stat().st_size
        if size not in (None, actual_size):
            return None
        digest = RunningDigest(git_size=None if git_sha1 is None else actual_size)
        digest.update_from(path)
        if sha256 not in (None, digest.sha256) or git_sha1 not in (None, digest.git_sha1):
            return None
        return FileEntry(path=name, size=digest.size, sha256=digest.sha256)

    def _plain(self, name: str) -> Path | None:
        """The path of a file in DEST, or None if a link stands on the way: what is behind it is not ours."""
        path = self._dest / name
        return path if path.resolve() == self._dest.resolve() / name else None

    def _record(self, paths: list[str]) -> None:
        """Notes which paths are about to be written, and removes what an earlier run of this URI wrote beyond them."""
        path = self._dest / NOTES_DIR / "plan.json"
        try:
            earlier = msgspec.json.decode(path.read_bytes(), type=_Record)
        except (OSError, msgspec.DecodeError):
            earlier = _Record(uri=self._uri, paths=())
        if earlier.uri == self._uri:
            for stale in set(earlier.paths) - set(paths):
                target = self._plain(stale)
                if target is not None and target.is_file():
                    log.info("removing a file that the source no longer has", path=stale)
                    target.unlink()
        record = _Record(uri=self._uri, paths=tuple(sorted(paths)))
        write_atomically(path, msgspec.json.encode(record), durable=True)

    # What is missing

    def _transfer(self, plan: Plan, done: set[str], options: DownloadOptions) -> list[FileEntry]:
        missing = [file for file in plan.files if file.path not in done]
        self._drop_foreign_parts(missing)
        self._check_space(missing)
        context = TransferContext(
            dest=self._dest,
            options=options,
            clock=self._clock,
            stop=self._stop,
            tracker=self._tracker,
            throttle=Throttle(bytes_per_second=options.max_bytes_per_second, clock=self._clock),
            write=self._seams.write,
            free_bytes=self._seams.free_bytes,
            keep_as_part=plan.archive is not None,
        )
        self._tracker.enter("downloading")
        # Largest first: the longest file decides when all are done.
        missing.sort(key=lambda file: (-(file.size or 0), file.path))
        executor = ThreadPoolExecutor(max_workers=options.parallel_files, thread_name_prefix="transfer")
        orderly = False
        try:
            futures = [executor.submit(FileTransfer(file, context=context).run) for file in missing]
            wait(futures, return_when=FIRST_EXCEPTION)
            orderly = True
            return _results(futures)
        finally:
            # One file that failed for good stops the others at their next chunk, and they are waited for: a later
            # download must not meet a thread of this one. Only when the process is being ended nobody waits.
            self._stop.set()
            executor.shutdown(wait=orderly, cancel_futures=True)

    def _drop_foreign_parts(self, missing: list[PlannedFile]) -> None:
        """Removes parts that nothing in this plan continues: of another revision, or of files that are in place."""
        ours = {part_path(self._dest, file) for file in missing}
        for part in parts_dir(self._dest).iterdir():
            if part not in ours:
                part.unlink()

    def _check_space(self, missing: list[PlannedFile]) -> None:
        needed = 0
        for file in missing:
            part = part_path(self._dest, file)
            needed += max((file.size or 0) - (part.stat().st_size if part.exists() else 0), 0)
        self._reserve(needed)

    def _reserve(self, needed: int) -> None:
        free = self._seams.free_bytes(self._dest)
        if needed > free:
            raise no_space(self._dest, needed=needed, free=free)

    def _unpack(self, file: PlannedFile, kind: ArchiveKind, wanted: PathFilter) -> list[FileEntry]:
        """Puts what the archive holds into DEST, all of it once all is unpacked, and removes the archive."""
        self._tracker.enter("verifying", message=f"unpacking {file.path}")
        packed = part_path(self._dest, file)
        scratch = self._dest / NOTES_DIR / "unpacked"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            entries = unpack(packed, kind, name=file.path, into=scratch, wants=wanted.wants, reserve=self._reserve)
            if not entries:
                raise NotFoundError(f"{redact_uri(self._uri)} has no file that the patterns let through")
            self._record([entry.path for entry in entries])
            for entry in entries:
                place_file(scratch / entry.path, dest=self._dest, path=entry.path)
        except (IntegrityError, InvalidURIError):
            packed.unlink()  # it will not get better
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        packed.unlink()
        return entries

    def _finish(self, plan: Plan, entries: list[FileEntry]) -> Manifest:
        """Makes the renames durable and writes the manifest, in that order."""
        self._tracker.enter("verifying")
        manifest = Manifest.of(uri=self._uri, revision=plan.revision, files=entries)
        for directory in sorted({parent for entry in entries for parent in PurePosixPath(entry.path).parents}):
            sync_directory(self._dest / directory)
        manifest.write(manifest_path(self._dest))
        self._tracker.enter("done")
        log.info("downloaded", uri=redact_uri(self._uri), files=len(manifest.files), bytes=manifest.total_size)
        return manifest


def _results(futures: list[Future[FileEntry]]) -> list[FileEntry]:
    """The results, or the error that ended the first of them."""
    for future in futures:
        if future.done() and (failure := future.exception()) is not None:
            raise failure
    return [future.result() for future in futures]


def _total(files: tuple[PlannedFile, ...]) -> int | None:
    sizes = [file.size for file in files if file.size is not None]
    return sum(sizes) if len(sizes) == len(files) else None
