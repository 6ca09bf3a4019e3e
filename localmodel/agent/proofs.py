"""How long a proof of credentials holds: while its cache has an entry on the node, and for a grace after that.

A proof is of credentials at a time. It is not repeated while the cache stays (docs/security.md), but a cache that comes
back after `unreferencedGraceSeconds` is checked like one that comes for the first time: its rights may have ended, and
it may be another cache of that name. A label that slips for a minute costs nobody a check. Pure functions.

When an absence begins is written down; how long it was is asked when the cache is back, so nothing is due in between.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from .decisions import Wanted, entry_key
from .manifest import Check, KeyRecord


def noted(record: KeyRecord, wanted: Wanted, now: datetime, grace: timedelta) -> KeyRecord:
    """The record with when caches of its checks were missed first, and without checks of those that stayed away, or
    have come back, too late.

    A clock that went back begins a grace anew.
    """
    if not record.checks:
        return record
    present = {entry_key(entry) for entry in (*wanted.sharing, *wanted.claimants, *wanted.refused)}
    kept = []
    for check in record.checks:
        is_there = check.entry in present
        since = now if check.absent_since is None else min(check.absent_since, now)
        if now - since < grace or (is_there and check.absent_since is None):
            kept.append(msgspec.structs.replace(check, absent_since=None if is_there else since))
    return msgspec.structs.replace(record, checks=tuple(kept))


def remembered(record: KeyRecord, wanted: Wanted) -> tuple[Check, ...]:
    """The record's checks, with those whose download it was before others took it over: it has proved as much.

    Only what is published proves anything.
    """
    known = {entry_key(entry) for entry in wanted.sharing} | {check.entry for check in record.checks}
    left = [name for name in record.owners if name not in known] if record.outcome == "published" else []
    if not left:
        return record.checks
    made = [Check(entry=name, credentials=record.credentials, proved=True) for name in left]
    return tuple(sorted([*record.checks, *made], key=lambda check: check.entry))
