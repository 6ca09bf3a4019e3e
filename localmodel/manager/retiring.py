"""Serving volumes that go because `servingVolumeScope` went back to root, while services go on using the cache.

A pod keeps the claim that it was given. A claim that is deleted under a running pod waits for it, but one under a pod
that no node has taken yet goes at once, and that pod never starts. So such a claim is removed only when no pod names
it, and not before a while: another manager's webhook may give it to a pod until it has seen the new setting, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ObjectKey, PersistentVolumeClaim, Pod
from localmodel.runtime.reconcile import Request

from .pairs import VolumePair

RETIRING_SECONDS: Final = 60.0
"""How long a claim stays after it was seen without pods for the first time."""


class Retiring:
    """Remembers since when claims are out of use. One worker at a time touches a cache; a restart counts anew."""

    def __init__(self) -> None:
        self._unused: dict[Request, dict[ObjectKey, float]] = {}
        """By cache and claim: when, by the monotonic clock, it was first seen unwanted and without pods."""

    def forget(self, cache: Request) -> None:
        """The cache is gone."""
        self._unused.pop(cache, None)

    def kept(
        self, cache: Request, pairs: Iterable[VolumePair], *, reader: Reader, live: Reader, clock: Clock
    ) -> list[VolumePair]:
        """Those of the pairs, which are all that the cache does not want any more, that have to stay for now.

        Pods are asked of the API server, of one namespace, only for claims that there are. Where the manager may not
        read them, what is there stays until the services go. Raises what `live` raises else.
        """
        now, before = clock.monotonic(), self._unused.pop(cache, {})
        unused: dict[ObjectKey, float] = {}
        kept = []
        for pair in pairs:
            found = reader.find(PersistentVolumeClaim, pair.claim.name, namespace=pair.claim.namespace)
            if found is None or found.is_deleting:
                continue
            if not _is_named_by_pods(pair.claim, live):
                unused[pair.claim] = before.get(pair.claim, now)
                if now - unused[pair.claim] >= RETIRING_SECONDS:
                    continue
            kept.append(replace(pair, volume=found.spec.volume_name or pair.volume))
        if unused:
            self._unused[cache] = unused
        return kept


def _is_named_by_pods(claim: ObjectKey, live: Reader) -> bool:
    try:
        pods = live.list(Pod, namespace=claim.namespace)
    except ForbiddenError:
        return True
    sources = (v.persistent_volume_claim for pod in pods if not pod.is_finished for v in pod.spec.volumes)
    return any(source is not None and source.claim_name == claim.name for source in sources)
