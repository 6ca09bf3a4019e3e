"""Events go an hour after they were last written, as with kube-apiserver's --event-ttl.

The server sweeps before it answers a request about events; nobody else can tell when they went. What a data directory
holds is counted from the times in the events themselves.
"""

from __future__ import annotations

import heapq
import threading
from datetime import datetime, timedelta
from typing import Any

import msgspec

from localmodel.runtime.listwatch import WatchEvent, WatchOptions
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry
from localmodel.runtime.testing.store import RevisionMismatchError

from .ages import parse_time

Json = dict[str, Any]

EVENT_TTL = timedelta(hours=1)


class EventExpiry:
    """Removes the events of a registry that are past their time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        # Every write of an event adds an entry; one whose revision is no longer the event's says nothing.
        self._deadlines: list[tuple[datetime, str, str, int]] = []
        self._started = False

    def start(self) -> None:
        """Begins with the events that are there."""
        options = WatchOptions(timeout_seconds=2**31, allow_bookmarks=False)
        self._registry.watch(self._events(), options, self._on_event)
        self._started = True

    def _events(self) -> ResourceDefinition:
        found = self._registry.lookup("", "v1", "events")
        if found is None:
            raise LookupError("events are not registered")
        return found

    def _on_event(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            return
        obj: Json = msgspec.json.decode(event.object)
        metadata, now = obj["metadata"], self._registry.clock.now()
        written = now if self._started else _last_time(obj) or now
        entry = (written + EVENT_TTL, metadata["namespace"], metadata["name"], int(metadata["resourceVersion"]))
        with self._lock:
            heapq.heappush(self._deadlines, entry)

    def sweep(self) -> int:
        """Removes what is due; how many events that were."""
        now, removed = self._registry.clock.now(), 0
        while True:
            with self._lock:
                if not self._deadlines or self._deadlines[0][0] > now:
                    return removed
                _, namespace, name, revision = heapq.heappop(self._deadlines)
            removed += self._remove(namespace, name, revision)

    def _remove(self, namespace: str, name: str, revision: int) -> bool:
        resource = self._events().resource
        entry = self._registry.store.get(resource, namespace, name)
        if entry is None or entry.revision != revision:
            return False
        last: Json = msgspec.json.decode(entry.value)

        def encode(at: int) -> bytes:
            last["metadata"]["resourceVersion"] = str(at)
            return msgspec.json.encode(last)

        try:
            self._registry.store.delete(resource, namespace, name, encode, expected=revision)
        except RevisionMismatchError:
            return False
        return True


def _last_time(event: Json) -> datetime | None:
    """When an event that was loaded was last written, as far as it says so itself."""
    said = (
        event["metadata"].get("creationTimestamp"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        (event.get("series") or {}).get("lastObservedTime"),
    )
    return max((time for text in said if text and (time := parse_time(text)) is not None), default=None)
