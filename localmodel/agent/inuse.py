"""Which models the pods of this node have mounted: those are untouchable (design.md section 4). Pure functions.

A model is found through the sub-path of a mount (`models/<storageKey>`, as KServe's pod webhook writes it) and through
the name of the claim, which follows from the caches that want the model, or has the storage key in it where the claim
shows this model alone. Where all fail, the benefit of the doubt goes to the pod: what shows the whole root, or may show
anything, protects every model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from localmodel.api.names import LOCAL_MODEL_LABEL, storage_key_of_claim
from localmodel.runtime.objects import Pod

from .jobs import STORAGE_KEY_LABEL
from .manifest import Reference

_MODEL_PATH = re.compile(r"models/([0-9a-f]{16})(/|$)")
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class InUse:
    """Which storage keys pods of this node have mounted."""

    pods: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict)
    """Storage key -> the uids of the pods that mount it, and when each was made. Also of keys that are not known any
    more: what was there may still be in the trash."""
    named: frozenset[str] = frozenset()
    """The keys that a pod surely asks for; the others may merely be in use, by a pod of which nobody can say."""
    unseen_since: datetime | None = None
    """Set where pods may not be read: what was discarded after that moment may still be open."""

    def __contains__(self, key: str) -> bool:
        return bool(self.pods.get(key))


class _Claims:
    """Which models claims expose. `references` is asked only once a pod has a claim."""

    def __init__(self, references: Callable[[], Mapping[str, Sequence[Reference]]]) -> None:
        self._references = references

    @cached_property
    def keys(self) -> set[str]:
        """All storage keys on this node."""
        return set(self._all)

    def exposed(self, claim: str, namespace: str) -> set[str]:
        """The storage keys that the claim of that namespace exposes by its name."""
        return {key for key, owner in self._by_name.get(claim, ()) if owner in ("", namespace)}

    @cached_property
    def _all(self) -> Mapping[str, Sequence[Reference]]:
        return self._references()

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for key, caches in self._all.items():
            for cache in caches:
                found.setdefault(cache.claim, []).append((key, cache.namespace))
        return found


def find_in_use(
    pods: Iterable[Pod], references: Callable[[], Mapping[str, Sequence[Reference]]], *, jobs_namespace: str
) -> InUse:
    """`references` tells the caches of every storage key on this node. Downloads and finished pods do not count."""
    users: dict[str, dict[str, datetime]] = {}
    named: set[str] = set()
    claims = _Claims(references)
    for pod in pods:
        is_download = pod.namespace == jobs_namespace and STORAGE_KEY_LABEL in pod.metadata.labels
        if pod.is_finished or is_download:
            continue
        keys, is_sure = _mounted_by(pod, claims)
        for key in keys:
            users.setdefault(key, {})[pod.metadata.uid] = pod.metadata.creation_timestamp or _BEGINNING
        named |= keys if is_sure else set()
    return InUse(users, frozenset(named))


def _mounted_by(pod: Pod, known: _Claims) -> tuple[set[str], bool]:
    """The keys, and False where they are all that there are because nobody can say which."""
    claims = {
        volume.name: volume.persistent_volume_claim.claim_name
        for volume in pod.spec.volumes
        if volume.persistent_volume_claim is not None
    }
    if not claims:
        return set(), True
    keys: set[str] = set()
    single = {key for claim in claims.values() if (key := storage_key_of_claim(claim))}
    for name, claim in claims.items():
        exposed = known.exposed(claim, pod.namespace)
        paths = [str(mount.get("subPath") or "") for mount in _mounts(pod, name)]
        found = {match[1] for path in paths if (match := _MODEL_PATH.match(path))}
        if exposed and any(not _MODEL_PATH.match(path) for path in paths):
            return known.keys, False
        keys |= exposed | found
    if not keys and not single and LOCAL_MODEL_LABEL in pod.metadata.labels:
        return known.keys, False
    return keys | single, True


def _mounts(pod: Pod, volume: str) -> list[dict[str, Any]]:
    return [
        mount
        for container in (*pod.spec.init_containers, *pod.spec.containers)
        for mount in container.get("volumeMounts") or ()
        if mount.get("name") == volume
    ]
