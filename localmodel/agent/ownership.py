"""Whose download is it? What one cache's credentials brought to the disk is no other cache's (D-16, D-17).

A key's record names its owners: the caches that shared the download, all with the same credentials and selection of
files. While one of them asks for the model it stays theirs, also if it changes its credentials. A cache with others
gets it only when no owner wants it any more, or none has had an entry on this node for a while, and then by a download
of its own.
"""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec

from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.objects import ObjectKey, format_time

from .cachefields import is_pruned
from .caches import is_wanted_by
from .context import Pass
from .credentials import fingerprint, selection
from .decisions import Decision, Reason, Wanted, entry_key
from .manifest import FolderState, KeyRecord
from .proofs import remembered
from .runs import Runs
from .sharing import is_proved, tries_of
from .store import ModelStore
from .usetimes import Ages


def is_owned_by(record: KeyRecord, wanted: Wanted, folder: FolderState) -> bool:
    """Whether the entries may use what the record is about: it has no owner, or they are it, or are as good as it.

    A failed download is only theirs with whose credentials it failed: others, and changed ones, begin anew.
    """
    if not record.owners or record.credentials == fingerprint(wanted.leader):
        return True
    if record.outcome == "failed" or _selects_others(record, wanted, folder):
        return False
    return any(entry_key(entry) in record.owners or is_proved(record, entry) for entry in wanted.sharing)


def _selects_others(record: KeyRecord, wanted: Wanted, folder: FolderState) -> bool:
    """The leader's cache has been changed since and asks for other files, or another revision of them.

    One that only names the digest of what is here, or none any more, has what it asks for. Of an entry that KServe's
    CRD has pruned nobody can tell by the entry.
    """
    entry = wanted.leader
    if is_pruned(entry) or selection(entry) == record.selection:
        return False
    files = json.loads(record.selection)[:-1] if record.selection else ["", [], []]
    if folder.manifest is None or files != [entry.revision, entry.include, entry.exclude]:
        return True
    return entry.digest not in ("", folder.manifest.digest)


def with_owners(record: KeyRecord, wanted: Wanted) -> KeyRecord:
    """The record of a download that belongs to these entries."""
    owners = tuple(sorted(entry_key(entry) for entry in wanted.sharing))
    chosen = record.selection if is_pruned(wanted.leader) else selection(wanted.leader)
    print_ = fingerprint(wanted.leader)
    return msgspec.structs.replace(
        record,
        owners=owners,
        owners_absent_since=None,
        credentials=print_,
        selection=chosen,
        checks=record.checks if print_ == record.credentials else remembered(record, wanted),
    )


class Handover:
    """Takes a key from owners that have gone, so that others may download it."""

    def __init__(self, *, live: Reader, store: ModelStore, runs: Runs, clock: Clock) -> None:
        self._live = live
        self._store = store
        self._runs = runs
        self._ages = Ages(clock)
        self._looks: list[timedelta] = []
        """When claims end that held in this pass."""

    def run(self, wanted: Wanted, record: KeyRecord, folder: FolderState, current: Pass) -> Decision | None:
        """Why that must wait; None once the key is free. The folder stays for pods that have it, and counts no more.

        What a failed download left is nobody's: then it is the turn of others, whoever owned it. Nor does anybody own
        what is not here, and not under way; nor what none of the owners has had an entry for on this node since
        `unreferencedGraceSeconds`, though their caches stand.
        """
        is_there = folder.is_complete or wanted.key in self._runs.under_way(current)
        owners = record.owners if is_there and record.outcome != "failed" else ()
        # An owner that has an entry and does not lead has been changed, and asks for other files now.
        present = {entry_key(entry) for entry in (*wanted.sharing, *wanted.claimants, *wanted.refused)}
        absent = [ObjectKey.parse(owner) for owner in owners if owner not in present]
        grace = timedelta(seconds=current.config.local_model.unreferenced_grace_seconds)
        left = self._left(wanted.key, record, grace, current) if absent else timedelta(0)
        for owner in absent if left > timedelta(0) else ():
            if is_wanted_by(self._live, owner, wanted.uri):
                self._looks.append(left)
                until = (record.owners_absent_since or current.now) + grace
                return Decision(
                    reason=Reason.CREDENTIALS_DIFFER,
                    message=f"{wanted.uri} is on this node for {owner} with other credentials, revision or patterns; "
                    f"use the same to share it, or wait: {owner} has no entry on this node now, and unless that comes "
                    f"back it is downloaded anew after {format_time(until)}",
                )
        if not self._runs.stop(wanted.key, current):
            return Decision(message="waiting for a download with other credentials to end")
        self._store.disown(wanted.key)
        self._remember(wanted, record)
        return None

    def next_look(self) -> timedelta | None:
        """When to run again although no event comes: the first claim ends that held since this was asked last."""
        looks, self._looks = self._looks, []
        return min(looks, default=None)

    def _left(self, key: str, record: KeyRecord, grace: timedelta, current: Pass) -> timedelta:
        """What is left of the grace of absent owners, which begins now if it has not; no clock that jumps ends it."""
        since = record.owners_absent_since
        if since is None:
            since = current.now
            self._store.write_record(key, msgspec.structs.replace(record, owners_absent_since=since))
        return grace - timedelta(seconds=self._ages.since(key, since))

    def _remember(self, wanted: Wanted, before: KeyRecord) -> None:
        """Keeps when each of the credentials may be tried again, in place of what is true of the last ones only."""
        tries = tries_of(before)
        ours = tries.pop(fingerprint(wanted.leader), None)
        failures = ours.failures if ours is not None else 0
        record = self._store.record(wanted.key)
        present = {fingerprint(entry) for entry in (*wanted.claimants, *wanted.refused)}
        kept = tuple(it for key, it in sorted(tries.items()) if key in present)
        self._store.write_record(wanted.key, msgspec.structs.replace(record, tries=kept, failures=failures))
