"""What a person gets wrong ends in a clear message on the object, and the rest goes on working."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.sandbox import Sandbox, sandbox, storage_container

from localmodel.api import LocalModelCache
from localmodel.runtime.errors import InvalidError
from localmodel.sandbox import demo_objects, install

NOBODY = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """All mistakes at once, before anything good is asked for. A Job has one try; `test_killed` has those with more."""
    with sandbox(tmp_path_factory.mktemp("wrong"), size=4 << 20, config={"jobBackoffLimit": 0}) as it:
        wrong_token = demo_objects.hf_secret("hf_wrong", install.JOB_NAMESPACE)
        wrong_token["metadata"]["name"] = "wrong-secret"
        it.apply(
            wrong_token,
            storage_container("unreachable", "hf://unreachable/", NOBODY),
            storage_container("locked", "hf://locked/", it.hub.url, secret="wrong-secret"),
            storage_container("no-secret", "hf://no-secret/", it.hub.url, secret="none"),
        )
        it.cache("unreachable", "unreachable/model")
        it.cache("missing", "org/missing")
        it.cache("locked", "locked/model")
        it.cache("nowhere", "org/model-1", group="nowhere")
        it.cache("huge", "org/model-2", size=10 * 2**40)
        yield it


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unreachable", ["127.0.0.1:9"]),
        ("missing", ["org/missing", "404"]),
        ("locked", ["401", "token"]),
    ],
)
def test_a_failed_download_says_why_on_the_cache(cluster: Sandbox, name: str, words: list[str]) -> None:
    cluster.eventually(lambda: cluster.condition(name, "Degraded")[0] == "True", timeout=60)
    _, reason, message = cluster.condition(name, "Degraded")
    assert reason == "DownloadFailed"
    for word in words:
        assert word in message
    cluster.eventually(lambda: any(type_ == "Warning" for type_, _, _ in cluster.events(name)))
    warnings = [message for type_, _, message in cluster.events(name) if type_ == "Warning"]
    assert any(all(word in warning for word in words) for warning in warnings), warnings
    assert cluster.condition(name, "Ready")[0] == "False"
    cluster.eventually(lambda: cluster.status(name).copies.failed == 2)


def test_a_group_that_does_not_exist_is_named(cluster: Sandbox) -> None:
    cluster.eventually(lambda: cluster.condition("nowhere", "Ready")[1] == "NodeGroupNotFound")
    assert "nowhere" in cluster.condition("nowhere", "Ready")[2]
    cluster.eventually(lambda: ("Warning", "NodeGroupNotFound") in [e[:2] for e in cluster.events("nowhere")])


def test_a_disk_without_room_is_told_with_the_numbers(cluster: Sandbox) -> None:
    cluster.eventually(lambda: cluster.condition("huge", "Degraded")[1] == "InsufficientStorage")
    assert "10.0 TiB" in cluster.condition("huge", "Degraded")[2]
    cluster.eventually(lambda: any("InsufficientStorage" in reason for _, reason, _ in cluster.events("huge")))


def test_the_source_of_a_cache_cannot_be_changed(cluster: Sandbox) -> None:
    cache = cluster.cluster.client.get(LocalModelCache, "nowhere")
    with pytest.raises(InvalidError, match="immutable"):
        cluster.cluster.client.patch(cache, {"spec": {"sourceModelUri": "hf://org/other"}})


def test_a_good_cache_beside_them_completes(cluster: Sandbox) -> None:
    cluster.cache("good", "org/model-0")
    cluster.eventually(lambda: cluster.is_available("good"))
    assert cluster.problems("org/model-0") == []


def test_a_cache_completes_once_its_group_is_made(cluster: Sandbox) -> None:
    group = demo_objects.node_group()
    group["metadata"]["name"] = "late"
    cluster.cache("early", "org/model-3", group="late")
    cluster.eventually(lambda: cluster.condition("early", "Ready")[1] == "NodeGroupNotFound")
    cluster.apply(group)
    cluster.eventually(lambda: cluster.is_available("early"))


def test_a_deleted_cache_leaves_nothing_behind(cluster: Sandbox) -> None:
    cluster.cache("gone", "org/model-4")
    cluster.eventually(lambda: cluster.is_available("gone"))
    cluster.cluster.client.delete(cluster.cluster.client.get(LocalModelCache, "gone"))
    cluster.eventually(lambda: cluster.cluster.client.find(LocalModelCache, "gone") is None)
    cluster.eventually(lambda: not any(cluster.folder(node, "org/model-4").exists() for node in cluster.cluster.nodes))
    cluster.eventually(lambda: not cluster.jobs("gone"))
