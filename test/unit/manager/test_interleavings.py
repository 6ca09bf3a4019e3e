"""What the manager concludes when objects change under it: caches made anew, stale reads, KServe's CRDs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support import kserve_crds
from support.manager import (
    JOBS,
    Cluster,
    IndexedClient,
    agent_pod,
    cache,
    config_map,
    group,
    namespace_cache,
    node,
    service,
)

from localmodel.api import LocalModelCache, LocalModelNodeGroup
from localmodel.api.names import storage_key
from localmodel.api.node import NodeModel
from localmodel.runtime.objects import Node, PersistentVolume, PersistentVolumeClaim
from localmodel.runtime.reconcile import Request

KINDS = {"full": False, "minimal": True}


def reconcile_all(cluster: Cluster) -> None:
    cluster.clock.advance(60)
    cluster.reconcile_node()
    cluster.reconcile_cache()
    cluster.reconcile_cache(namespace="team-a")
    cluster.groups.reconcile(Request("", "gpu"))


@pytest.mark.parametrize("minimal", KINDS.values(), ids=KINDS)
def test_under_kserves_crds_writes_come_to_an_end(minimal: bool) -> None:
    cluster = Cluster()
    kserve_crds.install(cluster.client, minimal=minimal)
    for obj in (node(), group(), cache(priority=3), namespace_cache()):
        cluster.client.create(obj)
    cluster.client.status.patch(node(), {"status": node().status.to_dict()})
    for _ in range(3):
        reconcile_all(cluster)
    cluster.report(iris="ModelDownloaded", team_a__iris="ModelDownloadError")
    for _ in range(3):
        reconcile_all(cluster)
    cluster.client.actions.clear()
    for _ in range(100):
        reconcile_all(cluster)
    assert cluster.client.writes == []


def test_nothing_is_written_in_100_runs_without_news() -> None:
    cluster = Cluster(node(), group(), cache(), namespace_cache())
    reconcile_all(cluster)
    cluster.report(iris="ModelDownloadError", team_a__iris="ModelDownloaded")
    for _ in range(3):
        reconcile_all(cluster)
    conditions = cluster.cache().status.conditions
    cluster.client.actions.clear()
    for _ in range(100):
        reconcile_all(cluster)
    assert cluster.client.writes == []
    assert cluster.cache().status.conditions == conditions


# a cache made anew under the same name -----------------------------------------------------------------------------


def test_a_cache_made_anew_is_not_ready_by_the_old_ones_report_d45() -> None:
    cluster = Cluster(node(), group(), cache(sourceModelUri="hf://o/old"))
    cluster.reconcile_cache()
    cluster.reconcile_node()
    found = cluster.local_model_node()
    found.status.model_status = {"iris": "ModelDownloaded"}
    found.status.models = {"iris": NodeModel(storage_key=storage_key("hf://o/old"), size_bytes=5)}
    cluster.client.status.update(found)
    cluster.client.delete(cluster.cache())
    cluster.reconcile_cache()
    cluster.client.create(cache(sourceModelUri="hf://o/new"))

    cluster.clock.advance(60)
    cluster.reconcile_cache()  # the entry is the old one's still
    assert cluster.cache().status.node_status == {"node-1": "NodeDownloadPending"}
    cluster.reconcile_node()
    cluster.clock.advance(60)
    cluster.reconcile_cache()  # the report is the old one's still
    assert cluster.cache().status.node_status == {"node-1": "NodeDownloadPending"}
    assert cluster.cache().status.copies.available == 0


# nodes -------------------------------------------------------------------------------------------------------------


def test_a_node_that_the_cache_does_not_show_yet_keeps_its_local_model_node() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_node()
    cluster.nodes.client = _without_nodes(cluster)
    cluster.reconcile_node()
    assert cluster.entries() == ["iris"]


def _without_nodes(cluster: Cluster) -> object:
    class Stale(IndexedClient):
        def find(self, kind, name, *, namespace=""):  # type: ignore[no-untyped-def]
            return None if kind is Node else super().find(kind, name, namespace=namespace)

    return Stale(registry=cluster.client.registry)


def test_a_lost_owner_reference_comes_back() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_node()
    cluster.client.patch(cluster.local_model_node(), {"metadata": {"ownerReferences": None}})
    cluster.reconcile_node()
    assert cluster.local_model_node().metadata.owner_references


# deletion ----------------------------------------------------------------------------------------------------------


def test_a_deletion_ends_after_ten_minutes_though_the_clock_went_back_a_day() -> None:
    cluster = Cluster(node(), group(), cache(), agent_pod())
    cluster.reconcile_cache()
    cluster.reconcile_node()
    cluster.client.delete(cluster.cache())
    cluster.reconcile_cache()
    cluster.clock._start -= timedelta(days=1)
    cluster.reconcile_cache()
    cluster.clock.advance(601)
    cluster.reconcile_cache()
    assert cluster.client.find(LocalModelCache, "iris") is None


# volumes -----------------------------------------------------------------------------------------------------------


def _pv(cluster: Cluster, name: str) -> PersistentVolume:
    return cluster.client.get(PersistentVolume, name)


def _set_phase(cluster: Cluster, name: str, phase: str) -> PersistentVolume:
    volume = _pv(cluster, name)
    volume.status.phase = phase
    return cluster.client.status.update(volume)


def test_what_stands_in_the_way_is_looked_at_again() -> None:
    foreign = PersistentVolume.from_dict(
        {"metadata": {"name": "iris-gpu-download"}, "spec": {"hostPath": {"path": "/x"}}}
    )
    cluster = Cluster(node(), group(), cache(), foreign)
    result = cluster.reconcile_cache()
    assert result is not None
    assert 0 < result.requeue_after <= 60
    cluster.client.delete(_pv(cluster, "iris-gpu-download"))
    cluster.clock.advance(60)
    cluster.reconcile_cache()
    assert _pv(cluster, "iris-gpu-download").spec.claim_ref is not None


def test_a_claim_that_lost_its_volume_for_good_is_made_anew() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_cache()
    claim = cluster.client.get(PersistentVolumeClaim, "iris-gpu", namespace=JOBS)
    claim.status.phase = "Lost"
    cluster.client.status.update(claim)
    cluster.reconcile_cache()
    cluster.reconcile_cache()
    made = cluster.client.get(PersistentVolumeClaim, "iris-gpu", namespace=JOBS)
    assert made.metadata.uid != claim.metadata.uid


def test_a_volume_whose_reclaiming_failed_can_be_bound_again() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_cache()
    volume = _pv(cluster, "iris-gpu-download")
    volume.spec.claim_ref.uid = "old"
    cluster.client.update(volume)
    _set_phase(cluster, "iris-gpu-download", "Failed")
    cluster.reconcile_cache()
    assert _pv(cluster, "iris-gpu-download").spec.claim_ref.uid == ""


def test_another_job_namespace_gets_the_download_volume() -> None:
    cluster = Cluster(node(), group(), cache(), config_map('{"jobNamespace": "old"}'))
    cluster.reconcile_cache()
    changed = config_map('{"jobNamespace": "new"}')
    found = cluster.client.get(type(changed), "inferenceservice-config", namespace="kserve")
    found.data = changed.data
    cluster.client.update(found)
    for _ in range(3):
        cluster.clock.advance(60)
        cluster.reconcile_cache()
    assert _pv(cluster, "iris-gpu-download").spec.claim_ref.namespace == "new"
    assert cluster.client.find(PersistentVolumeClaim, "iris-gpu", namespace="old") is None


def test_what_an_earlier_namespace_cache_of_the_name_left_is_adopted() -> None:
    cluster = Cluster(node(), group(), namespace_cache())
    cluster.reconcile_cache(namespace="team-a")
    stale = cluster.namespace_cache()
    stale.metadata.finalizers = []
    cluster.client.update(stale)
    cluster.client.delete(cluster.namespace_cache())
    cluster.client.create(namespace_cache())
    cluster.clock.advance(60)
    cluster.reconcile_cache(namespace="team-a")
    uid = cluster.namespace_cache().metadata.uid
    volume = _pv(cluster, "iris-gpu-team-a-download")
    assert volume.metadata.labels["localmodel.kserve.io/cache-uid"] == uid


def _change_group(cluster: Cluster, path: str) -> None:
    changed = cluster.client.get(LocalModelNodeGroup, "gpu")
    changed.spec = group(path=path).spec
    cluster.client.update(changed)


def test_a_changed_path_replaces_the_download_volume_d34() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_cache()
    old = _set_phase(cluster, "iris-gpu-download", "Bound")
    _change_group(cluster, "/other")
    for _ in range(3):
        cluster.reconcile_cache()
    made = _pv(cluster, "iris-gpu-download")
    assert made.spec.local["path"] == "/other"
    assert made.metadata.uid != old.metadata.uid


def test_a_changed_path_of_a_serving_volume_is_told_and_nothing_is_pulled_from_under_pods_d34() -> None:
    cluster = Cluster(node(), group(), cache(), service("s", "team-a"))
    cluster.reconcile_cache()
    _set_phase(cluster, "iris-gpu-team-a", "Bound")
    _change_group(cluster, "/other")
    for _ in range(3):
        cluster.clock.advance(60)
        cluster.reconcile_cache()
    assert _pv(cluster, "iris-gpu-team-a").spec.local["path"] == "/mnt/models"
    assert "VolumeOutdated" in cluster.recorder.reasons
    _change_group(cluster, "/mnt/models")
    cluster.clock.advance(60)
    cluster.reconcile_cache()
    assert [c.status for c in cluster.cache().status.conditions if c.type == "Degraded"] == ["False"]
