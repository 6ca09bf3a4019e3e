"""The settings of S3 that are no secrets."""

from __future__ import annotations

import pytest

from localmodel.agent.s3 import s3_settings
from localmodel.api.config import S3Config


@pytest.mark.parametrize(
    ("endpoint", "use_https", "expected"),
    [
        ("https://h:9", "0", {"S3_USE_HTTPS": "1", "S3_ENDPOINT": "h:9", "AWS_ENDPOINT_URL": "https://h:9"}),
        ("http://h:9", "1", {"S3_USE_HTTPS": "0", "S3_ENDPOINT": "h:9", "AWS_ENDPOINT_URL": "http://h:9"}),
        (" h:9 ", "0", {"S3_USE_HTTPS": "0", "S3_ENDPOINT": "h:9", "AWS_ENDPOINT_URL": "http://h:9"}),
        ("h:9", "", {"S3_ENDPOINT": "h:9", "AWS_ENDPOINT_URL": "https://h:9"}),
        ("", "1", {}),
    ],
)
def test_s3_endpoints(endpoint: str, use_https: str, expected: dict[str, str]) -> None:
    data = {"S3_ENDPOINT": endpoint, "S3_USE_HTTPS": use_https}
    assert s3_settings(S3Config(), annotations={}, data=data) == expected


def test_s3_settings_prefer_annotation_then_secret_then_configuration() -> None:
    config = S3Config(s3_region="config", s3_verify_ssl="0")
    found = s3_settings(
        config, annotations={"serving.kserve.io/s3-region": "note"}, data={"AWS_DEFAULT_REGION": "data"}
    )
    assert found == {"AWS_DEFAULT_REGION": "note", "S3_VERIFY_SSL": "0"}
