"""When models were used, and how long ago: truth is in the records on the disk, since the API may prune what we say.

A use is a pod that has the model mounted. It is written down when it begins, when it ends and every five minutes
between, so that a crash forgets little. Ages are measured from what is written, by the monotonic clock since this
process first saw it: a time of day that jumps makes no model old.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

import msgspec
import structlog

from localmodel.runtime.clock import Clock

from .errors import StoreError
from .inuse import InUse
from .store import ModelStore

NOTE_SECONDS: Final = 300.0

log = structlog.get_logger(__name__)


class Ages:
    """Seconds since moments that were written down."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[datetime, float]] = {}
        """Name -> the moment, and what the monotonic clock showed then, by the time of day at first sight."""

    def since(self, name: str, moment: datetime) -> float:
        """How long the moment is ago, as well as this process can know; 0 for one that is still to come."""
        known = self._seen.get(name)
        monotonic = self._clock.monotonic()
        if known is None or known[0] != moment:
            age = max((self._clock.now() - moment).total_seconds(), 0.0)
            known = self._seen[name] = moment, monotonic - age
        return monotonic - known[1]

    def keep(self, names: Collection[str]) -> None:
        """Forgets others when there are more than these."""
        if len(self._seen) > len(names):
            self._seen = {name: seen for name, seen in self._seen.items() if name in names}


class UseTimes:
    """Notes uses; tells how long models have been idle and downloads have been waited for."""

    def __init__(self, store: ModelStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._ages = Ages(clock)
        self._publications = Ages(clock)
        self._requests = Ages(clock)
        self._using: set[str] = set()
        """Storage keys that were in use in the last pass."""

    def note(self, in_use: InUse, present: Iterable[str]) -> set[str]:
        """Writes down what the pods of this node tell; the keys whose record changed.

        `present` are the keys with something on the disk that a pod can use. What cannot be written is tried again.
        """
        there = set(present)
        used = {key for key in there if key in in_use}
        due = {key for key in used if key not in self._using or self._is_old(key)}
        ended = (self._using - used) & there
        failed = {key for key in due | ended if not self._write(key)}
        self._using = (used - (failed & due)) | (failed & ended)
        return (due | ended) - failed

    def _is_old(self, key: str) -> bool:
        last = self._store.record(key).last_used_time
        return last is None or self._ages.since(key, last) >= NOTE_SECONDS

    def _write(self, key: str) -> bool:
        try:
            record = self._store.record(key)
            self._store.write_record(key, msgspec.structs.replace(record, last_used_time=self._clock.now()))
        except StoreError as error:
            log.warning("cannot note when a model was used", storage_key=key, error=str(error))
            return False
        return True

    def idle(self, key: str, published: datetime) -> tuple[float, bool]:
        """Seconds since the last use, and True; since the publication, and False, where there was none after it."""
        last = self._store.record(key).last_used_time
        if last is not None and last >= published:
            return self._ages.since(key, last), True
        return self._publications.since(key, published), False

    def waiting(self, key: str) -> float:
        """Seconds since the model was first asked for."""
        wanted = self._store.record(key).wanted_time
        return self._requests.since(key, wanted) if wanted is not None else 0.0

    def keep(self, keys: Collection[str]) -> None:
        """Forgets all other keys."""
        self._ages.keep(keys)
        self._publications.keep(keys)
        self._requests.keep(keys)
