"""Room on the disk: applies what `eviction` plans, in each pass and before each download (design.md section 7).

`begin` notes uses and requests, and removes what is due: models whose time to live is over, and what a disk above its
high watermark must lose. `plan` says whether a download may start and what it displaces, `make_room` removes that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import msgspec
import structlog

from localmodel.api.names import GROUP_LIMITS_ANNOTATION
from localmodel.api.node import LocalModelInfo
from localmodel.runtime.clock import Clock
from localmodel.runtime.events import EventRecorder

from .context import Pass
from .decisions import Decision, JobState, Reason, Wanted, entry_key
from .errors import EvictedError, InsufficientStorageError
from .eviction import Disk, Item, Kind, Request, admit, fits_low, relieve
from .evictor import Evictor, annotated
from .growth import Growth, told_size
from .inventory import Inventory, Round, Situations, is_busy
from .limits import Bounds
from .manifest import KeyRecord
from .metrics import AgentMetrics
from .podlook import PodLook
from .requirements import Requirements, declared_size, required_size
from .runs import Runs
from .space import measured, promised, shortage
from .store import ModelStore
from .usetimes import UseTimes

SETTLE_SECONDS: Final = 30.0
"""Some file systems give deleted room back only after a while: the volume is measured again before more is removed."""
_LONGEST_SECONDS: Final = 86400.0
"""Anybody can write a ttlSecondsAfterLastUse that no timedelta can be."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """A download may start: its size in bytes, and what must go first."""

    size: int
    displaced: Sequence[Item] = ()


class Capacity:
    """The room of one node. See the module. Raises StoreError where the disk fails."""

    def __init__(
        self,
        *,
        store: ModelStore,
        requirements: Requirements,
        runs: Runs,
        recorder: EventRecorder,
        metrics: AgentMetrics,
        clock: Clock,
        look: PodLook,
    ) -> None:
        self._store = store
        self._requirements = requirements
        self._clock = clock
        self._uses = UseTimes(store, clock)
        self._inventory = Inventory(store=store, requirements=requirements, uses=self._uses)
        self._evictor = Evictor(
            store=store,
            requirements=requirements,
            inventory=self._inventory,
            recorder=recorder,
            metrics=metrics,
            look=look,
        )
        self._growth = Growth(
            store=store,
            runs=runs,
            recorder=recorder,
            evictor=self._evictor,
            request=self._request,
            disk=self._promised,
        )
        self._short: set[str] = set()
        """Keys whose download found no room when it was last tried."""
        self._node_groups: set[str] = set()
        """Those that the entries of this pass come from."""
        self._settles_until = float("-inf")
        self.look_again: timedelta | None = None
        """When something is due that no event tells, as the last `begin` found."""

    # each pass -------------------------------------------------------------------------------------------------------

    def begin(self, groups: Sequence[Wanted], situations: Situations, current: Pass) -> None:
        """The round of one pass, before downloads act. What changes is changed in `situations`, too.

        Raises StoreError, and ApiError and TransportError where a download cannot be ended.
        """
        self.look_again = None
        around = Round(
            current=current,
            groups={wanted.key: wanted for wanted in groups},
            situations=situations,
            short=self._short,
        )
        self._short &= around.groups.keys()
        self._node_groups = {entry.node_group for wanted in groups for entry in (*wanted.sharing, *wanted.refused)}
        self._evictor.begin(around)
        self._requirements.limits.begin(current.node.metadata.annotations.get(GROUP_LIMITS_ANNOTATION, ""))
        self._requirements.fields.refresh(entry for wanted in groups for entry in wanted.sharing)
        self._note(around)
        self._growth.watch(around)
        self._end_lives(around)
        self._relieve(around)
        self._evictor.take_displaced()  # Nothing was said of them in this pass.

    def changed(self, key: str) -> None:
        """A model was published in this pass, or counts no more."""
        self._evictor.around.refresh(key, self._store)

    def take_displaced(self) -> set[str]:
        """Keys of the models that were evicted since this was asked last: what was said of them is out of date."""
        return self._evictor.take_displaced()

    def disk(self, current: Pass) -> Disk:
        """The disk as it was measured last, under the limits as they are known; under pressure with what lies on it."""
        disk = measured(current.usage, self.bounds(current), ())
        if not disk.is_under_pressure:
            return disk
        return measured(current.usage, self.bounds(current), self._inventory.items(self._evictor.around))

    def bounds(self, current: Pass) -> Bounds:
        """The limits of the groups that this node's entries come from."""
        return self._requirements.limits.bounds(self._node_groups, current.config.local_model)

    def order(self, groups: Sequence[Wanted], situations: Situations, current: Pass) -> list[Wanted]:
        """The order in which to act: first what is done, then downloads by priority, then those of models that a
        workload wants, then the smaller.

        Who finds no room holds nobody up: the next may start if it fits. A smaller one of lower priority cannot starve
        a larger, which displaces it as soon as that makes enough room.
        """
        wants = annotated(current) | current.in_use.named.keys()

        def rank(wanted: Wanted) -> tuple[bool, int, bool, int, str]:
            situation, folder = situations[wanted.key]
            if folder.is_complete or situation.job is JobState.SUCCEEDED:
                return False, 0, False, 0, wanted.key
            size = situation.record.size or declared_size(self._requirements.fields.recall(wanted.leader)) or 0
            return True, -self._inventory.policy(wanted).priority, wanted.key not in wants, size, wanted.key

        return sorted((wanted for wanted in groups if wanted.key in situations), key=rank)

    def _note(self, around: Round) -> None:
        current, situations = around.current, around.situations
        known = self._store.known_keys()
        present = {key for key in known if key not in situations or situations[key][0].folder != "absent"}
        for key in self._uses.note(current.in_use, present):
            around.set_record(key, self._store.record(key))
        self._uses.keep(known)
        for key in situations:
            self._note_request(around, key)

    def _note_request(self, around: Round, key: str) -> None:
        """An evicted model becomes a request when a workload wants it; each standing of the annotation counts once."""
        situation, folder = around.situations[key]
        current, record = around.current, situation.record
        if record.evicted is None and not record.want_answered:
            return
        is_annotated = key in annotated(current)
        asked = key in current.in_use.named or (is_annotated and not record.want_answered)
        changed = msgspec.structs.replace(record, want_answered=is_annotated and (record.want_answered or asked))
        if record.is_evicted and asked and not folder.is_complete:
            changed = msgspec.structs.replace(changed, wanted_time=current.now)
            log.info("an evicted model is wanted again", uri=around.groups[key].uri, storage_key=key)
        if changed != record:
            self._store.write_record(key, changed)
            around.set_record(key, changed)

    # what is removed without a download asking -----------------------------------------------------------------------

    def _end_lives(self, around: Round) -> None:
        """Models that nobody has used for their ttlSecondsAfterLastUse."""
        for key, wanted in around.groups.items():
            if key not in around.situations or self._left_of_life(wanted) != 0.0:
                continue
            ended = self._evictor.settled(partial(self._expired, wanted))
            life = self._inventory.policy(wanted).ttl
            why = f"no pod has used it for {life} s (ttlSecondsAfterLastUse)"
            self._evictor.remove(ended or (), "ttl", why)

    def _left_of_life(self, wanted: Wanted) -> float | None:
        """Seconds; None where there is no end. A model that just came, or was just used, lives a minimum time."""
        folder = self._evictor.around.situations[wanted.key][1]
        if not folder.is_complete or folder.manifest is None:
            return None
        policy = self._inventory.policy(wanted)
        if policy.ttl is None or policy.is_pinned or wanted.key in self._evictor.around.current.in_use:
            return None
        minimum = self._evictor.around.current.config.local_model.eviction_minimum_idle_seconds
        idle, _ = self._uses.idle(wanted.key, folder.manifest.published_time)
        left = max(policy.ttl, minimum) - idle
        if left > 0:
            self._sooner(left)
        return max(left, 0.0)

    def _expired(self, wanted: Wanted) -> list[Item]:
        if self._left_of_life(wanted) != 0.0:
            return []
        items = self._inventory.items(self._evictor.around)
        return [item for item in items if item.key == wanted.key and item.kind is Kind.MODEL and not item.kept]

    def _relieve(self, around: Round) -> None:
        before = self._without_ending(around.current)
        if not before.is_under_pressure:
            return
        waits = self._settles_until - self._clock.monotonic()
        if waits > 0 and not before.models.is_high:
            self._sooner(waits)
            return
        why = "models took more than the high watermark" if before.models.is_high else "the volume was filling up"
        removed = self._evictor.settled(lambda: relieve(self._without_ending(around.current)))
        if removed:
            self._evictor.remove(removed, "room", why)
            self._settles_until = self._clock.monotonic() + SETTLE_SECONDS

    def _without_ending(self, current: Pass) -> Disk:
        """The disk without what downloads have written that were given up and are being ended: no model goes for it."""
        staged = current.usage.staged
        given_up = (key for key in staged if is_busy(current, key) and self._store.record(key).outcome == "failed")
        disk = self.disk(current)
        return disk.changed(-sum(staged[key] for key in given_up), disk.items)

    def _sooner(self, seconds: float) -> None:
        wait = timedelta(seconds=min(seconds, _LONGEST_SECONDS))
        self.look_again = wait if self.look_again is None else min(self.look_again, wait)

    # downloads -------------------------------------------------------------------------------------------------------

    def hold(self, wanted: Wanted, record: KeyRecord) -> Decision | None:
        """Why an evicted model does not come back now; None where it may, or was never evicted. Reads nothing."""
        if not record.is_evicted or record.evicted is None:
            return None
        has_ended = record.evicted.cause == "ttl" and self._inventory.policy(wanted).ttl is not None
        if not has_ended and fits_low(self._promised(wanted.key, with_items=False), record.size):
            return None
        return Decision(reason=Reason.EVICTED, message=record.evicted.message)

    def plan(self, wanted: Wanted, entry: LocalModelInfo, record: KeyRecord) -> Room:
        """Room for a download, under the limits as they were last read.

        Raises InsufficientStorageError, EvictedError, and DownloadSetupError for a size that cannot be read.
        """
        around = self._evictor.around
        request = self._request(wanted, record, self._size(wanted, entry, record))
        if record.is_evicted and record.evicted is not None:
            if fits_low(self._promised(wanted.key, with_items=False), request.size):
                return Room(request.size)
            raise EvictedError(record.evicted.message)
        disks: list[Disk] = []

        def look() -> list[Item] | None:
            disks.append(self._promised(wanted.key))
            return admit(disks[-1], request)

        displaced = self._evictor.settled(look)
        if displaced is None:
            self._short.add(wanted.key)
            reserved = sum(size for key, size in around.current.reserved.items() if key != wanted.key)
            raise InsufficientStorageError(shortage(request.size, disks[-1], reserved))
        self._short.discard(wanted.key)
        return Room(request.size, displaced)

    def make_room(self, wanted: Wanted, room: Room) -> None:
        """Removes what the plan says."""
        self._evictor.remove(
            room.displaced, "room", f"{entry_key(wanted.leader)} needed the room", requester=wanted.key
        )

    def _size(self, wanted: Wanted, entry: LocalModelInfo, record: KeyRecord) -> int:
        """The best that is known: what our downloader was told, what the model had here, what its caches declare.

        Of several caches the least counts: none keeps the model from the others by what it makes up. A download that
        turns out larger is promised more (`growth`).
        """
        others = [e for e in (*wanted.sharing, *wanted.claimants) if entry_key(e) != entry_key(entry)]
        sizes = [declared_size(it) or 0 for it in (entry, *map(self._requirements.fields.recall, others))]
        declared = min((size for size in sizes if size > 0), default=0) or max(required_size(entry), 0)
        is_staged = wanted.key in self._evictor.around.current.usage.staged
        told = told_size(self._store, wanted.key, wanted.uri) if is_staged else None
        return told or record.size or declared

    def _request(self, wanted: Wanted, record: KeyRecord, size: int) -> Request:
        is_waited_for = wanted.key in self._evictor.around.current.in_use.named
        return Request(
            key=wanted.key,
            size=size,
            priority=self._inventory.policy(wanted).priority,
            age=0.0 if is_waited_for or record.wanted_time is None else self._uses.waiting(wanted.key),
            stays=self._stays(wanted),
        )

    def _stays(self, wanted: Wanted) -> bool:
        """Once it is here no watermark removes it."""
        return self._inventory.policy(wanted).is_pinned or wanted.key in self._evictor.around.current.in_use.named

    def _coming(self, key: str) -> Iterator[Item]:
        """The models that others download and that may be removed once they are here."""
        around = self._evictor.around
        for other, size in around.current.reserved.items():
            wanted = around.groups.get(other)
            if other == key or wanted is None or self._stays(wanted):
                continue
            priority = self._inventory.policy(wanted).priority
            yield Item(key=other, kind=Kind.MODEL, size=size, priority=priority)

    def _promised(self, key: str, *, with_items: bool = True) -> Disk:
        current = self._evictor.around.current
        return promised(
            key,
            usage=current.usage,
            reserved=current.reserved,
            bounds=self.bounds(current),
            items=self._inventory.items(self._evictor.around, key) if with_items else (),
            coming=self._coming(key) if with_items else (),
        )
