"""The names that KServe's webhooks and existing clusters rely on."""

from __future__ import annotations

import re

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


def test_the_claim_of_one_model_tells_which() -> None:
    name = names.model_pvc_name("iris", "gpu", "hf://o/m")
    assert name.startswith(f"iris-gpu-{names.storage_key('hf://o/m')}-")
    assert names.storage_key_of_claim(name) == names.storage_key("hf://o/m")
    assert names.model_pv_name("iris", "gpu", "hf://o/m", "team-a") == f"{name}-team-a"


@pytest.mark.parametrize("claim", ["iris-gpu", "iris-0123456789abcdef", "0123456789abcdef-01234567", "data-0"])
def test_other_claims_tell_of_no_model(claim: str) -> None:
    assert names.storage_key_of_claim(claim) == ""


def test_claims_of_one_model_never_have_one_name_d59() -> None:
    caches = [("a-b", "c", ""), ("a", "b-c", ""), ("a", "b-c", "team-a"), ("m" * 250, "c", ""), ("m" * 251, "c", "")]
    found = {names.model_pvc_name(cache, group, "hf://o/m", namespace) for cache, group, namespace in caches}
    assert len(found) == len(caches)
    assert all(len(name) <= 253 and names.storage_key_of_claim(name) for name in found)


def test_a_download_claim_has_another_name_that_is_its_own_d59() -> None:
    found = {names.other_download_pvc_name(*cache) for cache in (("a-b", "c"), ("a", "b-c"), ("a", "b", "c"))}
    assert len(found) == 3
    assert names.download_pvc_name("a", "b-c") not in found


def test_the_status_key_carries_the_namespace_of_a_namespace_cache_only() -> None:
    assert names.status_key("iris") == "iris"
    assert names.status_key("iris", "team-a") == "team-a/iris"


@pytest.mark.parametrize("name", ["gpu", "a.b-c", "1", "g" * 63])
def test_a_group_whose_name_is_a_label_value_is_its_own_label(name: str) -> None:
    assert names.group_label_value(name) == name


@pytest.mark.parametrize("name", ["g" * 64, "a." * 126 + "a", "with space", "-x", "x_", "é", "", "." * 70])
def test_any_other_group_gets_a_readable_label_with_a_hash(name: str) -> None:
    value = names.group_label_value(name)
    assert re.fullmatch("[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)
    assert value != names.group_label_value(name + "1")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("localmodel.kserve.io/0123456789abcdef", True),
        ("localmodel.kserve.io/0123456789ABCDEF", False),
        ("localmodel.kserve.io/0123456789abcdef\n", False),
        ("localmodel.kserve.io/node-group", False),
        ("localmodelxkserve.io/0123456789abcdef", False),
        ("0123456789abcdef", False),
    ],
)
def test_labels_of_copies_are_those_of_storage_keys(name: str, ours: bool) -> None:
    assert names.is_ready_label(name) is ours
    assert names.is_ready_label(names.ready_label(names.storage_key(name)))
