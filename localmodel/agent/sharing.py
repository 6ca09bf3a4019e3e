"""Which caches share one download of a URI, and whose credentials it uses.

One folder for each storage key, however many caches name the URI; but what one cache's credentials brought to the disk
is not every cache's (D-16), and one cache's wrong credentials are not everybody's failure (D-17). See design.md
section 4, "Credentials stay with their owner".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime
from typing import Final

import structlog

from localmodel.api.names import storage_key
from localmodel.api.node import LocalModelInfo

from .credentials import fingerprint, selection
from .decisions import Wanted, entry_key, is_before
from .errors import InsufficientStorageError
from .manifest import KeyRecord, Reference, Try

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)

log = structlog.get_logger(__name__)


def storage_key_of(entry: LocalModelInfo, isolation: str) -> str:
    """The folder of the entry's model. `isolation`: as configured (`storageIsolation`)."""
    return storage_key(entry.source_model_uri, entry.namespace if isolation == "namespace" else "")


class Grouping:
    """Groups entries in each pass. What nothing has changed of is the same object in the next one, so that all that was
    made of it can be kept, too."""

    def __init__(self, recorded: Callable[[str], KeyRecord]) -> None:
        """`recorded(key)` is what is known of a storage key."""
        self._recorded = recorded
        self._version: Hashable = None
        self._members: dict[str, list[LocalModelInfo]] = {}
        self._shares: dict[str, tuple[KeyRecord, Wanted]] = {}

    def of(
        self, entries: Iterable[LocalModelInfo], *, now: datetime, isolation: str, version: Hashable = None
    ) -> list[Wanted]:
        """The entries by storage key, highest priority first. While `version` is equal, so are the entries.

        Entries share a download if they select the same files. With other credentials than the leader's they are
        `claimants` until theirs are proved, unless `isolation` (`storageIsolation`) says that this does not matter.
        Whose download it is: theirs that match what was downloaded, then those of a cache that owns it, else the first
        by name: nobody loses a model because another cache comes along (D-16); after a failure it is the turn of the
        next credentials: nobody misses a model because of another cache's (D-17). Entries without a name or URI, and
        repetitions, are left out.
        """
        if version is None or self._version != (version, isolation):
            self._version, self._members, self._shares = (version, isolation), _by_key(entries, isolation), {}
        wanted = [self._share(key, members, isolation, now) for key, members in self._members.items()]
        return sorted(wanted, key=lambda group: -group.priority)

    def _share(self, key: str, members: list[LocalModelInfo], isolation: str, now: datetime) -> Wanted:
        record = self._recorded(key)
        known = self._shares.get(key)
        # After a failure time decides whose turn it is.
        if known is not None and (len(members) == 1 or (known[0] is record and record.outcome != "failed")):
            return known[1]
        wanted = _share(key, members, record, isolation, now)
        self._shares[key] = record, wanted
        return wanted


def _by_key(entries: Iterable[LocalModelInfo], isolation: str) -> dict[str, list[LocalModelInfo]]:
    by_key: dict[str, list[LocalModelInfo]] = {}
    seen: set[str] = set()
    for entry in entries:
        name = entry_key(entry)
        if not entry.model_name or not entry.source_model_uri or name in seen:
            log.warning("an entry is incomplete or a repetition and is left out", entry=name)
            continue
        seen.add(name)
        by_key.setdefault(storage_key_of(entry, isolation), []).append(entry)
    return by_key


def _share(key: str, members: list[LocalModelInfo], record: KeyRecord, isolation: str, now: datetime) -> Wanted:
    if len(members) == 1:
        return Wanted(key=key, uri=members[0].source_model_uri, sharing=(members[0],))
    ordered = sorted(members, key=lambda entry: (entry.namespace, entry.model_name))
    chosen = _leader(ordered, record, now)
    same = [entry for entry in ordered if selection(entry) == selection(chosen)]
    print_ = fingerprint(chosen)
    sharing = [e for e in same if isolation != "verified" or fingerprint(e) == print_ or is_proved(record, e)]
    sharing.sort(key=lambda entry: fingerprint(entry) != print_)
    return Wanted(
        key=key,
        uri=chosen.source_model_uri,
        sharing=tuple(sharing),
        claimants=tuple(entry for entry in same if entry not in sharing),
        refused=tuple(entry for entry in ordered if entry not in same),
    )


def _leader(ordered: list[LocalModelInfo], record: KeyRecord, now: datetime) -> LocalModelInfo:
    """The entry whose credentials the download uses."""
    prints = {fingerprint(entry): entry for entry in reversed(ordered)}
    # What did not fit with one's credentials does not fit with another's.
    if record.outcome == "failed" and record.reason != InsufficientStorageError.reason and len(prints) > 1:
        tried = tries_of(record)
        due = {it for it in prints if it not in tried or not is_before(now, tried[it].next_retry_time)}
        if due:
            return prints[min(due, key=lambda it: (_turn(tried.get(it)), entry_key(prints[it])))]
    if record.owners and record.credentials in prints:
        return prints[record.credentials]
    owners = [entry for entry in ordered if entry_key(entry) in record.owners]
    # One of them may have been changed and ask for other files now: the others keep what they have.
    unchanged = (entry for entry in owners if selection(entry) == record.selection)
    return next(unchanged, owners[0] if owners else ordered[0])


def has_rivals(wanted: Wanted) -> bool:
    """Others wait for their turn to download the URI, with other credentials or selections than the leader."""
    ours = fingerprint(wanted.leader)
    return any(fingerprint(entry) != ours for entry in (*wanted.sharing, *wanted.claimants, *wanted.refused))


def tries_of(record: KeyRecord) -> dict[str, Try]:
    """By credentials, how the last download with them failed; those of the record's own attempts, too."""
    own = Try(
        credentials=record.credentials,
        failures=record.failures,
        reason=record.reason,
        message=record.message,
        next_retry_time=record.next_retry_time,
    )
    found = {it.credentials: it for it in record.tries}
    return {**found, record.credentials: own} if record.outcome == "failed" else found


def _turn(tried: Try | None) -> datetime:
    """Credentials that were never tried go first, then those whose next try was due first."""
    return (tried.next_retry_time if tried is not None else None) or _BEGINNING


def is_proved(record: KeyRecord, entry: LocalModelInfo) -> bool:
    """The entry's present credentials were good for the model, and it has not been away since, as far as was noted
    (`proofs`)."""
    return any(
        it.proved and it.absent_since is None and it.entry == entry_key(entry) and it.credentials == fingerprint(entry)
        for it in record.checks
    )


def references_of(wanted: Wanted) -> tuple[Reference, ...]:
    """The caches that want the model, and so the claims that expose it."""
    return tuple(
        sorted(
            Reference(namespace=entry.namespace, model=entry.model_name, node_group=entry.node_group)
            for entry in (*wanted.sharing, *wanted.claimants, *wanted.refused)
        )
    )
