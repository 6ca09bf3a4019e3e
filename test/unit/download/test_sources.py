import pytest

from localmodel.download import DownloadError, InvalidURIError, UnsupportedSchemeError
from localmodel.download.errors import redact_uri
from localmodel.download.options import DownloadOptions
from localmodel.download.sources import source_for
from localmodel.download.sources.huggingface import parse_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://owner/model", ("owner/model", "main")),
        ("hf://owner/model:v1.0", ("owner/model", "v1.0")),
        ("hf://owner/model:refs/pr/1", ("owner/model", "refs/pr/1")),
        ("hf://sentence-transformers/all-MiniLM-L6-v2/", ("sentence-transformers/all-MiniLM-L6-v2", "main")),
    ],
)
def test_an_hf_uri_names_a_repository_and_a_revision(uri: str, expected: tuple[str, str]) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize("uri", ["hf://model", "hf://a/b/c", "hf:///b", "hf://a/b:", "hf://a/../b", "hf://a/b?x=1"])
def test_an_hf_uri_needs_exactly_two_parts(uri: str) -> None:
    with pytest.raises(InvalidURIError, match=r"hf://|revision"):
        parse_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["s3://bucket/key", "gs://b/o", "model", "https://acct.blob.core.windows.net/c/m", "https://git.example/x.git"],
)
def test_another_scheme_is_refused_with_the_supported_ones(uri: str) -> None:
    with pytest.raises(UnsupportedSchemeError, match=r"supported are hf://.*http.*file://"):
        source_for(uri, env={}, options=DownloadOptions())


@pytest.mark.parametrize("uri", ["http://host/", "http:///file", "http://host:port/x", "file://host/x", "file://x"])
def test_a_malformed_uri_is_refused(uri: str) -> None:
    with pytest.raises(InvalidURIError):
        source_for(uri, env={}, options=DownloadOptions())


def test_headers_that_are_no_json_object_are_refused_without_showing_them() -> None:
    with pytest.raises(DownloadError, match="host-headers") as caught:
        source_for("https://host/x", env={"host-headers": "Bearer s3cret"}, options=DownloadOptions())
    assert "s3cret" not in str(caught.value)


def test_a_shown_uri_has_neither_user_nor_query() -> None:
    assert redact_uri("https://user:pw@host/file?sig=abc") == "https://host/file?..."


@pytest.mark.parametrize("text", ["fast", "-1", "nan"])
def test_an_option_that_is_no_sensible_number_is_refused(text: str) -> None:
    with pytest.raises(DownloadError, match="LOCALMODEL_DOWNLOAD_MAX_BYTES_PER_SECOND"):
        DownloadOptions.from_env({"LOCALMODEL_DOWNLOAD_MAX_BYTES_PER_SECOND": text})
