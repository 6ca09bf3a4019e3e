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
