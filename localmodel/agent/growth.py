"""Downloads that turn out larger than what they were promised: they are promised more, or stopped.

A cache declares a size, and may be wrong. Our downloader tells the real one when the source has told it; of a foreign
image one sees what it has written. Nothing that will not fit goes on, and the size is remembered for the next attempt.
Others make room for one that is wanted, and for none that no entry asks for any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from localmodel.runtime.events import EventRecorder

from .decisions import Wanted, entry_key
from .errors import InsufficientStorageError
from .eviction import Disk, Request, admit
from .evictor import Evictor
from .inventory import Round
from .manifest import KeyRecord
from .runs import Runs
from .space import human
from .store import ModelStore

_STEP: Final = 0.1
"""A download of unknown size that has outgrown its promise is promised so much more than it has written."""

log = structlog.get_logger(__name__)


class Growth:
    """Looks at the downloads under way. Raises StoreError; ApiError and TransportError where one cannot be ended."""

    def __init__(
        self,
        *,
        store: ModelStore,
        runs: Runs,
        recorder: EventRecorder,
        evictor: Evictor,
        request: Callable[[Wanted, KeyRecord, int], Request],
        disk: Callable[[str], Disk],
    ) -> None:
        """`request` and `disk`: what a download of that many bytes asks for, and the disk as it finds it."""
        self._store = store
        self._runs = runs
        self._recorder = recorder
        self._evictor = evictor
        self._request = request
        self._disk = disk

    def watch(self, around: Round) -> None:
        """Adjusts `Pass.reserved` and the records."""
        for key, amount in list(around.current.reserved.items()):
            record = self._record(key, around)
            if record is None or record.outcome:
                continue
            seen = self._seen(key, record.uri, around, amount)
            if seen <= amount:
                continue
            wanted = around.groups.get(key)
            may_go_on = self._fits(key, seen) if wanted is None else self._make_room(wanted, record, seen)
            if may_go_on:
                around.current.reserved[key] = seen
                self._write(around, key, msgspec.structs.replace(self._store.record(key), promised=seen))
            else:
                name = f"{entry_key(wanted.leader)}: " if wanted is not None else f"{record.uri}: "
                self._stop(key, record.uri, name, around, seen, amount)

    def _record(self, key: str, around: Round) -> KeyRecord | None:
        """None of what is wanted and could not be looked at."""
        if key in around.situations:
            return around.situations[key][0].record
        return None if key in around.groups else self._store.record(key)

    def _make_room(self, wanted: Wanted, record: KeyRecord, seen: int) -> bool:
        request = self._request(wanted, record, seen)
        displaced = self._evictor.settled(lambda: admit(self._disk(request.key), request))
        if displaced is None:
            return False
        why = f"{entry_key(wanted.leader)} turned out to be larger than its cache says"
        self._evictor.remove(displaced, "room", why, requester=wanted.key)
        return True

    def _fits(self, key: str, size: int) -> bool:
        return all(gauge.used + size <= gauge.high for gauge in self._disk(key).gauges)

    def _seen(self, key: str, uri: str, around: Round, amount: int) -> int:
        written = around.current.usage.staged.get(key, 0)
        told = told_size(self._store, key, uri) if written else None
        if told is not None:
            return told
        return int(written * (1 + _STEP)) if written > amount else 0

    def _stop(self, key: str, uri: str, name: str, around: Round, seen: int, amount: int) -> None:
        message = f"the download was stopped: it needs {human(seen)}, not {human(amount)}, and that does not fit"
        reason = InsufficientStorageError.reason
        # First the record: the next attempt is judged by the size that is known now, whatever becomes of this one.
        record = msgspec.structs.replace(
            self._store.record(key), outcome="failed", reason=reason, message=message, size=seen, promised=0
        )
        self._write(around, key, record)
        self._runs.stop(key, around.current)
        log.warning("download stopped", uri=uri, needs=seen, promised=amount)
        self._recorder.event(around.current.node, "Warning", reason, f"{name}{message}")

    def _write(self, around: Round, key: str, record: KeyRecord) -> None:
        self._store.write_record(key, record)
        around.set_record(key, record)


def told_size(store: ModelStore, key: str, uri: str) -> int | None:
    """The bytes that the model has in all, as our downloader was told by the source; None where it does not say."""
    progress = store.progress(key)
    return progress.bytes_total if progress is not None and progress.uri == uri else None
