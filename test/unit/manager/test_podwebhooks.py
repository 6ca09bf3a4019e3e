"""The pod webhooks: the one model's claim in model scope, and what a pod may mount of models in either."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import JOBS, Cluster, cache, config_map, group, namespace_cache, service
from support.rights import MANAGER, ActingAs
from support.rigid import Rigid

from localmodel.agent.jobs import DownloadRequest, build_job
from localmodel.api import LocalModelInfo, LocalModelNode
from localmodel.api.names import model_pvc_name, storage_key
from localmodel.manager.podwebhooks import PodWebhooks
from localmodel.manager.settings import Settings
from localmodel.runtime import deadline
from localmodel.runtime.delegating_client import DelegatingClient
from localmodel.runtime.errors import ServiceUnavailableError
from localmodel.runtime.objects import ConfigMap, Object, ObjectMeta, PersistentVolume, PersistentVolumeClaim
from localmodel.runtime.testing import FakeClient
from localmodel.runtime.webhook import AdmissionRequest, AdmissionResponse, DeniedError, Operation
from localmodel.runtime.webhook.patch import apply_patch

Json = dict[str, Any]

URI = "hf://o/m"
KEY = storage_key(URI)
OTHER = storage_key("hf://o/other")
MODEL = '{"servingVolumeScope": "model"}'
SINGLE = model_pvc_name("iris", "gpu", URI)
VOLUME = "kserve-pvc-source"


class Unaware(DelegatingClient):
    """A cache that knows caches and groups, but has yet to hear of volumes."""

    def list(self, kind: Any, **options: Any) -> Any:
        return [] if kind is PersistentVolume else self.inner.list(kind, **options)

    def get(self, kind: Any, name: str, *, namespace: str = "") -> Any:
        return self.inner.get(kind, "unseen" if kind is PersistentVolume else name, namespace=namespace)


class Slow(DelegatingClient):
    """An API server that takes ten seconds for each answer."""

    def get(self, kind: Any, name: str, *, namespace: str = "") -> Any:
        left = deadline.remaining()
        assert left is not None
        raise deadline.DeadlineExceededError(f"no answer in {left:.1f} s")


class Cut(Cluster):
    """A cluster whose API server does not answer what is asked live."""

    @property
    def live(self) -> FakeClient:
        cut = FakeClient(registry=self.client.registry)
        cut.faults.fail(ServiceUnavailableError.of("later"), times=-1)
        return cut


def hooks(cluster: Cluster, *, reader: Any = None, live: Any = None) -> PodWebhooks:
    return PodWebhooks(
        Settings(),
        reader=reader or cluster.client,
        live=live or cluster.client,
        recorder=cluster.recorder,
        clock=cluster.clock,
    )


def served(*more: Object, scope: str = "{}", volumes: bool = True) -> Cluster:
    """A cluster in which team-a serves iris."""
    cluster = Cluster(group(), cache(), service("s", "team-a"), config_map(scope), *more)
    if volumes:
        cluster.reconcile_cache()
    return cluster


def pod(claim: str = "iris-gpu", *mounts: Json, labels: Json | None = None, **spec: Any) -> Json:
    """One as KServe's webhook leaves it, or with mounts of another sort."""
    mounts = mounts or ({"mountPath": "/mnt/models", "subPath": f"models/{KEY}", "readOnly": True},)
    container = {"name": "kserve-container", "image": "i", "volumeMounts": [{"name": VOLUME, **it} for it in mounts]}
    return {
        "metadata": {"name": "s-predictor-1", "namespace": "team-a", "labels": labels or {}},
        "spec": {
            "containers": [container],
            "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": claim}}],
            **spec,
        },
    }


def kserve_labels(name: str = "iris", namespace: str = "") -> Json:
    labels = {"internal.serving.kserve.io/localmodel": name}
    return labels | ({"internal.serving.kserve.io/localmodel-namespace": namespace} if namespace else {})


def asked(pod: Json, namespace: str = "team-a", operation: str = Operation.CREATE, **more: Any) -> AdmissionRequest:
    return AdmissionRequest(operation=operation, namespace=namespace, object=pod, **more)


def claim_of(pod: Json, response: AdmissionResponse) -> tuple[str, Json]:
    """The claim and the mount after the patch."""
    assert response.allowed
    patched = apply_patch(pod, response.patch)
    mount = patched["spec"]["containers"][0]["volumeMounts"][0]
    return patched["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], mount


# the one model's claim -----------------------------------------------------------------------------------------------


def test_a_services_pod_gets_the_claim_of_its_model() -> None:
    it = pod(labels=kserve_labels())
    response = hooks(served(scope=MODEL)).mutate(asked(it))
    assert claim_of(it, response) == (SINGLE, {"name": VOLUME, "mountPath": "/mnt/models", "readOnly": True})
    assert response.warnings == ()


def test_the_result_is_left_as_it_is_when_it_is_asked_about_again() -> None:
    it = pod(labels=kserve_labels())
    webhooks = hooks(served(scope=MODEL))
    changed = apply_patch(it, webhooks.mutate(asked(it)).patch)
    assert webhooks.mutate(asked(changed)).patch == ()


def test_before_kserves_webhook_there_is_nothing_to_do() -> None:
    it = {"metadata": {"labels": kserve_labels()}, "spec": {"containers": [{"name": "kserve-container"}]}}
    assert hooks(served(scope=MODEL)).mutate(asked(it)).patch == ()


@pytest.mark.parametrize("scope", ["{}", '{"servingVolumeScope": "model", "disableVolumeManagement": true}'])
def test_without_model_scope_pods_stay_as_kserve_makes_them(scope: str) -> None:
    assert hooks(served(scope=scope)).mutate(asked(pod(labels=kserve_labels()))).patch == ()


def test_the_claim_need_not_be_there_yet() -> None:
    it = pod(labels=kserve_labels())
    assert claim_of(it, hooks(served(scope=MODEL, volumes=False)).mutate(asked(it)))[0] == SINGLE


def test_a_cache_that_is_not_known_yet_is_read_live() -> None:
    cluster = served(scope=MODEL)
    it = pod(labels=kserve_labels())
    webhooks = hooks(cluster, reader=Cluster(config_map(MODEL)).client, live=cluster.client)
    assert claim_of(it, webhooks.mutate(asked(it)))[0] == SINGLE


def test_a_pod_that_a_person_made_gets_it_too() -> None:
    it = pod()
    assert claim_of(it, hooks(served(scope=MODEL)).mutate(asked(it)))[0] == SINGLE


def test_a_pod_of_a_namespace_cache_gets_that_caches_claim() -> None:
    cluster = Cluster(group(), cache(), namespace_cache(), config_map(MODEL))
    it = pod(labels=kserve_labels(namespace="team-a"))
    assert claim_of(it, hooks(cluster).mutate(asked(it)))[0] == model_pvc_name("iris", "gpu", URI, "team-a")


def test_the_labels_tell_caches_apart_whose_claims_have_one_name_d59() -> None:
    cluster = Cluster(group("c"), group("b-c"), cache("a-b", "c"), cache("a", "b-c"), config_map(MODEL))
    for name, node_group in (("a-b", "c"), ("a", "b-c")):
        it = pod("a-b-c", labels=kserve_labels(name))
        assert claim_of(it, hooks(cluster).mutate(asked(it)))[0] == model_pvc_name(name, node_group, URI)


def test_a_group_without_a_path_has_no_such_claim() -> None:
    without = group()
    del without.spec.persistent_volume_spec["local"]
    cluster = Cluster(without, cache(), config_map(MODEL))
    assert hooks(cluster).mutate(asked(pod(labels=kserve_labels()))).patch == ()


@pytest.mark.parametrize("claim", ["data", SINGLE])
def test_other_claims_stay(claim: str) -> None:
    assert hooks(served(scope=MODEL)).mutate(asked(pod(claim, labels=kserve_labels()))).patch == ()


def test_a_download_pod_keeps_its_claim() -> None:
    it = download_pod()
    assert hooks(served(scope=MODEL)).mutate(asked(it, JOBS)).patch == ()


def test_where_the_cache_cannot_be_read_the_pod_stays_as_it_is_with_a_warning() -> None:
    empty = Cut(config_map(MODEL))
    response = hooks(empty, live=empty.live).mutate(asked(pod(labels=kserve_labels())))
    assert (response.allowed, response.patch) == (True, ())
    assert response.warnings == (f"volume {VOLUME} keeps claim iris-gpu: later",)


# what a pod may mount ------------------------------------------------------------------------------------------------


def refusal(webhooks: PodWebhooks, it: Json, namespace: str = "team-a", **more: Any) -> str:
    with pytest.raises(DeniedError) as caught:
        webhooks.validate(asked(it, namespace, **more))
    return str(caught.value)


@pytest.mark.parametrize("scope", ["{}", MODEL])
def test_a_pod_as_kserve_makes_it_is_let_in(scope: str) -> None:
    response = hooks(served(scope=scope)).validate(asked(pod(labels=kserve_labels())))
    assert (response.allowed, response.warnings) == (True, ())


@pytest.mark.parametrize("scope", ["{}", MODEL])
def test_a_pod_that_mounts_the_whole_store_is_refused_d19(scope: str) -> None:
    it = pod("iris-gpu", {"mountPath": "/all", "readOnly": True})
    assert refusal(hooks(served(scope=scope)), it) == (
        f"pod s-predictor-1: container kserve-container mounts volume {VOLUME} without a sub-path, and claim iris-gpu "
        f"of LocalModelCache iris shows every model of a node: give the mount subPath: models/{KEY} (or below) and "
        "readOnly: true"
    )


def test_a_pod_that_mounts_another_model_is_refused_d19() -> None:
    it = pod("iris-gpu", {"mountPath": "/m", "subPath": f"models/{OTHER}", "readOnly": True})
    assert f"with sub-path models/{OTHER}" in refusal(hooks(served()), it)


def test_a_pod_that_writes_is_refused_d19() -> None:
    it = pod("iris-gpu", {"mountPath": "/m", "subPath": f"models/{KEY}"})
    assert "writable" in refusal(hooks(served()), it)


def test_a_pod_that_writes_to_a_claim_of_one_model_is_refused_d19() -> None:
    webhooks = hooks(served(scope=MODEL))
    it = pod(SINGLE, {"mountPath": "/m"})
    assert refusal(webhooks, it).endswith(
        f"and claim {SINGLE} of LocalModelCache iris is shared with other pods: give the mount readOnly: true"
    )
    assert webhooks.validate(asked(pod(SINGLE, {"mountPath": "/m", "readOnly": True}))).allowed


@pytest.mark.parametrize("field", ["initContainers", "containers"])
def test_every_container_counts(field: str) -> None:
    bad = {"name": "x", "volumeMounts": [{"name": VOLUME, "mountPath": "/all"}]}
    it = pod()
    it["spec"][field] = [*it["spec"].get(field, ()), bad]
    assert "container x mounts" in refusal(hooks(served()), it)


def test_a_pod_without_a_name_is_called_by_what_it_has() -> None:
    it = pod("iris-gpu", {"mountPath": "/all"})
    it["metadata"] = {"generateName": "s-predictor-"}
    assert refusal(hooks(served()), it).startswith("pod s-predictor-: ")


@pytest.mark.parametrize("volumes", [True, False])
def test_a_claim_made_for_the_pod_cannot_take_the_name_of_a_caches(volumes: bool) -> None:
    """A user of the namespace deletes the claim iris-gpu; its volume then binds the next one of the name."""
    it = pod("iris-gpu", {"mountPath": "/all", "readOnly": True})
    it["metadata"]["name"] = "iris"
    it["spec"]["volumes"] = [{"name": "gpu", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    it["spec"]["containers"][0]["volumeMounts"][0]["name"] = "gpu"
    webhooks = hooks(served(volumes=volumes))
    assert "claim iris-gpu of LocalModelCache iris" in refusal(webhooks, it)
    it["metadata"]["name"] = "data"
    assert webhooks.validate(asked(it)).warnings == ()


def test_other_claims_are_nobodys_business_and_cost_no_request() -> None:
    cluster = served()
    live = FakeClient()
    response = hooks(cluster, live=live).validate(asked(pod("data", {"mountPath": "/data"})))
    assert (response.allowed, response.warnings, live.actions) == (True, (), [])


def test_a_volume_that_is_not_known_yet_is_read_live() -> None:
    cluster = served()
    it = pod("iris-gpu", {"mountPath": "/all", "readOnly": True})
    assert refusal(hooks(cluster, reader=Unaware(cluster.client), live=cluster.client), it)


def test_somebody_elses_claim_of_the_name_is_not_judged() -> None:
    volume = PersistentVolume(metadata=ObjectMeta(name="nfs"))
    foreign = PersistentVolumeClaim.from_dict(
        {"metadata": {"name": "iris-gpu", "namespace": "team-b"}, "spec": {"volumeName": "nfs"}}
    )
    cluster = served(volume, foreign)
    assert hooks(cluster).validate(asked(pod("iris-gpu", {"mountPath": "/data"}), "team-b")).allowed


def test_a_claim_of_the_name_that_wants_a_volume_which_cannot_be_is_judged_as_ours() -> None:
    """An API server takes any text as the name of a claim's volume."""
    odd = PersistentVolumeClaim.from_dict(
        {"metadata": {"name": "iris-gpu", "namespace": "team-a"}, "spec": {"volumeName": "a?b"}}
    )
    cluster = served(odd, volumes=False)
    webhooks = hooks(cluster, live=Rigid(cluster.client))
    assert refusal(webhooks, pod("iris-gpu", {"mountPath": "/all", "readOnly": True}))


def test_a_pod_that_names_the_claim_before_it_is_there_is_judged_alike() -> None:
    assert refusal(hooks(served(volumes=False)), pod("iris-gpu", {"mountPath": "/all", "readOnly": True}))


def test_labels_taken_off_the_claim_change_nothing() -> None:
    cluster = served()
    claim = cluster.client.get(PersistentVolumeClaim, "iris-gpu", namespace="team-a")
    cluster.client.patch(claim, {"metadata": {"labels": None, "annotations": None, "ownerReferences": None}})
    assert refusal(hooks(cluster), pod("iris-gpu", {"mountPath": "/all", "readOnly": True}))


def test_an_ephemeral_container_cannot_mount_the_whole_store() -> None:
    before, after = pod(), pod()
    after["spec"]["ephemeralContainers"] = [
        {"name": "debug", "volumeMounts": [{"name": VOLUME, "mountPath": "/all", "readOnly": True}]}
    ]
    webhooks = hooks(served())
    assert "container debug mounts" in refusal(webhooks, after, operation=Operation.UPDATE, old_object=before)
    assert webhooks.validate(asked(after, operation=Operation.UPDATE, old_object=after)).allowed


def download_pod(**changes: Any) -> Json:
    """As the job controller makes it of an agent's Job."""
    node = LocalModelNode(metadata=ObjectMeta(name="node-1", uid="u"))
    entry = LocalModelInfo(**{"source_model_uri": URI, "model_name": "iris", "node_group": "gpu", **changes})
    template: Json = build_job(DownloadRequest(node=node, entry=entry, attempt=1)).spec.template
    return {**template, "metadata": {**template["metadata"], "generateName": "iris-node-1-"}}


def test_download_jobs_are_let_in() -> None:
    assert hooks(served()).validate(asked(download_pod(), JOBS)).allowed


def test_download_jobs_of_a_namespace_cache_are_let_in() -> None:
    cluster = Cluster(group(), namespace_cache())
    cluster.reconcile_cache(namespace="team-a")
    assert hooks(cluster).validate(asked(download_pod(namespace="team-a"), JOBS)).allowed


def test_services_and_downloads_of_the_job_namespace_share_a_claim_d58() -> None:
    cluster = Cluster(group(), cache(), service("s", JOBS))
    cluster.reconcile_cache()
    webhooks = hooks(cluster)
    assert webhooks.validate(asked(download_pod(), JOBS)).allowed
    assert webhooks.validate(asked(pod(labels=kserve_labels()), JOBS)).allowed
    assert "writable" in refusal(webhooks, pod("iris-gpu", {"mountPath": "/m", "subPath": f"models/{KEY}"}), JOBS)


def test_a_pod_in_the_job_namespace_writes_to_no_other_models_staging_folder() -> None:
    assert refusal(hooks(served()), pod("iris-gpu", {"mountPath": "/m", "subPath": f"models/.staging/{OTHER}"}), JOBS)


def test_a_pod_elsewhere_writes_to_no_staging_folder() -> None:
    assert refusal(hooks(served()), pod("iris-gpu", {"mountPath": "/m", "subPath": f"models/.staging/{KEY}"}))


def test_where_it_cannot_tell_the_pod_is_let_in_with_a_warning_or_refused_on_demand() -> None:
    cluster = Cut(group(), config_map("{}"))
    webhooks = hooks(cluster, reader=cluster.live, live=cluster.live)
    it = pod("iris-gpu", {"mountPath": "/all"})
    response = webhooks.validate(asked(it))
    assert response.allowed
    assert len(response.warnings) == 1
    with pytest.raises(DeniedError, match="pods of this namespace wait until that is known"):
        webhooks.validate_strictly(asked(it))


def test_a_claim_of_ours_is_guarded_although_the_configuration_cannot_be_read() -> None:
    cluster = served()
    webhooks = hooks(cluster)
    cluster.client.faults.fail(ServiceUnavailableError.of("later"), verb="get", kind=ConfigMap, times=None)
    assert refusal(webhooks, pod("iris-gpu", {"mountPath": "/all", "readOnly": True}))
    assert webhooks.validate(asked(pod())).warnings == ()


def test_an_answer_takes_less_than_a_second() -> None:
    cluster = served(scope=MODEL, volumes=False)
    slow = Slow(cluster.client)
    webhooks = hooks(cluster, reader=Cluster(config_map(MODEL)).client, live=slow)
    response = webhooks.mutate(asked(pod(labels=kserve_labels())))
    assert response.warnings == (f"volume {VOLUME} keeps claim iris-gpu: no answer in 0.8 s",)
    assert hooks(cluster, live=slow).validate(asked(pod())).allowed


def test_a_claim_that_is_ours_by_its_name_is_guarded_although_the_api_server_does_not_answer() -> None:
    cluster = Cut(group(), cache(), config_map("{}"))
    webhooks = hooks(cluster, live=cluster.live)
    assert refusal(webhooks, pod("iris-gpu", {"mountPath": "/all"}))
    assert webhooks.validate_strictly(asked(pod())).allowed


def test_a_volume_of_a_cache_that_cannot_be_read_is_guarded_all_the_same() -> None:
    """As where many volumes of a pod have used up the time of the answer."""
    cluster = served()
    cluster.client.delete(cluster.cache())
    cluster.reconcile_cache()
    webhooks = hooks(cluster, live=Slow(cluster.client))
    assert refusal(webhooks, pod("iris-gpu", {"mountPath": "/all", "readOnly": True}))
    assert webhooks.validate_strictly(asked(pod())).allowed


@pytest.mark.parametrize("claim", ["iris-a?b", ""])
def test_what_nothing_can_be_called_is_asked_of_nobody(claim: str) -> None:
    """A mutating webhook is asked before the API server has looked at the pod."""
    cluster = Cluster(cache("iris", "a?b"), config_map(MODEL))
    live = Rigid(cluster.client)
    it = pod(claim, labels=kserve_labels("a?b"))
    response = hooks(cluster, reader=cluster.client, live=live).mutate(asked(it))
    assert (response.patch, response.warnings) == ((), ())


def test_a_volume_of_a_cache_that_is_gone_shows_no_more_than_one_model() -> None:
    cluster = served()
    cluster.client.delete(cluster.cache())
    cluster.reconcile_cache()
    webhooks = hooks(cluster)
    assert webhooks.validate(asked(pod())).allowed
    assert "models/<storage key>" in refusal(webhooks, pod("iris-gpu", {"mountPath": "/all", "readOnly": True}))


def test_what_is_asked_live_is_within_the_managers_rights() -> None:
    cluster = served(volumes=False)
    live = FakeClient(registry=cluster.client.registry, interceptors=[ActingAs(MANAGER)])
    assert hooks(cluster, live=live).validate(asked(pod())).warnings == ()
