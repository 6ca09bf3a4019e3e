"""Computing the digests that a foreign download image did not deliver, in the background.

Names and sizes are proof enough to publish a model; its digests are for those who compare copies. Reading a model again
takes long, so it happens in a thread of its own, one model after another, and never holds up a pass.
"""

from __future__ import annotations

import threading

import structlog

from localmodel.runtime.clock import Clock, RealClock

from .errors import StoreError
from .store import ModelStore

log = structlog.get_logger(__name__)


class DigestWorker:
    """A runnable of the manager."""

    need_leader_election = False

    def __init__(self, store: ModelStore, *, interval: float = 60.0, clock: Clock | None = None) -> None:
        """`interval`: seconds between two looks for models without digests."""
        self._store = store
        self._interval = interval
        self._clock: Clock = clock or RealClock()

    def start(self, stop: threading.Event) -> None:
        """Blocks until `stop` is set."""
        while not self._clock.wait_event(stop, self._interval):
            if self._store.is_open:
                self.run_once(stop)

    def run_once(self, stop: threading.Event) -> None:
        """Completes every manifest that lacks digests. A model that cannot be read is left for the next time."""
        try:
            for key in sorted(self._store.known_keys()):
                self._complete(key, stop)
        except InterruptedError:
            log.debug("computing digests was interrupted")
        except StoreError as error:
            log.warning("digests not computed, trying again later", error=str(error))

    def _complete(self, key: str, stop: threading.Event) -> None:
        try:
            manifest = self._store.manifest(key)
            lacking = manifest is not None and not manifest.digest
            if lacking and self._store.complete_digests(key, stop=stop.is_set):
                log.info("digests computed", storage_key=key)
        except StoreError as error:
            log.warning("digests not computed, trying again later", storage_key=key, error=str(error))
