"""The annotation that asks a node for evicted models."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from support.manager import Cluster, cache, group, namespace_cache, node, service

from localmodel.api.names import WANTED_ANNOTATION, storage_key
from localmodel.manager.indexes import InferenceService, LLMInferenceService
from localmodel.runtime.objects import Object, ObjectMeta, Unstructured, format_time

KEY = storage_key("hf://o/m")


def wanted(cluster: Cluster) -> str | None:
    return cluster.local_model_node().metadata.annotations.get(WANTED_ANNOTATION)


def seconds(cluster: Cluster, offset: int) -> str:
    """A time from now."""
    return format_time(cluster.clock.now() + timedelta(seconds=offset))


def evicted(*more: Object, **fields: Any) -> Cluster:
    """A node that had the model and has evicted it."""
    cluster = Cluster(node(), group(), group("b"), cache("iris", "gpu", "b"), *more)
    cluster.reconcile_node()
    cluster.clock.advance(100)
    cluster.say("iris", "ModelDownloadPending", reason="Evicted", **fields)
    cluster.reconcile_node()
    return cluster


def serve(cluster: Cluster, made: Object | None = None) -> None:
    cluster.client.create(made or service("s", "team-a"))
    cluster.reconcile_node()


def test_an_evicted_model_that_nobody_uses_is_not_wanted() -> None:
    assert wanted(evicted()) is None


def test_a_service_made_after_the_download_wants_the_model() -> None:
    cluster = evicted()
    cluster.say("iris", "ModelDownloadPending", reason="Evicted", downloadedTime=seconds(cluster, -1))
    serve(cluster)
    assert wanted(cluster) == KEY


def test_that_a_model_is_wanted_again_is_told_once() -> None:
    cluster = evicted()
    serve(cluster)
    cluster.reconcile_node()
    told = [event for event in cluster.recorder.events if event.reason == "ModelWanted"]
    assert [event.message for event in told] == ["A service wants evicted model iris on this node again"]


def test_a_service_made_before_the_download_has_had_its_turn() -> None:
    cluster = evicted()
    cluster.say(
        "iris",
        "ModelDownloadPending",
        reason="Evicted",
        downloadedTime=seconds(cluster, 1),
        lastUsedTime=seconds(cluster, -50),
    )
    serve(cluster)
    assert wanted(cluster) is None


@pytest.mark.parametrize(("offset", "expected"), [(-1, KEY), (1, None)])
def test_without_a_time_of_download_that_of_the_last_use_counts(offset: int, expected: str | None) -> None:
    cluster = evicted()
    cluster.say("iris", "ModelDownloadPending", reason="Evicted", lastUsedTime=seconds(cluster, offset))
    serve(cluster)
    assert wanted(cluster) == expected


def test_without_any_time_every_service_counts() -> None:
    assert wanted(evicted(service("s", "team-a"))) == KEY


def test_an_llm_inference_service_wants_it_too() -> None:
    labels = service("s", "team-a").metadata.labels
    made = LLMInferenceService(metadata=ObjectMeta(name="s", namespace="team-a", labels=labels))
    assert wanted(evicted(made)) == KEY


def test_a_service_on_another_group_does_not_want_it_here() -> None:
    assert wanted(evicted(service("s", "team-a", node_group="b"))) is None


def test_a_model_that_is_missing_for_another_reason_is_not_asked_for() -> None:
    cluster = evicted(service("s", "team-a"))
    cluster.say("iris", "ModelDownloadPending", reason="InsufficientStorage")
    cluster.reconcile_node()
    assert wanted(cluster) is None


def test_the_annotation_goes_when_the_model_comes_back() -> None:
    cluster = evicted(service("s", "team-a"))
    cluster.say("iris", "ModelDownloading", reason="Downloading")
    cluster.reconcile_node()
    assert wanted(cluster) is None


def test_the_annotation_goes_with_the_service() -> None:
    cluster = evicted(service("s", "team-a"))
    cluster.client.delete(cluster.client.get(InferenceService, "s", namespace="team-a"))
    cluster.reconcile_node()
    assert wanted(cluster) is None


def test_the_annotation_goes_with_the_entry() -> None:
    cluster = evicted(service("s", "team-a"))
    cluster.client.delete(cluster.cache())
    cluster.reconcile_node()
    assert wanted(cluster) is None


def test_keys_are_sorted_and_other_annotations_stay() -> None:
    uris = [f"hf://o/{number}" for number in range(4)]
    caches = [cache(f"m{number}", sourceModelUri=uri) for number, uri in enumerate(uris)]
    services = [service(f"s{number}", "team-a", f"m{number}") for number in range(4)]
    cluster = Cluster(node(), group(), *caches, *services)
    cluster.reconcile_node()
    cluster.client.patch(cluster.local_model_node(), {"metadata": {"annotations": {"a": "b"}}})
    for number in range(4):
        cluster.say(f"m{number}", "ModelDownloadPending", reason="Evicted")
    cluster.reconcile_node()
    keys = ",".join(sorted(map(storage_key, uris)))
    assert wanted(cluster) == keys
    assert cluster.local_model_node().metadata.annotations["a"] == "b"


def test_a_namespace_cache_is_wanted_by_its_own_services_only() -> None:
    uri = "hf://o/scoped"
    cluster = Cluster(node(), group(), namespace_cache(sourceModelUri=uri), service("s", "team-b", of="team-a"))
    cluster.reconcile_node()
    cluster.say("team-a/iris", "ModelDownloadPending", reason="Evicted")
    cluster.reconcile_node()
    assert wanted(cluster) is None
    serve(cluster, service("s", "team-a", of="team-a"))
    assert wanted(cluster) == storage_key(uri)


def test_it_is_written_with_the_entries_and_once() -> None:
    cluster = evicted(service("s", "team-a"))
    cluster.client.actions.clear()
    cluster.reconcile_node()
    assert cluster.client.writes == []


def test_an_annotation_that_somebody_removes_comes_back() -> None:
    cluster = evicted(service("s", "team-a"))
    cluster.client.patch(cluster.local_model_node(), {"metadata": {"annotations": None}})
    cluster.reconcile_node()
    assert wanted(cluster) == KEY


def test_what_a_kind_that_is_not_served_wanted_stays_wanted() -> None:
    cluster = evicted(service("s", "team-a"))
    cluster.reconcile_cache()
    assert cluster.cache().status.inference_services
    cluster.client.withdraw(InferenceService)
    cluster.nodes.client = _without_services(cluster)
    cluster.reconcile_node()
    assert wanted(cluster) == KEY


def _without_services(cluster: Cluster) -> Any:
    from localmodel.runtime.cache import KindNotServedError
    from localmodel.runtime.delegating_client import DelegatingClient

    class Blind(DelegatingClient):
        def list(self, kind: Any, **options: Any) -> Any:
            if kind in (InferenceService, LLMInferenceService):
                raise KindNotServedError("not served")
            return self.inner.list(kind, **options)

    return Blind(cluster.client)


def test_two_services_do_not_throw_each_others_models_out_in_turns() -> None:
    """The disk has room for one of two models. An agent brings what is wanted, and evicts the other for it."""
    cluster = Cluster(node(), group(), cache("a", sourceModelUri="hf://o/a"), cache("b", sourceModelUri="hf://o/b"))
    cluster.reconcile_node()
    downloads: list[str] = []

    def download(name: str, other: str) -> None:
        downloads.append(name)
        gone = cluster.local_model_node().status.models.get(other)
        since = {"downloadedTime": format_time(gone.downloaded_time)} if gone and gone.downloaded_time else {}
        cluster.say(other, "ModelDownloadPending", reason="Evicted", **since)
        cluster.say(name, "ModelDownloaded", reason="Published", downloadedTime=seconds(cluster, 0))

    download("a", "b")
    for number, name in enumerate("ab"):
        cluster.clock.advance(10)
        cluster.client.create(service(f"s{number}", "team-a", name))
    for _ in range(50):
        cluster.clock.advance(10)
        cluster.reconcile_node()
        asked = wanted(cluster)
        for name, other in ("ab", "ba"):
            if asked == storage_key(f"hf://o/{name}"):
                download(name, other)
    assert downloads == ["a", "b", "a"]


@pytest.mark.parametrize(("pool", "expected"), [("b", KEY), ("nowhere", None)])
def test_a_service_whose_own_selector_chooses_the_node_wants_the_model_of_that_group_d80(
    pool: str, expected: str | None
) -> None:
    cluster = Cluster(node(pool="b"), group(), group("b"), cache("iris", "gpu", "b"))
    cluster.reconcile_node()
    cluster.clock.advance(100)
    cluster.say("iris", "ModelDownloadPending", reason="Evicted")
    metadata = {"name": "s", "namespace": "team-a", "labels": {"internal.serving.kserve.io/localmodel": "iris"}}
    spec = {"predictor": {"nodeSelector": {"pool": pool}}}
    serve(cluster, Unstructured.of(InferenceService.mapping).from_dict({"metadata": metadata, "spec": spec}))
    assert wanted(cluster) == expected
