"""Pods that name a claim before there is a cache by which the webhook could judge them."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Cluster, cache, config_map, group, namespace_cache, service

from localmodel.api.names import model_pvc_name, storage_key
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Object, PersistentVolume, PersistentVolumeClaim, Pod

KEY = storage_key("hf://o/m")
MODEL = {"subPath": f"models/{KEY}", "readOnly": True}


def pod(name: str = "early", *, phase: str = "Pending", claim: str = "iris-gpu", **mount: Any) -> Pod:
    mounts = [{"name": "v", "mountPath": "/m", **mount}]
    volume: dict[str, Any] = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    if not claim:
        mounts[0]["name"] = "gpu"
        volume = {"name": "gpu", "ephemeral": {"volumeClaimTemplate": {}}}
    return Pod.from_dict({
        "metadata": {"name": name, "namespace": "team-a"},
        "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": mounts}], "volumes": [volume]},
        "status": {"phase": phase},
    })  # fmt: skip


def guarded(*objects: Object, guards: bool = True) -> Cluster:
    cluster = Cluster(group(), *objects)
    cluster.settings.guards_pods = guards
    return cluster


def claims(cluster: Cluster) -> list[str]:
    return sorted(claim.name for claim in cluster.client.list(PersistentVolumeClaim, namespace="team-a"))


@pytest.mark.parametrize(
    ("early", "fault"),
    [
        (pod(readOnly=True), "without a sub-path"),
        (pod(subPath=f"models/{KEY}"), "writable"),
        (pod(subPath="models/c277d78a31bc6624", readOnly=True), "with sub-path models/c277d78a31bc6624"),
        (pod("iris", claim="", readOnly=True), "without a sub-path"),
    ],
)
def test_no_volume_is_made_for_a_pod_that_would_be_refused_now(early: Pod, fault: str) -> None:
    cluster = guarded(cache(), service("s", "team-a"), early)
    result = cluster.reconcile_cache()
    assert claims(cluster) == []
    assert [volume.name for volume in cluster.client.list(PersistentVolume)] == ["iris-gpu-download"]
    found = find_status_condition(cluster.cache().status.conditions, "Ready")
    assert found is not None
    assert (found.reason, found.message) == (
        "PodMountsTooMuch",
        f"Pod {early.key} was there before claim iris-gpu and mounts it {fault}, which the webhook of pods refuses: "
        "the claim is made when that pod is gone",
    )
    assert result is not None
    assert result.requeue_after == 60.0


def test_the_claim_is_made_when_the_pod_is_gone() -> None:
    early = pod()
    cluster = guarded(namespace_cache(), service("s", "team-a", of="team-a"), early)
    cluster.reconcile_cache(namespace="team-a")
    assert claims(cluster) == []
    cluster.client.delete(cluster.client.get(Pod, "early", namespace="team-a"))
    cluster.reconcile_cache(namespace="team-a")
    assert claims(cluster) == ["iris-gpu"]


def test_a_claim_of_one_model_is_not_made_for_a_pod_that_writes() -> None:
    single = model_pvc_name("iris", "gpu", "hf://o/m")
    scope = config_map('{"servingVolumeScope": "model"}')
    cluster = guarded(cache(), service("s", "team-a"), pod(claim=single), scope)
    cluster.reconcile_cache()
    assert claims(cluster) == ["iris-gpu"]


@pytest.mark.parametrize(
    "other",
    [pod(**MODEL), pod(claim="data"), pod(phase="Running"), pod(phase="Failed")],
    ids=["its model", "another claim", "started", "ended"],
)
def test_other_pods_hold_nothing_up(other: Pod) -> None:
    cluster = guarded(cache(), service("s", "team-a"), other)
    cluster.reconcile_cache()
    assert claims(cluster) == ["iris-gpu"]


def test_without_webhooks_nobody_asks_for_pods() -> None:
    cluster = guarded(cache(), service("s", "team-a"), pod(), guards=False)
    cluster.reconcile_cache()
    assert claims(cluster) == ["iris-gpu"]
    assert [a for a in cluster.client.actions if (a.kind, a.verb, a.namespace) == (Pod, "list", "team-a")] == []


def test_a_manager_that_may_not_list_pods_makes_the_claim() -> None:
    cluster = guarded(cache(), service("s", "team-a"), pod())
    cluster.client.faults.fail(ForbiddenError.of("no"), verb="list", kind=Pod, times=None)
    cluster.reconcile_cache()
    assert claims(cluster) == ["iris-gpu"]


def test_pods_are_asked_for_when_a_volume_is_made_and_not_again() -> None:
    cluster = guarded(cache(), service("s", "team-a"))
    cluster.reconcile_cache()
    cluster.client.actions.clear()
    for name in ("t", "u"):
        cluster.client.create(service(name, "team-a"))
        cluster.clock.advance(1.0)
        cluster.reconcile_cache()
    assert cluster.client.get(InferenceService, "u", namespace="team-a")
    assert [a for a in cluster.client.actions if (a.kind, a.verb, a.namespace) == (Pod, "list", "team-a")] == []
