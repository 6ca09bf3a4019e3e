"""Pods that name a claim before it is there, and mount more of it than they may.

The pod webhooks judge a pod when it is made, by the caches that there are then. One that names a claim of no cache is
none of theirs: it is let in, waits for the claim, and would start with every model of its node as soon as a cache of
the fitting name gets a service. So a manager that serves the webhooks makes no volume while such a pod waits for it.
Pods that come later are judged, because the cache is known. Under KServe's role pods may not be listed: then all is as
with KServe.
"""

from __future__ import annotations

from typing import Final

import structlog

from localmodel.api import Cache
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ObjectKey, Pod

from .claims import Exposure, exposure
from .podmounts import claim_volumes, ephemeral_volumes, fault_of, mounts_of
from .status import Problem

log = structlog.get_logger(__name__)

REASON: Final = "PodMountsTooMuch"
_PENDING: Final = {"status.phase": "Pending"}
"""No other pod can wait for a claim."""


class EarlyPods:
    """Looks for them in the namespace of a claim that is about to be made."""

    def __init__(self, live: Reader, jobs_namespace: str) -> None:
        self._live = live
        self._jobs_namespace = jobs_namespace

    def problem(self, cache: Cache, claim: ObjectKey) -> Problem | None:
        """The first of them, with what is wrong; None also where pods may not be listed. Raises what `live` raises.

        One request, for pods that have not started.
        """
        shown = exposure(cache, claim, self._jobs_namespace)
        if shown is None:
            return None
        try:
            pods = self._live.list(Pod, namespace=claim.namespace, fields=_PENDING)
        except ForbiddenError:
            log.debug("Pods that wait for a claim may not be looked for", namespace=claim.namespace)
            return None
        for pod in pods:
            if fault := _fault(pod, claim, shown):
                message = (
                    f"Pod {pod.key} was there before claim {claim.name} and mounts it {fault}, which "
                    "the webhook of pods refuses: the claim is made when that pod is gone"
                )
                return Problem(reason=REASON, message=message)
        return None


def _fault(pod: Pod, claim: ObjectKey, shown: Exposure) -> str:
    """Of its first mount of the claim that is wrong; empty if there is none."""
    it = pod.to_dict()
    volumes = [volume for volume in (*claim_volumes(it), *ephemeral_volumes(it)) if volume.claim == claim.name]
    faults = (fault_of(mount, shown) for volume in volumes for mount in mounts_of(it, volume))
    return next(filter(None, faults), "")
