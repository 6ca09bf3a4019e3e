"""Waves: at most `maxConcurrentDownloads` nodes of a group download at the same time, so that a thousand nodes never
run at the hub together.

A node *holds a slot* of a group while it has an entry of the group that its agent has yet to finish
(`reports.unfinished_groups`), is Ready and has an agent that is ready: otherwise it would hold it for ever. A node is
*admitted*, which means that it gets its first new entries of the group, only while fewer than the limit of other nodes
hold a slot. Entries that are there are never taken away for a wave.

The cache shows an admission a moment after it was written, so what was admitted is kept here until it is seen: with
several workers on a cache that is behind, the limit still holds. A restart may forget it, since a controller starts on
a cache that is synced. Nothing else is remembered that is not in the cluster but who waits, and that is only to wake
the right ones: whoever waits also looks again by itself (`TURN_CHECK_SECONDS`).
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from localmodel.api import LocalModelNode, LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock

from .known import find_node, has_agent
from .reports import Version, unfinished_groups, version_of

TURN_CHECK_SECONDS: Final = 60.0
"""How often a node that waits for its turn looks again, should it not be woken."""
UNSEEN_LIMIT_SECONDS: Final = 300.0
"""How long an admission counts that the cache never shows: the LocalModelNode was deleted before it was seen."""

FULL_SECONDS: Final = 5.0
"""How long a group that was full is taken to be so, unless a slot is seen to become free."""


def waits_in(group: LocalModelNodeGroup) -> str:
    """Why a node of the group has not got an entry yet, in a sentence; empty for a group without limit."""
    limit = group.spec.max_concurrent_downloads
    return f"waiting for its turn (maxConcurrentDownloads {limit} of group {group.name})" if limit > 0 else ""


@dataclass(slots=True)
class _Admission:
    """Slots given to a node that the cache may not show yet."""

    since: float
    """Monotonic seconds."""
    groups: set[str] = field(default_factory=set)
    uid: str = ""
    """Of the LocalModelNode that was written. Empty while it is being written, or when nobody knows if it was."""
    generation: int = 0

    def is_seen(self, version: Version) -> bool:
        """Whether what the cache shows of the node has the admission in it."""
        return bool(self.uid) and version.uid == self.uid and version.generation >= self.generation


class Waves:
    """Who may download now. Thread-safe; every method reads the cluster from the cache that it is given."""

    def __init__(self, namespace: str) -> None:
        """`namespace`: that of the agents' Pods."""
        self._namespace = namespace
        self._lock = threading.Lock()
        """Held from counting the slots until one is taken. Guards the fields below."""
        self._admitted: dict[str, _Admission] = {}
        """By node: admissions that have not been seen in the cache."""
        self._waiting: dict[str, set[str]] = {}
        """By group: the nodes that were refused for want of a slot, and only those that could use one."""
        self._full: dict[str, tuple[frozenset[str], float]] = {}
        """By group that was full when last counted: who held its slots, and until when that is believed. It may refuse
        too much, never too little, and is dropped when a slot becomes free."""

    def admit(
        self, node: str, limits: Mapping[str, int], *, reader: Reader, live: Reader, clock: Clock
    ) -> frozenset[str]:
        """Asks for a slot in each of these groups, given with their limits. Returns the groups that refuse for now.

        Called in each run of a node, with every group that has a new entry for it and a limit. The slots that are given
        count from now on; `wrote` or `forget` says what became of them, and after a write that said neither the next
        run asks the API server (`live`; raises what that raises). A node that is not Ready or has no agent is refused
        without waiting in line: that it comes is an event of its own.
        """
        self._ask(node, live)
        with self._lock:
            able = bool(limits) and self._is_able(node, reader)
            given = {name for name, limit in limits.items() if able and self._is_free(node, name, limit, reader, clock)}
            self._wait(node, limits.keys() - given if able else set())
            if given:
                admission = self._admitted.setdefault(node, _Admission(clock.monotonic()))
                admission.groups |= given
                admission.uid = ""
            return frozenset(limits.keys() - given)

    def wrote(self, node: LocalModelNode, clock: Clock) -> None:
        """This is what the API server answered to the write of the node's entries."""
        with self._lock:
            admission = self._admitted.get(node.name)
            if admission is not None:
                admission.since = clock.monotonic()
                admission.uid, admission.generation = node.metadata.uid, node.metadata.generation or 0

    def forget(self, node: str, uid: str = "") -> None:
        """The node is gone, or its write was refused, so it has no slot that the cache does not show.

        With a `uid`, only if that was the LocalModelNode's.
        """
        with self._lock:
            admission = self._admitted.get(node)
            if admission is not None and uid in ("", admission.uid):
                del self._admitted[node]
            if not uid:
                self._wait(node, set())

    def admitted_groups(self, node: str) -> frozenset[str]:
        """The groups in which the node was given a slot that the cache did not show when last looked at."""
        with self._lock:
            admission = self._admitted.get(node)
            return frozenset(admission.groups) if admission is not None else frozenset()

    def next_in_line(self, group: str, limit: int, *, reader: Reader, clock: Clock) -> list[str]:
        """The waiting nodes that could be admitted now, first by name: as many as there are free slots."""
        with self._lock:
            self._full.pop(group, None)
            waiting = self._waiting.get(group)
            if not waiting:
                return []
            free = limit - len(self._holders(group, reader, clock)) if limit else len(waiting)
            return heapq.nsmallest(free, waiting) if free > 0 else []

    def _ask(self, node: str, live: Reader) -> None:
        """Finds out what became of a write that failed without telling: the node is read before any other writes it."""
        with self._lock:
            admission = self._admitted.get(node)
            if admission is None or admission.uid:
                return
        found = live.find(LocalModelNode, node)
        with self._lock:
            if found is None:
                self._admitted.pop(node, None)
            else:
                admission.uid, admission.generation = found.metadata.uid, found.metadata.generation or 0

    def _is_free(self, node: str, group: str, limit: int, reader: Reader, clock: Clock) -> bool:
        """Whether the node holds a slot, or may. A full group is counted once, not once for each that it refuses."""
        now = clock.monotonic()
        full, until = self._full.get(group, (frozenset(), now))
        if now < until and len(full) >= limit and node not in full:
            return False
        holders = frozenset(self._holders(group, reader, clock))
        if node in holders or len(holders) < limit:
            return True
        self._full[group] = holders, now + FULL_SECONDS
        return False

    def _holders(self, group: str, reader: Reader, clock: Clock) -> set[str]:
        """The nodes that hold a slot of the group, those included that the cache does not show yet."""
        self._settle(reader, clock)
        names = {key.name for key in reader.parts(LocalModelNode, unfinished_groups, group)}
        names |= {name for name, admission in self._admitted.items() if group in admission.groups}
        return {name for name in names if self._is_able(name, reader)}

    def _settle(self, reader: Reader, clock: Clock) -> None:
        """Drops the admissions that the cache shows: from then on it says itself who holds a slot."""
        now = clock.monotonic()
        for name, admission in list(self._admitted.items()):
            old = now - admission.since > UNSEEN_LIMIT_SECONDS
            seen = reader.parts(LocalModelNode, version_of, name).values()
            if old or any(map(admission.is_seen, seen)):
                del self._admitted[name]

    def _is_able(self, node: str, reader: Reader) -> bool:
        """Whether the node can get anywhere with a download."""
        found = find_node(reader, node)
        return found is not None and found.is_ready and has_agent(reader, self._namespace, node) is not False

    def _wait(self, node: str, groups: set[str]) -> None:
        """The node waits in these groups, and in no others."""
        for group in groups:
            self._waiting.setdefault(group, set()).add(node)
        for group in self._waiting.keys() - groups:
            self._waiting[group].discard(node)
            if not self._waiting[group]:
                del self._waiting[group]
