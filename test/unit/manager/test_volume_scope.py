"""`servingVolumeScope: model`: a second pair for each serving namespace that shows one model, and the way back."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import JOBS, Cluster, cache, config_map, group, namespace_cache, service

from localmodel.api import LocalModelNodeGroup
from localmodel.api.names import model_pvc_name, storage_key
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod
from localmodel.runtime.testing.garbage import collect_garbage

URI = "hf://o/m"
KEY = storage_key(URI)
MODEL = config_map('{"servingVolumeScope": "model"}')
SINGLE = model_pvc_name("iris", "gpu", URI)


def claims(cluster: Cluster, namespace: str = "team-a") -> list[str]:
    return [claim.name for claim in cluster.client.list(PersistentVolumeClaim, namespace=namespace)]


def volume_of(cluster: Cluster, claim: str, namespace: str = "team-a") -> PersistentVolume:
    found = cluster.client.get(PersistentVolumeClaim, claim, namespace=namespace)
    return cluster.client.get(PersistentVolume, found.spec.volume_name)


def set_scope(cluster: Cluster, scope: str) -> None:
    found = cluster.client.get(ConfigMap, MODEL.name, namespace=MODEL.namespace)
    found.data["localModel"] = f'{{"servingVolumeScope": "{scope}"}}'
    cluster.client.update(found)


def settle(cluster: Cluster, seconds: float = 1.0) -> Any:
    cluster.clock.advance(seconds)
    return cluster.reconcile_cache()


def served(*more: Any) -> Cluster:
    """A cluster in model scope whose cache is used in team-a."""
    cluster = Cluster(group(), cache(), service("s", "team-a"), MODEL, *more)
    settle(cluster)
    return cluster


def pod(claim: str, phase: str = "Pending") -> Pod:
    return Pod.from_dict(
        {
            "metadata": {"name": "p", "namespace": "team-a"},
            "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]},
            "status": {"phase": phase},
        }
    )


def test_a_namespace_that_serves_has_kserves_claim_and_one_that_shows_the_model() -> None:
    cluster = served()
    assert claims(cluster) == ["iris-gpu", SINGLE]
    assert volume_of(cluster, "iris-gpu").spec.local == {"path": "/mnt/models"}
    single = volume_of(cluster, SINGLE)
    assert single.spec.local == {"path": f"/mnt/models/models/{KEY}"}
    assert single.spec.node_affinity == group().spec.persistent_volume_spec["nodeAffinity"]
    assert single.metadata.owner_references[0].name == "iris"
    assert (single.spec.claim_ref.namespace, single.spec.claim_ref.name) == ("team-a", SINGLE)  # type: ignore[union-attr]


def test_the_names_do_not_change_from_run_to_run() -> None:
    cluster = served()
    cluster.client.actions.clear()
    settle(cluster)
    assert cluster.client.writes == []


def test_downloads_go_into_the_whole_store() -> None:
    cluster = served()
    assert claims(cluster, JOBS) == ["iris-gpu"]
    assert volume_of(cluster, "iris-gpu", JOBS).spec.local == {"path": "/mnt/models"}


def test_a_host_path_is_one_that_kubelet_does_not_make() -> None:
    by_host_path = group()
    spec = by_host_path.spec.persistent_volume_spec
    del spec["local"]
    spec["hostPath"] = {"path": "/mnt/models/", "type": "DirectoryOrCreate"}
    cluster = Cluster(by_host_path, cache(), service("s", "team-a"), MODEL)
    settle(cluster)
    assert volume_of(cluster, SINGLE).spec.host_path == {"path": f"/mnt/models/models/{KEY}", "type": "Directory"}
    assert volume_of(cluster, "iris-gpu").spec.host_path == spec["hostPath"]


def test_a_group_without_a_path_keeps_the_root_and_says_so() -> None:
    without = group()
    del without.spec.persistent_volume_spec["local"]
    without.spec.persistent_volume_spec["csi"] = {"driver": "d", "volumeHandle": "h"}
    cluster = Cluster(without, cache(), service("s", "team-a"), MODEL)
    settle(cluster)
    assert claims(cluster) == ["iris-gpu"]
    degraded = find_status_condition(cluster.cache().status.conditions, "Degraded")
    assert degraded is not None
    assert degraded.reason == "VolumeWithoutPath"


def test_caches_whose_serving_claims_have_one_name_each_have_a_claim_of_their_own_d59() -> None:
    cluster = Cluster(group("c"), group("b-c"), cache("a-b", "c"), cache("a", "b-c", sourceModelUri="hf://o/n"), MODEL)
    cluster.client.create(service("x", "team-a", "a-b"))
    cluster.client.create(service("y", "team-a", "a"))
    cluster.reconcile_cache("a-b")
    cluster.reconcile_cache("a")
    assert {model_pvc_name("a-b", "c", URI), model_pvc_name("a", "b-c", "hf://o/n")} <= set(claims(cluster))


def test_both_scopes_of_one_name_each_have_a_claim_of_their_own_d59() -> None:
    cluster = served(namespace_cache(), service("y", "team-a", of="team-a"))
    cluster.reconcile_cache(namespace="team-a")
    assert claims(cluster) == sorted(["iris-gpu", SINGLE, model_pvc_name("iris", "gpu", URI, "team-a")])


def test_the_last_consumer_takes_both_pairs_d57() -> None:
    cluster = served()
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace="team-a"))
    settle(cluster)
    assert claims(cluster) == []
    assert [volume.name for volume in cluster.client.list(PersistentVolume)] == ["iris-gpu-download"]


@pytest.mark.parametrize("namespaced", [False, True])
def test_a_deleted_cache_takes_them_too_d35(namespaced: bool) -> None:
    made, of = (namespace_cache(), "team-a") if namespaced else (cache(), "")
    cluster = Cluster(group(), made, service("s", "team-a", of=of), MODEL)
    cluster.reconcile_cache(namespace=of)
    assert len(cluster.client.list(PersistentVolume)) == 3
    cluster.client.delete(made)
    cluster.reconcile_cache(namespace=of)
    collect_garbage(cluster.client.registry)
    assert cluster.client.list(PersistentVolume) == cluster.client.list(PersistentVolumeClaim) == []


def test_from_root_to_model_nothing_that_was_there_changes() -> None:
    cluster = Cluster(group(), cache(), service("s", "team-a"), config_map("{}"))
    settle(cluster)
    before = cluster.client.get(PersistentVolumeClaim, "iris-gpu", namespace="team-a")
    set_scope(cluster, "model")
    settle(cluster)
    assert claims(cluster) == ["iris-gpu", SINGLE]
    assert cluster.client.get(PersistentVolumeClaim, "iris-gpu", namespace="team-a") == before


def test_from_model_to_root_the_second_pair_goes_after_a_minute() -> None:
    cluster = served()
    set_scope(cluster, "root")
    result = settle(cluster)
    assert claims(cluster) == ["iris-gpu", SINGLE]
    assert result.requeue_after == 60.0
    settle(cluster, 60.0)
    assert claims(cluster) == ["iris-gpu"]
    assert [volume.name for volume in cluster.client.list(PersistentVolume)] == ["iris-gpu-download", "iris-gpu-team-a"]
    assert settle(cluster).requeue_after == 0.0


def test_a_volume_does_not_go_while_a_pod_names_it() -> None:
    cluster = served(pod(SINGLE))
    set_scope(cluster, "root")
    for _ in range(3):
        settle(cluster, 60.0)
    assert claims(cluster) == ["iris-gpu", SINGLE]
    cluster.client.delete(cluster.client.get(Pod, "p", namespace="team-a"))
    settle(cluster, 60.0)
    assert claims(cluster) == ["iris-gpu", SINGLE]
    settle(cluster, 60.0)
    assert claims(cluster) == ["iris-gpu"]


def test_pods_are_asked_for_once_a_minute_however_often_the_cache_changes() -> None:
    cluster = served(pod(SINGLE))
    set_scope(cluster, "root")
    cluster.client.actions.clear()
    for _ in range(61):
        settle(cluster)
    asked = [action for action in cluster.client.actions if action.verb == "list" and action.namespace == "team-a"]
    assert len([action for action in asked if action.kind is Pod]) == 2


def test_without_a_right_on_pods_it_stays_until_the_services_go() -> None:
    cluster = served()
    set_scope(cluster, "root")
    for _ in range(3):
        cluster.client.faults.fail(ForbiddenError.of("no"), verb="list", kind=Pod)
        settle(cluster, 60.0)
    assert claims(cluster) == ["iris-gpu", SINGLE]
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace="team-a"))
    settle(cluster)
    assert claims(cluster) == []


def test_where_nothing_of_it_is_there_no_pods_are_asked_for() -> None:
    cluster = Cluster(group(), cache(), service("s", "team-a"))
    settle(cluster)
    settle(cluster)
    asked = [action for action in cluster.client.actions if action.kind is Pod and action.namespace == "team-a"]
    assert asked == []


def test_switching_back_in_time_keeps_the_pair_as_it_is() -> None:
    cluster = served()
    before = cluster.client.get(PersistentVolumeClaim, SINGLE, namespace="team-a")
    set_scope(cluster, "root")
    settle(cluster, 30.0)
    set_scope(cluster, "model")
    settle(cluster, 30.0)
    set_scope(cluster, "root")
    settle(cluster, 30.0)
    assert cluster.client.get(PersistentVolumeClaim, SINGLE, namespace="team-a") == before


def test_without_volume_management_no_second_pair_is_made() -> None:
    cluster = Cluster(
        group(),
        cache(),
        service("s", "team-a"),
        config_map('{"servingVolumeScope": "model", "disableVolumeManagement": true}'),
    )
    settle(cluster)
    assert claims(cluster) == []


def test_a_group_that_moves_its_path_does_not_replace_the_volume_under_a_pod() -> None:
    cluster = served()
    bound = volume_of(cluster, SINGLE)
    bound.status.phase = "Bound"
    cluster.client.status.update(bound)
    moved = cluster.client.get(LocalModelNodeGroup, "gpu")
    moved.spec.persistent_volume_spec["local"] = {"path": "/elsewhere"}
    cluster.client.update(moved)
    settle(cluster)
    assert volume_of(cluster, SINGLE).spec.local == {"path": f"/mnt/models/models/{KEY}"}
