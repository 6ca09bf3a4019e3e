"""Models that no entry asks for any more: their downloads, their folders, their keys in the status.

An entry that vanishes is no proof that the model is unwanted: a label may have slipped for a minute. So the cache is
asked. Gone or being deleted: the model goes at once. Still there: it is kept for a grace period. In neither case is a
folder touched that a pod has mounted or a download still writes, and never one that is not ours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from localmodel.api.names import status_key
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import Job, ObjectKey

from .caches import is_wanted_by
from .context import Pass
from .errors import StoreError
from .jobs import SOURCE_URI_ANNOTATION
from .manifest import KeyRecord, Reference
from .observation import cache_of, storage_key_of
from .podlook import PodLook
from .runs import Runs
from .store import ModelStore

ASK_SECONDS: Final = 300.0
"""How long it holds that a cache still names a model which no entry asks for, while no entry changes."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Removed:
    """What a round of removals leaves to report: status keys whose download is not gone yet, and when to look again."""

    lingering: set[str] = field(default_factory=set)
    look_again: timedelta | None = None
    failed: bool = False
    """Something failed that may go better soon."""
    storage: StoreError | None = None
    """The first thing that the disk refused: the next pass tries again."""

    def sooner(self, wait: timedelta) -> None:
        self.look_again = wait if self.look_again is None else min(self.look_again, wait)


class Removal:
    """Removes what is not wanted. See the module."""

    def __init__(self, *, live: Reader, store: ModelStore, runs: Runs, clock: Clock, look: PodLook) -> None:
        self._live = live
        self._store = store
        self._runs = runs
        self._clock = clock
        self._look = look
        self._kept: dict[str, tuple[timedelta, float]] = {}
        """Storage key -> the part of its grace that was over when this process saw it first, and when that was by the
        monotonic clock: no change of the time of day ends a grace or prolongs it."""
        self._wanted: dict[str, float] = {}
        """Storage key -> when (monotonic) one of its caches was last found to name it, under this generation."""
        self._generation: int | None = None
        self._in_use: set[str] = set()
        """Keys of which it was told that they are kept for being in use."""

    def run(self, current: Pass, wanted: Collection[str]) -> Removed:
        """One round over all known storage keys but the wanted ones. A failure at one key does not stop the others."""
        outcome = Removed()
        candidates = (self._store.known_keys() | {storage_key_of(job) for job in current.jobs}) - set(wanted)
        self._kept = {key: kept for key, kept in self._kept.items() if key in candidates}
        if current.node.metadata.generation != self._generation:
            self._generation, self._wanted = current.node.metadata.generation, {}
        self._wanted = {key: asked for key, asked in self._wanted.items() if key in candidates}
        self._in_use = {key for key in self._in_use if key in candidates and key in current.in_use}
        for key in sorted(candidates):
            try:
                self._one(key, current, outcome)
            except RuntimeLibraryError as error:
                outcome.failed = True
                log.warning("cannot remove a model, trying again soon", storage_key=key, error=str(error))
            except StoreError as error:
                outcome.storage = outcome.storage or error
                log.warning("cannot remove a model, trying again in the next pass", storage_key=key, error=str(error))
        return outcome

    def _one(self, key: str, current: Pass, outcome: Removed) -> None:
        jobs = [job for job in current.jobs if storage_key_of(job) == key]
        record = self._record(key, jobs)
        # What no cache can be asked about gets the grace too.
        keep = not record.references or self._is_wanted(key, record)
        if keep and not self._grace_is_over(key, record, current, outcome):
            outcome.lingering |= self._runs.caches(key, current)
            return
        outcome.lingering |= {_key_of(job) for job in jobs} | self._runs.caches(key, current)
        if not self._runs.end(key, current):
            log.info("waiting for a download to end before its model is removed", storage_key=key)
        elif key not in self._store.known_keys():
            return
        elif key not in current.in_use and not self._look.look(current):
            outcome.failed = True
        elif key in current.in_use:
            if key not in self._in_use:
                log.info("keeping a model that is no longer wanted but in use", storage_key=key, uri=record.uri)
            self._in_use.add(key)
        else:
            log.info("removing a model", storage_key=key, uri=record.uri)
            self._store.remove(key)

    def _record(self, key: str, jobs: Sequence[Job]) -> KeyRecord:
        """What is written down about the key; where that is lost, what its manifest or Jobs tell."""
        record = self._store.record(key)
        if record.references:
            return record
        manifest = self._store.manifest(key)
        if manifest is not None and manifest.references:
            return msgspec.structs.replace(record, uri=manifest.uri, references=manifest.references)
        references = tuple(Reference(namespace=cache_of(job).namespace, model=cache_of(job).name) for job in jobs)
        uri = next((job.metadata.annotations.get(SOURCE_URI_ANNOTATION, "") for job in jobs), "")
        return msgspec.structs.replace(record, uri=record.uri or uri, references=references)

    def _is_wanted(self, key: str, record: KeyRecord) -> bool:
        """Whether a cache still names the model.

        A yes holds for a while: each pod that comes or goes makes a pass, and a node may keep hundreds of models that
        no entry asks for.
        """
        now = self._clock.monotonic()
        if now - self._wanted.get(key, float("-inf")) < ASK_SECONDS:
            return True
        if not any(self._is_wanted_by(cache, record.uri) for cache in record.references):
            return False
        self._wanted[key] = now
        return True

    def _is_wanted_by(self, reference: Reference, uri: str) -> bool:
        return is_wanted_by(self._live, ObjectKey(reference.namespace, reference.model), uri, unless_told=True)

    def _grace_is_over(self, key: str, record: KeyRecord, current: Pass, outcome: Removed) -> bool:
        grace = timedelta(seconds=current.config.local_model.unreferenced_grace_seconds)
        since = record.unreferenced_since
        if key not in self._kept:
            over = max(current.now - since, timedelta(0)) if since is not None else timedelta(0)
            self._kept[key] = over, self._clock.monotonic()
        if since is None:
            self._note(key, msgspec.structs.replace(record, unreferenced_since=current.now))
            log.info("keeping a model that no entry asks for", storage_key=key, uri=record.uri, grace=str(grace))
        over, seen = self._kept[key]
        left = grace - over - timedelta(seconds=self._clock.monotonic() - seen)
        if left <= timedelta(0):
            return True
        outcome.sooner(left)
        return False

    def _note(self, key: str, record: KeyRecord) -> None:
        """Writes down when the grace began, for the next process. On a full disk it ends without that."""
        try:
            self._store.write_record(key, record)
        except StoreError as error:
            log.warning("cannot note since when a model is not wanted", storage_key=key, error=str(error))


def _key_of(job: Job) -> str:
    cache = cache_of(job)
    return status_key(cache.name, cache.namespace)
