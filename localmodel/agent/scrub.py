"""Reading models again in the background: digests that a foreign image did not deliver, and bit rot.

Names and sizes are proof enough to publish a model, and are all that a pass looks at. Whether the bytes are still those
that were downloaded only reading them tells, all of them: neither times nor inodes move when a disk forgets. So one
thread reads one model after another, at a bounded rate, each once in an interval, and past the kernel's memory of the
file. What it finds altered is marked on the disk as not whole; the reconciler downloads it again as it would a model
that lost a file.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from localmodel.api.config import LocalModelConfig
from localmodel.download.manifest import FileEntry
from localmodel.runtime.clock import Clock, RealClock

from . import tree
from .errors import StoreError, disk_errors
from .manifest import ModelManifest
from .pace import Pace, yield_disk
from .scrubbook import ScrubBook
from .store import ModelStore

_LOST: Final = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})
"""What a disk answers that cannot give back what was written."""
_NOTE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 60.0
_GLANCE_SECONDS: Final = 2.0
"""Between two looks at the configuration, which may shorten the time until the next."""
_PUT_OFF_SECONDS: Final = 3600.0

log = structlog.get_logger(__name__)


class ScrubMetrics:
    """Documented in docs/metrics.md."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Without a registry nothing is shown."""
        self.read = Counter(
            "localmodel_agent_scrub_bytes", "Bytes of models that were read to verify them", registry=registry
        )
        self.models = Counter(
            "localmodel_agent_scrub_models",
            "Models that were read to their end or until damage was found",
            ("result",),
            registry=registry,
        )
        self.due = Gauge(
            "localmodel_agent_scrub_due_models", "Models whose next scrub should have begun", registry=registry
        )
        for result in ("whole", "damaged"):
            self.models.labels(result)


@dataclass(frozen=True, slots=True)
class Damage:
    """A model whose content is not what was downloaded. `detail` names the file."""

    key: str
    uri: str
    detail: str


class _ChangedError(Exception):
    """The model was removed or replaced while it was read."""


class Scrubber:
    """A runnable of the manager."""

    need_leader_election = False

    def __init__(
        self,
        store: ModelStore,
        *,
        config: Callable[[], LocalModelConfig] = LocalModelConfig,
        report: Callable[[Damage], object] = lambda _: None,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`config` is asked again and again; `report` hears of each model that was marked, in this thread."""
        self._store = store
        self._config = config
        self._report = report
        self._clock: Clock = clock or RealClock()
        self._metrics = ScrubMetrics(registry)
        self._book = ScrubBook(store)
        self._pace = Pace(self._clock, rate=lambda: self._config().scrub_rate)
        self._noted = 0.0
        """When the book last heard of the model that is being read (monotonic)."""
        self._put_off: dict[str, float] = {}
        """Storage key -> when (monotonic) a model is tried again that could not be read."""

    def start(self, stop: threading.Event) -> None:
        """Blocks until `stop` is set. Looks for something to do once a minute, or as often as the interval asks for."""
        yield_disk()
        looked = self._clock.monotonic()
        while not self._clock.wait_event(stop, _GLANCE_SECONDS):
            interval = self._config().scrub_interval_seconds or _LOOK_SECONDS
            if self._clock.monotonic() - looked >= min(interval, _LOOK_SECONDS):
                self.run_once(stop)
                looked = self._clock.monotonic()

    def run_once(self, stop: threading.Event) -> None:
        """Reads every model that is due. One that cannot be read is left for the next time."""
        self._book.forget()
        try:
            if not self._store.is_open or self._store.problem() is not None:
                return  # What is found could not be noted, and would be read again and again.
            for key in self._without_digests():
                self._guarded(key, self._add_digests, stop)
            for key in self._due():
                self._guarded(key, self._scrub, stop)
        except InterruptedError:
            log.debug("reading models was interrupted")
        except StoreError as error:
            log.warning("models not read, trying again later", error=str(error))

    def _guarded(
        self, key: str, work: Callable[[str, ModelManifest, threading.Event], None], stop: threading.Event
    ) -> None:
        if self._clock.monotonic() < self._put_off.get(key, float("-inf")):
            return
        self._put_off.pop(key, None)
        try:
            state = self._store.check(key)
            if state.is_complete and state.manifest is not None:
                with disk_errors(self._store.models):
                    work(key, state.manifest, stop)
        except _ChangedError:
            log.debug("the model changed while it was read", storage_key=key)
        except StoreError as error:
            self._put_off[key] = self._clock.monotonic() + _PUT_OFF_SECONDS
            log.warning("model not read, trying again later", storage_key=key, error=str(error))

    # digests -----------------------------------------------------------------------------------------------------

    def _without_digests(self) -> list[str]:
        return [key for key, manifest in self._manifests().items() if not manifest.digest]

    def _add_digests(self, key: str, manifest: ModelManifest, stop: threading.Event) -> None:
        digests = {file.path: file.sha256 or self._digest(key, file, stop, from_disk=False) for file in manifest.files}
        if self._store.add_digests(key, manifest, digests):
            log.info("digests computed", storage_key=key)

    # scrubbing ---------------------------------------------------------------------------------------------------

    def _due(self) -> list[str]:
        """Longest unread first."""
        interval = timedelta(seconds=self._config().scrub_interval_seconds)
        if not interval:
            self._metrics.due.set(0)
            return []
        now = self._clock.now()
        due = {
            key: self._book.last_read(key, manifest)
            for key, manifest in self._manifests().items()
            if manifest.digest and self._book.is_due(key, manifest, now=now, interval=interval)
        }
        self._metrics.due.set(len(due))
        return sorted(due, key=lambda key: (not self._is_begun(key), due[key], key))

    def _is_begun(self, key: str) -> bool:
        manifest = self._store.manifest(key)
        return manifest is not None and self._book.files_done(key, manifest) > 0

    def _scrub(self, key: str, manifest: ModelManifest, stop: threading.Event) -> None:
        done = self._book.files_done(key, manifest)
        log.info("scrub begins", storage_key=key, bytes=manifest.total_size, files_done=done)
        self._noted = self._clock.monotonic()
        for number, file in enumerate(manifest.files[done:], done + 1):
            if not self._config().scrub_interval_seconds:
                raise InterruptedError
            detail = self._damage(key, file, stop)
            if detail:
                self._condemn(key, manifest, detail)
                return
            if self._clock.monotonic() - self._noted >= _NOTE_SECONDS:
                self._book.note_files(key, manifest, number)
                self._noted = self._clock.monotonic()
        self._book.note_end(key, manifest, self._clock.now(), known=self._store.known_keys())
        self._metrics.models.labels("whole").inc()
        self._metrics.due.dec()
        log.info("scrub ended, the model is whole", storage_key=key)

    def _damage(self, key: str, file: FileEntry, stop: threading.Event) -> str:
        """What is wrong with a file; empty if nothing is. Read twice before it is said: memory errs, too."""
        detail = ""
        for _ in range(2):
            try:
                found = self._digest(key, file, stop, from_disk=True)
            except OSError as error:
                if error.errno not in _LOST:
                    raise
                detail = f"{file.path} cannot be read any more: {os.strerror(error.errno)}"
                continue
            if found == file.sha256:
                return ""
            detail = f"{file.path} has changed on the disk: its digest is sha256:{found}, not sha256:{file.sha256}"
        return detail

    def _condemn(self, key: str, manifest: ModelManifest, detail: str) -> None:
        if not self._store.condemn(key, manifest, detail):
            raise _ChangedError
        self._metrics.models.labels("damaged").inc()
        self._metrics.due.dec()
        log.error("a model is damaged and will be downloaded again", storage_key=key, uri=manifest.uri, detail=detail)
        self._report(Damage(key, manifest.uri, detail))

    # both --------------------------------------------------------------------------------------------------------

    def _manifests(self) -> dict[str, ModelManifest]:
        found = {}
        for key in sorted(self._store.known_keys()):
            try:
                manifest = self._store.manifest(key)
            except StoreError as error:
                log.debug("a manifest cannot be read", storage_key=key, error=str(error))
                continue
            if manifest is not None and not manifest.damaged:
                found[key] = manifest
        return found

    def _digest(self, key: str, file: FileEntry, stop: threading.Event, *, from_disk: bool) -> str:
        def on_block(size: int) -> None:
            self._metrics.read.inc(size)
            if not self._store.is_open:
                raise InterruptedError
            self._pace.spend(size, stop)

        try:
            return tree.file_digest(self._store.models / key, file.path, on_block=on_block, from_disk=from_disk)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _ChangedError from error
