"""Which claims and volumes a cache shall have: pairs of names, before anything is asked of the cluster. Pure functions.

Every node group of a cache has a pair for downloads, unless the agents download themselves (`downloadMode: Agent`).
Every namespace that serves from a group has one under KServe's names that shows the group's whole path; KServe's pod
webhook adds the model's sub-path (`servingVolumeScope: root`).
With `servingVolumeScope: model` it has a second one that shows the model's folder alone. Both stay side by side,
because KServe writes the first one's name into services and pods: a pod that our pod webhook did not see (the manager
was down, or the pod is older than the setting) goes on as in KServe, and one that it saw mounts the second one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from localmodel.api import Cache
from localmodel.api.names import (
    download_pv_name,
    download_pvc_name,
    model_pv_name,
    model_pvc_name,
    other_download_pvc_name,
    serving_pv_name,
    serving_pvc_name,
    storage_sub_path,
)
from localmodel.runtime.objects import ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePair:
    """One claim and the volume that it binds."""

    group: str
    volume: str
    claim: ObjectKey
    other_claim: str = ""
    """What the claim is called where another cache has its name. Empty: KServe mounts it by the name that it has."""
    serving: bool = False
    """Pods that serve mount it, so it is not replaced under them."""
    sub_path: str = ""
    """What the volume shows of the group's path; all of it when empty."""


def download_pair(cache: Cache, group: str, job_namespace: str) -> VolumePair:
    """What download jobs mount."""
    return VolumePair(
        group=group,
        volume=download_pv_name(cache.name, group, cache.namespace),
        claim=ObjectKey(job_namespace, download_pvc_name(cache.name, group, cache.namespace)),
        other_claim=other_download_pvc_name(cache.name, group, cache.namespace),
    )


def serving_pair(cache: Cache, group: str, namespace: str) -> VolumePair:
    """What services in a namespace mount, by the name that KServe gives it."""
    return VolumePair(
        group=group,
        volume=serving_pv_name(cache.name, group, namespace),
        claim=ObjectKey(namespace, serving_pvc_name(cache.name, group)),
        serving=True,
    )


def model_pair(cache: Cache, group: str, namespace: str, *, isolated: bool = False) -> VolumePair:
    """What services in a namespace mount instead with `servingVolumeScope: model`.

    `isolated`: the model lies in a folder of the cache's namespace (`storageIsolation: namespace`).
    """
    uri, scope = cache.spec.source_model_uri, cache.namespace
    return VolumePair(
        group=group,
        volume=model_pv_name(cache.name, group, uri, namespace, scope, isolated=isolated),
        claim=ObjectKey(namespace, model_pvc_name(cache.name, group, uri, scope, isolated=isolated)),
        serving=True,
        sub_path=storage_sub_path(uri, scope if isolated else ""),
    )


def wanted_pairs(
    cache: Cache,
    job_namespace: str,
    serving: Iterable[tuple[str, str]],
    *,
    single_models: bool = False,
    isolated: bool = False,
    downloads: bool = True,
) -> list[VolumePair]:
    """Every pair that the cache shall have. `serving` are namespaces and groups of consumers; with `single_models` each
    gets the second pair, `isolated` as in `model_pair`. Without `downloads` (`downloadMode: Agent`) jobs get none.

    Where the services of the job namespace need the claim that downloads use already, it serves both (D-58); it stays
    as it is where only they need it, since its volume cannot be changed under them.
    """
    of_jobs = {
        pair.claim: pair for group in cache.spec.node_groups for pair in [download_pair(cache, group, job_namespace)]
    }
    pairs = dict(of_jobs) if downloads else {}
    for namespace, group in sorted(serving):
        pair = serving_pair(cache, group, namespace)
        shared = of_jobs.get(pair.claim)
        pairs[pair.claim] = pair if shared is None else replace(shared, serving=True)
        if single_models:
            single = model_pair(cache, group, namespace, isolated=isolated)
            pairs[single.claim] = single
    return list(pairs.values())
