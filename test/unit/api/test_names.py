"""The names that KServe's webhooks and existing clusters rely on."""

from __future__ import annotations

import pytest

from localmodel.api import names


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://mybucket/mymodel", "89da10faf446bbf1"),
        ("hf://meta-llama/meta-llama-3-8b-instruct", "c277d78a31bc6624"),
        ("gs://bucket/model", "a4db08f99421c836"),
        ("gs://bucket/model/", "3ead42fa98c3c0c4"),
        ("s3://foo", "83fbff445b51876f"),
        ("hf://Qwen/Qwen2-0.5B-Instruct", "a7631b3fe62115e0"),
        ("gs://kfserving-examples/models/sklearn/1.0/model", "379edc91f9c1bc7b"),
    ],
)
def test_the_storage_key_is_kserves(uri: str, key: str) -> None:
    assert names.storage_key(uri) == key


def test_volumes_of_a_cluster_cache_have_kserves_names() -> None:
    assert names.download_pv_name("iris", "gpu") == "iris-gpu-download"
    assert names.download_pvc_name("iris", "gpu") == "iris-gpu"
    assert names.serving_pv_name("iris", "gpu", "team-a") == "iris-gpu-team-a"
    assert names.serving_pvc_name("iris", "gpu") == "iris-gpu"


def test_volumes_of_a_namespace_cache_have_kserves_names() -> None:
    assert names.download_pv_name("iris", "gpu", "team-a") == "iris-gpu-team-a-download"
    assert names.download_pvc_name("iris", "gpu", "team-a") == "iris-gpu-team-a-download"


def test_the_status_key_carries_the_namespace_of_a_namespace_cache_only() -> None:
    assert names.status_key("iris") == "iris"
    assert names.status_key("iris", "team-a") == "team-a/iris"
