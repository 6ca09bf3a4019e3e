"""The volumes of caches: KServe's names, owners and shapes, and whose they are."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import JOBS, Cluster, cache, config_map, group, namespace_cache, service

from localmodel.api import LocalModelCache, LocalModelNamespaceCache
from localmodel.api.names import other_download_pvc_name
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.client import Client
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.delegating_client import DelegatingClient
from localmodel.runtime.errors import ConflictError, ServiceUnavailableError
from localmodel.runtime.objects import Object, ObjectMeta, PersistentVolume, PersistentVolumeClaim


def volume(cluster: Cluster, name: str) -> PersistentVolume | None:
    return cluster.client.find(PersistentVolume, name)


def claim(cluster: Cluster, namespace: str, name: str) -> PersistentVolumeClaim | None:
    return cluster.client.find(PersistentVolumeClaim, name, namespace=namespace)


def names(cluster: Cluster) -> tuple[list[str], list[str]]:
    volumes = [v.name for v in cluster.client.list(PersistentVolume)]
    return volumes, [str(c.key) for c in cluster.client.list(PersistentVolumeClaim)]


def owners(obj: Any) -> list[tuple[str, str, bool]]:
    return [(owner.kind, owner.name, owner.controller) for owner in obj.metadata.owner_references]


def ready_reason(of: LocalModelCache | LocalModelNamespaceCache) -> str:
    found = find_status_condition(of.status.conditions, "Ready")
    assert found is not None
    return found.reason


def ready_message(of: LocalModelCache | LocalModelNamespaceCache) -> str:
    found = find_status_condition(of.status.conditions, "Ready")
    assert found is not None
    return found.message


class Blind(DelegatingClient):
    """Reads that show nothing of some kinds, as a cache that has yet to hear of what was made."""

    def __init__(self, inner: Client, *kinds: type[Object]) -> None:
        super().__init__(inner)
        self._kinds = kinds

    def get(self, kind: Any, name: str, *, namespace: str = "") -> Any:
        return self.inner.get(kind, "unseen" if kind in self._kinds else name, namespace=namespace)

    def list(self, kind: Any, **options: Any) -> Any:
        return [] if kind in self._kinds else self.inner.list(kind, **options)


def settle(cluster: Cluster, name: str = "iris", namespace: str = "") -> None:
    cluster.clock.advance(1.0)
    cluster.reconcile_cache(name, namespace)


def test_a_cluster_cache_owns_a_volume_and_a_claim_for_downloads() -> None:
    cluster = Cluster(group(), cache())
    cluster.reconcile_cache()
    pv, pvc = volume(cluster, "iris-gpu-download"), claim(cluster, JOBS, "iris-gpu")
    assert pv is not None
    assert pvc is not None
    assert owners(pv) == owners(pvc) == [("LocalModelCache", "iris", True)]
    assert pvc.spec.volume_name == "iris-gpu-download"
    assert pv.spec.claim_ref is not None
    assert (pv.spec.claim_ref.namespace, pv.spec.claim_ref.name) == (JOBS, "iris-gpu")
    spec = pv.to_dict()["spec"]
    del spec["claimRef"]
    assert spec == group().spec.persistent_volume_spec
    assert pvc.to_dict()["spec"] == {**group().spec.persistent_volume_claim_spec, "volumeName": "iris-gpu-download"}


def test_a_namespace_cache_owns_only_what_lies_in_its_namespace() -> None:
    cluster = Cluster(group(), namespace_cache(), service("s", "team-a", of="team-a"))
    cluster.reconcile_cache(namespace="team-a")
    assert names(cluster) == (
        ["iris-gpu-team-a", "iris-gpu-team-a-download"],
        [f"{JOBS}/iris-gpu-team-a-download", "team-a/iris-gpu"],
    )
    assert [owners(v) for v in cluster.client.list(PersistentVolume)] == [[], []]
    assert owners(claim(cluster, JOBS, "iris-gpu-team-a-download")) == []
    assert owners(claim(cluster, "team-a", "iris-gpu")) == [("LocalModelNamespaceCache", "iris", True)]


def test_each_consumer_namespace_gets_the_group_its_services_name() -> None:
    cluster = Cluster(
        group(),
        group("b"),
        cache("iris", "gpu", "b"),
        service("default", "team-a"),
        service("named", "team-b", node_group="b"),
        service("unknown", "team-c", node_group="nope"),
    )
    cluster.reconcile_cache()
    assert claim(cluster, "team-a", "iris-gpu") is not None
    assert claim(cluster, "team-b", "iris-b") is not None
    assert volume(cluster, "iris-gpu-team-a") is not None
    assert volume(cluster, "iris-b-team-b") is not None
    assert not [c for c in cluster.client.list(PersistentVolumeClaim) if c.namespace == "team-c"]


def test_the_last_consumer_takes_claim_and_volume_and_they_come_back_d57() -> None:
    cluster = Cluster(group(), cache(), service("s", "team-a"))
    cluster.reconcile_cache()
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace="team-a"))
    settle(cluster)
    assert names(cluster) == (["iris-gpu-download"], [f"{JOBS}/iris-gpu"])
    cluster.client.create(service("s", "team-a"))
    settle(cluster)
    assert names(cluster) == (["iris-gpu-download", "iris-gpu-team-a"], [f"{JOBS}/iris-gpu", "team-a/iris-gpu"])


def test_a_removal_that_failed_is_not_forgotten_d56() -> None:
    cluster = Cluster(group(), cache(), service("s", "team-a"))
    cluster.reconcile_cache()
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace="team-a"))
    cluster.client.faults.fail(ServiceUnavailableError.of("later"), verb="delete", kind=PersistentVolumeClaim)
    with pytest.raises(ServiceUnavailableError):
        settle(cluster)
    settle(cluster)
    assert names(cluster) == (["iris-gpu-download"], [f"{JOBS}/iris-gpu"])


def test_a_released_volume_can_be_bound_again_d57() -> None:
    cluster = Cluster(group(), cache())
    cluster.reconcile_cache()
    pv = volume(cluster, "iris-gpu-download")
    assert pv is not None
    assert pv.spec.claim_ref is not None
    pv.spec.claim_ref.uid, pv.spec.claim_ref.resource_version = "gone", "7"
    pv = cluster.client.update(pv)
    pv.status.phase = "Released"
    cluster.client.status.update(pv)
    settle(cluster)
    pv = volume(cluster, "iris-gpu-download")
    assert pv is not None
    assert pv.spec.claim_ref is not None
    assert (pv.spec.claim_ref.name, pv.spec.claim_ref.uid, pv.spec.claim_ref.resource_version) == ("iris-gpu", "", "")


def test_services_in_the_job_namespace_share_the_download_claim_d58() -> None:
    cluster = Cluster(group(), cache(), service("s", JOBS))
    cluster.reconcile_cache()
    assert names(cluster) == (["iris-gpu-download"], [f"{JOBS}/iris-gpu"])
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace=JOBS))
    settle(cluster)
    assert claim(cluster, JOBS, "iris-gpu") is not None


def test_a_volume_of_somebody_else_is_never_taken_d59() -> None:
    foreign = PersistentVolume.from_dict(
        {"metadata": {"name": "iris-gpu-download"}, "spec": {"local": {"path": "/mnt/models"}}}
    )
    cluster = Cluster(group(), cache(), foreign)
    for _ in range(3):
        settle(cluster)
    pv = volume(cluster, "iris-gpu-download")
    assert pv is not None
    assert owners(pv) == []
    assert pv.metadata.labels == {}
    assert claim(cluster, JOBS, "iris-gpu") is None
    assert ready_reason(cluster.cache()) == "VolumeConflict"
    assert cluster.recorder.reasons == ["VolumeConflict"]


def test_no_volume_is_made_for_somebody_elses_claim_to_bind_d59() -> None:
    foreign = PersistentVolumeClaim.from_dict({"metadata": {"name": "iris-gpu", "namespace": "team-a"}})
    cluster = Cluster(group(), cache(), service("s", "team-a"), foreign)
    for _ in range(2):
        settle(cluster)
    assert volume(cluster, "iris-gpu-team-a") is None
    assert ready_message(cluster.cache()) == (
        "PersistentVolumeClaim team-a/iris-gpu exists already and belongs to somebody else: remove it, or make "
        "LocalModelCache iris anew under another name"
    )


def test_a_volume_that_an_earlier_cache_leaves_is_waited_for_not_fought_over() -> None:
    left = PersistentVolume.from_dict({"metadata": {"name": "iris-gpu-download", "finalizers": ["x/in-use"]}})
    cluster = Cluster(group(), cache(), left)
    cluster.client.delete(left)
    settle(cluster)
    found = find_status_condition(cluster.cache().status.conditions, "Ready")
    assert found is not None
    assert found.reason == "VolumeTerminating"
    assert "is being deleted: waiting until it is gone, which takes until no pod uses its claim" in found.message

    going = volume(cluster, "iris-gpu-download")
    assert going is not None
    going.metadata.finalizers = []
    cluster.client.update(going)
    settle(cluster)
    made = volume(cluster, "iris-gpu-download")
    assert made is not None
    assert owners(made) == [("LocalModelCache", "iris", True)]
    assert ready_reason(cluster.cache()) == "NoNodes"


def test_two_caches_whose_names_run_together_do_not_share_a_download_claim_d59() -> None:
    cluster = Cluster(group("c"), group("b-c"), cache("a-b", "c"), cache("a", "b-c"))
    for _ in range(2):
        settle(cluster, "a-b")
        settle(cluster, "a")
    assert ready_reason(cluster.cache("a-b")) == ready_reason(cluster.cache("a")) == "NoNodes"
    other = other_download_pvc_name("a", "b-c")
    assert names(cluster)[1] == [f"{JOBS}/a-b-c", f"{JOBS}/{other}"]
    first, second = claim(cluster, JOBS, "a-b-c"), claim(cluster, JOBS, other)
    assert first is not None
    assert second is not None
    assert (owners(first), owners(second)) == (
        [("LocalModelCache", "a-b", True)],
        [("LocalModelCache", "a", True)],
    )
    assert first.spec.volume_name == "a-b-c-download"
    pv = volume(cluster, second.spec.volume_name)
    assert pv is not None
    assert pv.spec.claim_ref is not None
    assert (pv.name != "a-b-c-download", pv.spec.claim_ref.name) == (True, other)


def test_a_download_claim_that_got_a_hash_keeps_it_d59() -> None:
    cluster = Cluster(group("c"), group("b-c"), cache("a-b", "c"), cache("a", "b-c"))
    settle(cluster, "a-b")
    settle(cluster, "a")
    for kind, name, namespace in ((PersistentVolumeClaim, "a-b-c", JOBS), (PersistentVolume, "a-b-c-download", "")):
        cluster.client.delete(cluster.client.get(kind, name, namespace=namespace))
    cluster.client.actions.clear()
    settle(cluster, "a")
    assert cluster.client.writes == []


def test_the_claim_that_another_cache_made_a_moment_ago_is_seen_the_next_time_d59() -> None:
    cluster = Cluster(group("c"), group("b-c"), cache("a-b", "c"), cache("a", "b-c"))
    settle(cluster, "a-b")
    cluster.caches.client = Blind(cluster.client, PersistentVolume, PersistentVolumeClaim)
    with pytest.raises(ConflictError):
        settle(cluster, "a")
    cluster.caches.client = cluster.client
    settle(cluster, "a")
    assert ready_reason(cluster.cache("a")) == "NoNodes"


def test_serving_claims_of_one_name_cannot_be_told_apart_by_kserve_d59() -> None:
    cluster = Cluster(group("c"), group("b-c"), cache("a-b", "c"), cache("a", "b-c"))
    cluster.client.create(service("x", "team", "a-b"))
    cluster.client.create(service("y", "team", "a"))
    for _ in range(2):
        settle(cluster, "a-b")
        settle(cluster, "a")
    assert ready_reason(cluster.cache("a-b")) == "NoNodes"
    assert ready_message(cluster.cache("a")) == (
        "PersistentVolumeClaim team/a-b-c belongs to LocalModelCache a-b, and KServe gives the claim of "
        "LocalModelCache a in node group b-c the same name: make one of the two caches anew under another name, or "
        "with a node group of another name"
    )


def test_services_of_the_job_namespace_keep_kserves_name_where_downloads_get_a_hash_d59() -> None:
    cluster = Cluster(group("c"), group("b-c"), cache("a-b", "c"), cache("a", "b-c"), service("y", JOBS, "a"))
    for _ in range(2):
        settle(cluster, "a-b")
        settle(cluster, "a")
    assert names(cluster)[1] == [f"{JOBS}/a-b-c", f"{JOBS}/{other_download_pvc_name('a', 'b-c')}"]
    assert ready_reason(cluster.cache("a")) == "VolumeConflict"


def test_a_deleted_namespace_cache_takes_a_download_claim_with_a_hash_too_d59() -> None:
    # Both are a-b-c-download: LocalModelNamespaceCache a of group b in c, and LocalModelCache a-b of group c-download.
    cluster = Cluster(group("b"), group("c-download"), cache("a-b", "c-download"))
    cluster.client.create(namespace_cache("a", "b", namespace="c"))
    settle(cluster, "a-b")
    settle(cluster, "a", "c")
    other = other_download_pvc_name("a", "b", "c")
    assert claim(cluster, JOBS, other) is not None
    cluster.client.delete(cluster.namespace_cache("a", "c"))
    settle(cluster, "a", "c")
    assert names(cluster) == (["a-b-c-download-download"], [f"{JOBS}/a-b-c-download"])


def test_a_serving_volume_named_as_another_caches_gets_a_hash_d59() -> None:
    # LocalModelCache a, group b, namespace c-d; and LocalModelCache a-b, group c, namespace d.
    cluster = Cluster(group("b"), group("c"), cache("a", "b"), cache("a-b", "c"))
    cluster.client.create(service("x", "c-d", "a"))
    cluster.client.create(service("y", "d", "a-b"))
    for _ in range(3):
        settle(cluster, "a")
        settle(cluster, "a-b")
    assert ready_reason(cluster.cache("a")) == ready_reason(cluster.cache("a-b")) == "NoNodes"
    bound = {str(pv.spec.claim_ref.namespace): pv for pv in cluster.client.list(PersistentVolume) if pv.spec.claim_ref}
    assert (bound["c-d"].name, owners(bound["c-d"])) == ("a-b-c-d", [("LocalModelCache", "a", True)])
    assert bound["d"].name.startswith("a-b-c-d-")
    assert owners(bound["d"]) == [("LocalModelCache", "a-b", True)]
    found = claim(cluster, "d", "a-b-c")
    assert found is not None
    assert found.spec.volume_name == bound["d"].name
    for kind in (PersistentVolume, PersistentVolumeClaim):
        assert len(cluster.client.list(kind)) == 4
    cluster.client.actions.clear()
    settle(cluster, "a-b")
    assert cluster.client.writes == []


def test_serving_from_a_namespace_called_download_takes_no_download_volume_d59() -> None:
    cluster = Cluster(group(), cache(), service("s", "download"))
    for _ in range(3):
        settle(cluster)
    pv, pvc = volume(cluster, "iris-gpu-download"), claim(cluster, "download", "iris-gpu")
    assert pv is not None
    assert pvc is not None
    assert pv.spec.claim_ref is not None
    assert pv.spec.claim_ref.namespace == JOBS
    assert pvc.spec.volume_name != pv.name
    serving = volume(cluster, pvc.spec.volume_name)
    assert serving is not None
    assert serving.spec.claim_ref is not None
    assert serving.spec.claim_ref.namespace == "download"
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace="download"))
    settle(cluster)
    assert names(cluster) == (["iris-gpu-download"], [f"{JOBS}/iris-gpu"])


def test_a_deleted_namespace_cache_takes_its_volume_with_a_hash_too_d35() -> None:
    # LocalModelNamespaceCache iris of team-a has the serving volume iris-gpu-team-a, which the cache "iris-gpu" has.
    cluster = Cluster(group(), group("team"), cache("iris-gpu", "team"), namespace_cache())
    cluster.client.create(service("x", "a", "iris-gpu"))
    cluster.client.create(service("y", "team-a", of="team-a"))
    settle(cluster, "iris-gpu")
    settle(cluster, namespace="team-a")
    assert sorted(v.name[:15] for v in cluster.client.list(PersistentVolume)).count("iris-gpu-team-a") == 3
    cluster.client.delete(cluster.namespace_cache())
    settle(cluster, namespace="team-a")
    left = {v.metadata.annotations["localmodel.kserve.io/cache"] for v in cluster.client.list(PersistentVolume)}
    assert left == {"iris-gpu"}


def test_names_that_are_too_long_get_a_hash() -> None:
    long = "m" * 250
    cluster = Cluster(group(), cache(long))
    settle(cluster, long)
    volumes, (made,) = names(cluster)
    assert len(volumes[0]) <= 253
    assert len(made.partition("/")[2]) <= 253
    assert ready_reason(cluster.cache(long)) == "NoNodes"


def test_both_scopes_of_one_name_do_not_share_a_serving_volume_d59() -> None:
    cluster = Cluster(group(), cache(), namespace_cache(), service("x", "team-a"), service("y", "team-a", of="team-a"))
    cluster.reconcile_cache()
    cluster.reconcile_cache(namespace="team-a")
    assert ready_reason(cluster.namespace_cache()) == "VolumeConflict"
    pv = volume(cluster, "iris-gpu-team-a")
    assert pv is not None
    assert owners(pv) == [("LocalModelCache", "iris", True)]


def test_what_kserve_left_for_a_namespace_cache_is_adopted_with_an_event() -> None:
    spec = group().spec.persistent_volume_spec
    claim_ref = {"namespace": JOBS, "name": "iris-gpu-team-a-download", "uid": "bound"}
    left = PersistentVolume.from_dict(
        {"metadata": {"name": "iris-gpu-team-a-download"}, "spec": {**spec, "claimRef": claim_ref}}
    )
    cluster = Cluster(group(), namespace_cache(), left)
    cluster.reconcile_cache(namespace="team-a")
    assert cluster.recorder.reasons.count("VolumeAdopted") == 1
    pv = volume(cluster, "iris-gpu-team-a-download")
    assert pv is not None
    assert pv.spec.claim_ref is not None
    assert pv.spec.claim_ref.uid == "bound"
    assert pv.metadata.labels["localmodel.kserve.io/cache-uid"] == cluster.namespace_cache().metadata.uid


@pytest.mark.parametrize("change", [{"local": {"path": "/elsewhere"}}, {"claimRef": {"namespace": "x", "name": "y"}}])
def test_what_does_not_fit_is_not_adopted(change: dict[str, Any]) -> None:
    spec = {**group().spec.persistent_volume_spec, **change}
    foreign = PersistentVolume.from_dict({"metadata": {"name": "iris-gpu-team-a-download"}, "spec": spec})
    cluster = Cluster(group(), namespace_cache(), foreign)
    cluster.reconcile_cache(namespace="team-a")
    assert ready_reason(cluster.namespace_cache()) == "VolumeConflict"


def test_a_group_taken_out_of_a_cache_takes_its_volumes_d35() -> None:
    cluster = Cluster(group(), group("b"), cache("iris", "gpu", "b"))
    cluster.reconcile_cache()
    changed = cluster.cache()
    changed.spec.node_groups = ["b"]
    cluster.client.update(changed)
    settle(cluster)
    assert names(cluster) == (["iris-b-download"], [f"{JOBS}/iris-b"])


def test_a_group_that_is_missing_for_a_while_keeps_its_volumes() -> None:
    cluster = Cluster(group(), cache())
    cluster.reconcile_cache()
    cluster.client.delete(cluster.client.get(type(group()), "gpu"))
    settle(cluster)
    assert names(cluster) == (["iris-gpu-download"], [f"{JOBS}/iris-gpu"])


def test_a_deleted_namespace_cache_takes_what_it_could_not_own_d35() -> None:
    cluster = Cluster(group(), namespace_cache(), service("s", "team-a", of="team-a"))
    cluster.reconcile_cache(namespace="team-a")
    cluster.client.delete(cluster.namespace_cache())
    cluster.reconcile_cache(namespace="team-a")
    volumes, claims = names(cluster)
    assert volumes == []
    assert f"{JOBS}/iris-gpu-team-a-download" not in claims


def test_without_volume_management_serving_volumes_are_left_alone() -> None:
    cluster = Cluster(group(), cache(), service("s", "team-a"))
    cluster.reconcile_cache()
    cluster.client.create(config_map('{"disableVolumeManagement": true}'))
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace="team-a"))
    settle(cluster)
    assert claim(cluster, "team-a", "iris-gpu") is not None


def in_agents(cluster: Cluster) -> None:
    """Agents download themselves."""
    cluster.client.create(config_map('{"downloadMode": "Agent"}'))


def test_where_agents_download_themselves_no_job_gets_a_volume() -> None:
    cluster = Cluster(group(), cache(), service("s", "team-a"))
    in_agents(cluster)
    cluster.reconcile_cache()
    assert names(cluster) == (["iris-gpu-team-a"], ["team-a/iris-gpu"])


def test_the_volumes_of_jobs_go_with_the_mode_and_come_back_with_it() -> None:
    cluster = Cluster(group(), cache())
    cluster.reconcile_cache()
    before = names(cluster)
    in_agents(cluster)
    settle(cluster)
    assert names(cluster) == ([], [])
    cluster.client.delete(config_map(""))
    settle(cluster)
    assert names(cluster) == before


def test_services_of_the_job_namespace_keep_the_claim_that_they_share_with_jobs() -> None:
    cluster = Cluster(group(), cache(), service("s", JOBS))
    cluster.reconcile_cache()
    before = names(cluster)
    in_agents(cluster)
    settle(cluster)
    assert names(cluster) == before
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace=JOBS))
    settle(cluster)
    assert names(cluster) == ([], [])


def test_a_volume_specification_that_makes_no_sense_is_shown() -> None:
    odd = group()
    odd.spec.persistent_volume_spec["capacity"] = ["10Gi"]
    cluster = Cluster(odd, cache())
    cluster.reconcile_cache()
    assert ready_reason(cluster.cache()) == "VolumeInvalid"


def test_a_cache_made_anew_waits_for_the_volumes_of_the_old_one() -> None:
    old = PersistentVolume.from_dict(
        {
            "metadata": {
                "name": "iris-gpu-download",
                "labels": {"localmodel.kserve.io/cache-uid": "old"},
                "annotations": {"localmodel.kserve.io/cache": "iris"},
                "ownerReferences": [
                    {
                        "apiVersion": "serving.kserve.io/v1alpha1",
                        "kind": "LocalModelCache",
                        "name": "iris",
                        "uid": "old",
                        "controller": True,
                    }
                ],
            },
            "spec": {"local": {"path": "/mnt/models"}},
        }
    )
    cluster = Cluster(group(), cache(), old)
    cluster.reconcile_cache()
    assert ready_reason(cluster.cache()) == "VolumeConflict"
    cluster.client.delete(PersistentVolume(metadata=ObjectMeta(name="iris-gpu-download")))
    settle(cluster)
    pv = volume(cluster, "iris-gpu-download")
    assert pv is not None
    assert pv.metadata.owner_references[0].uid == cluster.cache().metadata.uid
