"""What the agent writes down about a model beside its files: the manifest and the key's record.

A `ModelManifest` (`models/.localmodel/<storageKey>.json`) is one half of the proof that a model is whole; the other
half is a folder that matches it. A `KeyRecord` (`models/.localmodel/records/<storageKey>.json`) is the agent's memory
of a storage key that must outlive a restart: which caches wanted it, how many downloads were tried and how the last
one ended. Both are plain JSON with camel-case keys, written whole and atomically by `ledger`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import msgspec

from localmodel.api.names import serving_pvc_name
from localmodel.download.manifest import FileEntry

Outcome = Literal["", "published", "failed", "removed", "evicted"]
"""How the current attempt ended: not yet known, in a published folder, in a failure that was counted, or with the
removal of all that it had brought, because nobody wanted it or because others needed the room."""


class Reference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", order=True, gc=False):
    """A cache that wants the model on this node. `namespace` is empty for a LocalModelCache."""

    namespace: str = ""
    model: str
    node_group: str = ""

    @property
    def claim(self) -> str:
        """The name of the serving claim that exposes the model among others (kserve-behaviour.md 3)."""
        return serving_pvc_name(self.model, self.node_group)


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The content of a published folder.

    `digest` is the manifest digest of design.md section 6. It and the files' digests are empty where a foreign download
    image gave none and they are not computed yet.
    """

    version: int = 1
    storage_key: str
    uri: str
    revision: str = ""
    files: tuple[FileEntry, ...]
    total_size: int
    digest: str = ""
    published_time: datetime
    attempts: int = 0
    references: tuple[Reference, ...] = ()
    adopted: bool = False
    """The folder was found, not downloaded: its names and sizes are those it had then."""
    folder: int = 0
    """The inode of the directory that was verified; 0 where it is not known. While a publication is under way it tells
    that directory from the one that it replaces, whose names and sizes may be the same."""
    damaged: str = ""
    """Which file no longer has its digest, as a scrub found: the folder is not whole, whatever its names and sizes."""


@dataclass(frozen=True, slots=True)
class FolderState:
    """What stands at `models/<storageKey>`. `detail` says why it is incomplete."""

    kind: Literal["complete", "incomplete", "absent"]
    detail: str = ""
    manifest: ModelManifest | None = None

    @property
    def is_complete(self) -> bool:
        return self.kind == "complete"


Cause = Literal["room", "ttl"]
"""Why a model was evicted: room was needed, or its ttlSecondsAfterLastUse was over."""
CAUSES: Final[tuple[Cause, ...]] = ("room", "ttl")


class Eviction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The end of a model that its entries still ask for, and what the status goes on to say of it. `size` in bytes."""

    time: datetime
    cause: Cause
    message: str
    size: int
    digest: str = ""
    revision: str = ""
    downloaded_time: datetime | None = None


class Try(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How downloads with credentials that it is not the turn of ended last. Of the record's own it says so itself."""

    credentials: str
    failures: int = 0
    reason: str = ""
    message: str = ""
    next_retry_time: datetime | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The proof of one cache's credentials for a model that others' have downloaded. `attempt` counts from 1."""

    entry: str
    """The cache's status key."""
    credentials: str
    """Their fingerprint: others are to be proved anew."""
    attempt: int = 1
    proved: bool = False
    failures: int = 0
    message: str = ""
    next_retry_time: datetime | None = None
    absent_since: datetime | None = None
    """When its entry was first missed on this node; None while it is there."""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The agent's memory of one storage key. `attempt` counts download Jobs, from 1; it never goes back."""

    uri: str = ""
    attempt: int = 0
    outcome: Outcome = ""
    failures: int = 0
    """Failures in a row; a publication sets it to zero."""
    reason: str = ""
    message: str = ""
    next_retry_time: datetime | None = None
    credentials: str = ""
    """The fingerprint of the credentials that the download used."""
    owners: tuple[str, ...] = ()
    """Status keys of the caches that share the download; empty where there was none. See `ownership`."""
    owners_absent_since: datetime | None = None
    """Since when others want the model and none of the owners has an entry on this node; None else."""
    selection: str = ""
    """Which files of the URI were downloaded; see `credentials.selection`."""
    tries: tuple[Try, ...] = ()
    """Of caches with other credentials, after failures."""
    checks: tuple[Check, ...] = ()
    promised: int = 0
    """Bytes that the current attempt may take on the disk."""
    started_time: datetime | None = None
    """When the current attempt was started first."""
    references: tuple[Reference, ...] = ()
    unreferenced_since: datetime | None = None
    """When the last entry with this key vanished from the LocalModelNode while its cache still stood."""
    size: int = 0
    """The model's real size in bytes, once it was seen; 0 while only the declared one is known."""
    last_used_time: datetime | None = None
    """When a pod was last seen to have the model mounted, give or take five minutes."""
    wanted_time: datetime | None = None
    """Since when the model is asked for and not here. An evicted one is not asked for until somebody wants it back."""
    evicted: Eviction | None = None
    """The last eviction; None once the model is here again."""
    want_answered: bool = False
    """The key stands in the node's annotation of wanted models, and that has been a request already."""

    @property
    def is_evicted(self) -> bool:
        """The model was evicted, and nobody has asked for it since."""
        return self.evicted is not None and self.wanted_time is None
