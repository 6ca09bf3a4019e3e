"""Matching of URIs."""

from __future__ import annotations

import pytest

from localmodel.api import uri


@pytest.mark.parametrize(
    ("cached", "wanted", "expected"),
    [
        ("gs://b/m", "gs://b/m", True),
        ("gs://b/m/", "gs://b/m", True),
        ("gs://b/m", "gs://b/m/", True),
        ("gs://b/m", "gs://b/m/v1", True),
        ("gs://b/m", "gs://b/m-evil", False),
        ("gs://b/m", "gs://B/m", False),
        ("hf://o/m", "hf://o/m:rev", False),
        ("gs://b/m/v1", "gs://b/m", False),
        ("gs://b/m//", "gs://b/m", False),
    ],
)
def test_match(cached: str, wanted: str, expected: bool) -> None:
    assert uri.match(cached, wanted) is expected


@pytest.mark.parametrize(
    ("cached", "wanted", "expected"),
    [
        ("s3://foo", "s3://foo", ""),
        ("s3://foo", "s3://foo/", ""),
        ("s3://foo", "s3://foo/model1", "model1"),
        ("s3://foo/", "s3://foo/model1", "model1"),
    ],
)
def test_sub_path_ignores_a_trailing_slash_of_the_cached_uri_d75(cached: str, wanted: str, expected: str) -> None:
    assert uri.sub_path(cached, wanted) == expected


def test_sub_path_refuses_uris_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="neither"):
        uri.sub_path("s3://foo", "s3://food")
