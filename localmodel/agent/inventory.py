"""The things of ours on the disk, as the planner of evictions sees them: one `Item` each, with why it must stay.

Between what a pass observed (situations, pods, Jobs, use times, policies of entries) and `eviction`, which knows
numbers only. What is not ours is in no list, so nothing can decide to remove it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from localmodel.api.model import EvictionPolicy
from localmodel.api.node import LocalModelInfo

from . import tree
from .context import Pass
from .decisions import JobState, Situation, Wanted
from .errors import InsufficientStorageError
from .eviction import Item, Kind
from .manifest import FolderState, KeyRecord
from .observation import is_unfinished
from .requirements import Requirements
from .store import ModelStore
from .usetimes import UseTimes

RESUMED_SOON: Final = timedelta(minutes=5)
"""What a failed download has left is kept if the next try is due within that time."""
IN_USE: Final = "in use"
PINNED: Final = "pinned by evictionPolicy Never"
JUST_USED: Final = "used a short while ago"
UNREADABLE: Final = "whose cache cannot be read now"
BLIND: Final = "possibly in use, as the API server does not tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the entries of a model say together. `ttl` in seconds, None for none."""

    priority: int = 0
    is_pinned: bool = False
    ttl: int | None = None


def policy_of(entries: Iterable[LocalModelInfo]) -> Policy:
    """The highest priority counts, any Never, and the longest time to live: none, if one of them has none."""
    found = list(entries)
    lives = [entry.ttl_seconds_after_last_use for entry in found]
    return Policy(
        priority=max((entry.priority for entry in found), default=0),
        is_pinned=any(entry.eviction_policy == EvictionPolicy.NEVER for entry in found),
        ttl=None if None in lives else max((life for life in lives if life is not None), default=None),
    )


Situations = dict[str, tuple[Situation, FolderState]]


@dataclass(slots=True, kw_only=True)
class Round:
    """One pass of `capacity`, with what it has found out for certain."""

    current: Pass
    groups: Mapping[str, Wanted]
    situations: Situations
    """By storage key, of all wanted models that could be looked at; kept up to date as things are removed."""
    confirmed: set[str] = field(default_factory=set)
    """Keys whose policies are certain."""
    unreadable: set[str] = field(default_factory=set)
    gone: set[tuple[Kind, str]] = field(default_factory=set)
    """What was removed in this pass."""
    short: set[str] = field(default_factory=set)
    """Keys whose download found no room when it was last tried."""
    changes: int = 0
    """How often `situations` has changed."""

    @property
    def state(self) -> tuple[object, ...]:
        """All that decides in one pass what there is to remove: while it is equal, so are the items."""
        staged = frozenset(self.current.usage.staged)
        counts = self.changes, len(self.gone), len(self.confirmed), len(self.unreadable)
        kept = staged & self.short, staged & self.current.reserved.keys()
        return *counts, self.current.has_looked, self.current.is_blind, id(self.current.in_use), staged, *kept

    def set_record(self, key: str, record: KeyRecord) -> None:
        """The key's record has changed."""
        self.changes += 1
        if key in self.situations:
            situation, folder = self.situations[key]
            self.situations[key] = replace(situation, record=record), folder

    def refresh(self, key: str, store: ModelStore) -> None:
        """The key's folder has changed."""
        self.changes += 1
        folder = store.check(key)
        situation = replace(
            self.situations[key][0], folder=folder.kind, folder_detail=folder.detail, record=store.record(key)
        )
        self.situations[key] = situation, folder


class Inventory:
    """Makes lists of items. Raises StoreError."""

    def __init__(self, *, store: ModelStore, requirements: Requirements, uses: UseTimes) -> None:
        self._store = store
        self._requirements = requirements
        self._uses = uses
        self._made: tuple[Round, tuple[object, ...], tuple[Item, ...]] | None = None
        """The items made last, with what they were made of: a pass with many downloads that wait asks for each."""

    def policy(self, wanted: Wanted) -> Policy:
        """As well as it is known."""
        return policy_of(map(self._requirements.fields.recall, wanted.sharing))

    def items(self, around: Round, requester: str = "") -> tuple[Item, ...]:
        """All that is there. What was staged for the requester is not listed: its download goes on with it."""
        if requester in around.current.usage.staged:
            return self._make(around, requester)
        state = around.state
        if self._made is None or self._made[0] is not around or self._made[1] != state:
            self._made = around, state, self._make(around)
        return self._made[2]

    def _make(self, around: Round, requester: str = "") -> tuple[Item, ...]:
        found = [*self._wanted(around, requester), *self._unreferenced(around)]
        return tuple(item for item in found if item.size > 0 and (item.kind, item.key) not in around.gone)

    def _wanted(self, around: Round, requester: str) -> Iterator[Item]:
        for key, (_, folder) in around.situations.items():
            if folder.is_complete:
                yield self._model(around, key)
            size = self.broken_size(around, key) if not folder.is_complete else 0
            staged = around.current.usage.staged.get(key, 0) if key != requester else 0
            if staged and not self.may_discard_staged(around, key):
                yield Item(key=key, kind=Kind.LEFTOVER, size=staged, kept="still written, or resumed soon")
                staged = 0
            yield Item(key=key, kind=Kind.LEFTOVER, size=size + staged)

    def _model(self, around: Round, key: str) -> Item:
        folder = around.situations[key][1]
        assert folder.manifest is not None, "a folder is complete by its manifest"
        policy = self.policy(around.groups[key])
        idle, was_used = self._uses.idle(key, folder.manifest.published_time)
        kept = self._kept(around, key, idle if was_used else None)
        if kept in ("", JUST_USED) and policy.is_pinned:
            kept = PINNED
        if not kept and key in around.unreadable:
            kept = UNREADABLE
        return Item(
            key=key,
            kind=Kind.MODEL,
            size=folder.manifest.total_size,
            priority=policy.priority,
            idle=idle,
            kept=kept,
            kept_briefly=kept == JUST_USED,
        )

    def _kept(self, around: Round, key: str, idle: float | None) -> str:
        """`idle`: seconds since a pod used it, None if none did."""
        if key in around.current.in_use:
            return IN_USE
        if around.current.is_blind:
            return BLIND
        minimum = around.current.config.local_model.eviction_minimum_idle_seconds
        return JUST_USED if idle is not None and idle < minimum else ""

    def _unreferenced(self, around: Round) -> Iterator[Item]:
        for key in self._store.known_keys() - around.groups.keys():
            busy = is_busy(around.current, key) or key in around.current.reserved
            staged = around.current.usage.staged.get(key, 0)
            yield Item(key=key, kind=Kind.LEFTOVER, size=staged, kept="still written" if busy else "")
            manifest = self._store.manifest(key)
            if manifest is None or not (self._store.models / key).is_dir():
                continue
            idle, was_used = self._uses.idle(key, manifest.published_time)
            kept = self._kept(around, key, idle if was_used else None)
            yield Item(
                key=key,
                kind=Kind.UNREFERENCED,
                size=manifest.total_size,
                idle=idle,
                kept=kept or ("still written" if busy else ""),
                kept_briefly=kept == JUST_USED,
            )

    def broken_size(self, around: Round, key: str) -> int:
        """Bytes of a folder that is of no use; 0 where there is none, or a pod may have it mounted."""
        situation, folder = around.situations[key]
        if situation.folder != "incomplete" or key in around.current.in_use or around.current.is_blind:
            return 0
        size = tree.disk_size(self._store.models / key)
        return min(size, folder.manifest.total_size) if folder.manifest is not None else size

    def may_discard_staged(self, around: Round, key: str) -> bool:
        """No download writes there, and none is about to go on."""
        situation = around.situations[key][0] if key in around.situations else None
        if is_busy(around.current, key) or key in around.current.reserved:
            return False
        if situation is None:
            return key not in around.groups
        record = situation.record
        if situation.pod_runs or situation.job not in (JobState.NONE, JobState.SUCCEEDED, JobState.FAILED):
            return False
        if record.is_evicted or key in around.short:
            return True
        if record.outcome == "failed" and record.reason == InsufficientStorageError.reason:
            return True  # It was stopped for want of room.
        retry = record.next_retry_time
        return record.outcome == "failed" and retry is not None and retry - around.current.now > RESUMED_SOON


def is_busy(current: Pass, key: str) -> bool:
    """Some download of the key may still write."""
    jobs = any(map(is_unfinished, current.jobs_of(key)))
    return jobs or any(not pod.is_finished for pod in current.pods_of(key))
