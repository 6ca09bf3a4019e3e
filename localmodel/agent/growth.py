"""Downloads that turn out larger than what they were promised: they are promised more, or stopped.

A cache declares a size, and may be wrong. Our downloader tells the real one when the source has told it; of a foreign
image one sees what it has written. Nothing that will not fit goes on, and the size is remembered for the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import structlog

from localmodel.runtime.events import EventRecorder

from .decisions import Wanted, entry_key
from .errors import InsufficientStorageError
from .eviction import Disk, Item, Request, admit
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
            if key not in around.situations or around.situations[key][0].record.outcome:
                continue
            wanted = around.groups[key]
            seen = self._seen(wanted, around, amount)
            if seen <= amount:
                continue
            record = around.situations[key][0].record
            request = self._request(wanted, record, seen)
            displaced = self._evictor.settled(partial(self._admit, request))
            if displaced is None:
                self._stop(wanted, around, seen, amount)
                continue
            why = f"{entry_key(wanted.leader)} turned out to be larger than its cache says"
            self._evictor.remove(displaced, "room", why, requester=key)
            around.current.reserved[key] = seen
            self._write(around, key, msgspec.structs.replace(self._store.record(key), promised=seen))

    def _admit(self, request: Request) -> list[Item] | None:
        return admit(self._disk(request.key), request)

    def _seen(self, wanted: Wanted, around: Round, amount: int) -> int:
        written = around.current.usage.staged.get(wanted.key, 0)
        told = told_size(self._store, wanted) if written else None
        if told is not None:
            return told
        return int(written * (1 + _STEP)) if written > amount else 0

    def _stop(self, wanted: Wanted, around: Round, seen: int, amount: int) -> None:
        message = f"the download was stopped: it needs {human(seen)}, not {human(amount)}, and that does not fit"
        reason = InsufficientStorageError.reason
        # First the record: the next attempt is judged by the size that is known now, whatever becomes of this one.
        record = msgspec.structs.replace(
            self._store.record(wanted.key), outcome="failed", reason=reason, message=message, size=seen, promised=0
        )
        self._write(around, wanted.key, record)
        self._runs.stop(wanted.key, around.current)
        log.warning("download stopped", uri=wanted.uri, needs=seen, promised=amount)
        self._recorder.event(around.current.node, "Warning", reason, f"{entry_key(wanted.leader)}: {message}")

    def _write(self, around: Round, key: str, record: KeyRecord) -> None:
        self._store.write_record(key, record)
        around.set_record(key, record)


def told_size(store: ModelStore, wanted: Wanted) -> int | None:
    """The bytes that the model has in all, as our downloader was told by the source; None where it does not say."""
    progress = store.progress(wanted.key)
    return progress.bytes_total if progress is not None and progress.uri == wanted.uri else None
