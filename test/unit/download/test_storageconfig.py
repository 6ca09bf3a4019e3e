"""Credentials in one JSON document, as the documented storage-config entries of type hf have them (D-50)."""

from __future__ import annotations

import pytest

from localmodel.download import DownloadError
from localmodel.download.options import DownloadOptions
from localmodel.download.sources.huggingface import HuggingFaceSource
from localmodel.download.storageconfig import with_storage_config

DOCUMENTED = '{"type": "hf", "token": "hf_secret"}'


def test_the_documented_hf_entry_becomes_the_token_d_50() -> None:
    assert with_storage_config({"STORAGE_CONFIG": DOCUMENTED})["HF_TOKEN"] == "hf_secret"


def test_the_override_lies_over_the_entry() -> None:
    env = {"STORAGE_CONFIG": DOCUMENTED, "STORAGE_OVERRIDE_CONFIG": '{"token": "other", "endpoint": "http://hub"}'}
    found = with_storage_config(env)
    assert (found["HF_TOKEN"], found["HF_ENDPOINT"]) == ("other", "http://hub")


def test_a_variable_set_on_its_own_wins() -> None:
    assert with_storage_config({"STORAGE_CONFIG": DOCUMENTED, "HF_TOKEN": "mine"})["HF_TOKEN"] == "mine"


def test_entries_of_other_types_are_not_the_hub_s() -> None:
    env = {"STORAGE_CONFIG": '{"type": "s3", "token": "session"}'}
    assert "HF_TOKEN" not in with_storage_config(env)


@pytest.mark.parametrize("document", ["{", "[]", '{"token": {"deep": "secret"}}'])
def test_a_document_of_another_shape_is_refused_without_quoting_it(document: str) -> None:
    with pytest.raises(DownloadError, match="STORAGE_CONFIG is not a flat JSON object") as caught:
        with_storage_config({"STORAGE_CONFIG": document})
    assert "secret" not in str(caught.value).replace("storage secret", "")


def test_a_revision_asked_for_wins_over_the_uri_s() -> None:
    env = {"LOCALMODEL_DOWNLOAD_REVISION": "v2"}
    source = HuggingFaceSource("hf://owner/model:v1", env=env, options=DownloadOptions())
    assert source._revision == "v2"


@pytest.mark.parametrize(
    "env",
    [
        {"STORAGE_CONFIG": '{"type": "hf", "token": "hf_secret"}'},
        {"STORAGE_CONFIG": '{"type": "hf", "token": "hf_secret", "endpoint": "https://hub.example"}'},
        {"HF_TOKEN": "hf_secret"},
        {"HUGGING_FACE_HUB_TOKEN": "hf_secret"},
    ],
)
def test_parameters_do_not_say_who_gets_a_token_that_is_not_theirs(env: dict[str, str]) -> None:
    override = {"STORAGE_OVERRIDE_CONFIG": '{"endpoint": "https://collector.example"}'}
    with pytest.raises(DownloadError, match=r"https://collector\.example") as caught:
        with_storage_config({**env, **override})
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "https://mirror.example"),
        (
            {"STORAGE_CONFIG": '{"type": "hf", "token": "hf_secret", "endpoint": "https://mirror.example"}'},
            "https://mirror.example",
        ),
        ({"HF_TOKEN": "hf_secret", "HF_ENDPOINT": "https://hub.example"}, "https://hub.example"),
        ({"HF_TOKEN": "hf_secret", "STORAGE_CONFIG": '{"type": "s3"}'}, None),
    ],
    ids=["no token", "the same endpoint", "another that counts", "another storage"],
)
def test_parameters_may_name_an_endpoint_that_gets_no_such_token(env: dict[str, str], expected: str | None) -> None:
    override = {"STORAGE_OVERRIDE_CONFIG": '{"endpoint": "https://mirror.example"}'}
    assert with_storage_config({**env, **override}).get("HF_ENDPOINT") == expected
