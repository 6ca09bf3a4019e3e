"""Serving volumes that go because `servingVolumeScope` went back to root, while services go on using the cache.

A pod keeps the claim that it was given. A claim that is deleted under a running pod waits for it, but one under a pod
that no node has taken yet goes at once, and that pod never starts. So such a claim is removed only when no pod names
it, and not before a while: another manager's webhook may give it to a pod until it has seen the new setting, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ObjectKey, PersistentVolumeClaim, Pod
from localmodel.runtime.reconcile import Request

from .pairs import VolumePair

RETIRING_SECONDS: Final = 60.0
"""Between two looks at the pods of a claim. It goes when two in a row find none that names it."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found of a claim's pods last."""

    at: float
    """By the monotonic clock."""
    is_named: bool


class Retiring:
    """Remembers what was seen of claims out of use. One worker at a time touches a cache; a restart looks anew."""

    def __init__(self) -> None:
        self._looks: dict[Request, dict[ObjectKey, _Look]] = {}
        """By cache and claim: the last look at one that is not wanted and there all the same."""

    def forget(self, cache: Request) -> None:
        """The cache is gone."""
        self._looks.pop(cache, None)

    def kept(
        self, cache: Request, pairs: Iterable[VolumePair], *, reader: Reader, live: Reader, clock: Clock
    ) -> list[VolumePair]:
        """Those of the pairs, which are all that the cache does not want any more, that have to stay for now.

        Pods are asked of the API server, of one namespace, only for claims that there are, and once a minute at most
        however often the cache is looked at. Where the manager may not read them, what is there stays until the
        services go. Raises what `live` raises else.
        """
        now, before = clock.monotonic(), self._looks.pop(cache, {})
        looks: dict[ObjectKey, _Look] = {}
        kept = []
        for pair in pairs:
            found = reader.find(PersistentVolumeClaim, pair.claim.name, namespace=pair.claim.namespace)
            if found is None or found.is_deleting:
                continue
            look = last = before.get(pair.claim)
            if look is None or now - look.at >= RETIRING_SECONDS:
                look = _Look(now, _is_named_by_pods(pair.claim, live))
                if last is not None and not last.is_named and not look.is_named:
                    continue
            looks[pair.claim] = look
            kept.append(replace(pair, volume=found.spec.volume_name or pair.volume))
        if looks:
            self._looks[cache] = looks
        return kept


def _is_named_by_pods(claim: ObjectKey, live: Reader) -> bool:
    try:
        pods = live.list(Pod, namespace=claim.namespace)
    except ForbiddenError:
        return True
    sources = (v.persistent_volume_claim for pod in pods if not pod.is_finished for v in pod.spec.volumes)
    return any(source is not None and source.claim_name == claim.name for source in sources)
