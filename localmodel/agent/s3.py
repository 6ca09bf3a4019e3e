"""The settings of S3 that are no secrets: endpoint, region and switches (kserve-behaviour.md 9.4)."""

from __future__ import annotations

from collections.abc import Mapping

from localmodel.api.config import S3Config
from localmodel.api.credentials import S3_ANNOTATION_PREFIX


def s3_settings(config: S3Config, *, annotations: Mapping[str, str], data: Mapping[str, str]) -> dict[str, str]:
    """The environment of an S3 client: for each setting its annotation, else the secret's key, else the configuration.

    `data` are decoded values of a secret, empty for a ServiceAccount. Settings without a value are left out.
    """

    def pick(annotation: str, key: str, default: str) -> str:
        return (annotations.get(S3_ANNOTATION_PREFIX + annotation) or data.get(key) or default).strip()

    settings = _endpoint(
        pick("endpoint", "S3_ENDPOINT", config.s3_endpoint), pick("usehttps", "S3_USE_HTTPS", config.s3_use_https)
    )
    others = {
        "S3_VERIFY_SSL": pick("verifyssl", "S3_VERIFY_SSL", config.s3_verify_ssl),
        "awsAnonymousCredential": pick(
            "useanoncredential", "awsAnonymousCredential", config.s3_use_anonymous_credential
        ),
        "AWS_DEFAULT_REGION": pick("region", "AWS_DEFAULT_REGION", config.s3_region),
        "S3_USER_VIRTUAL_BUCKET": pick("usevirtualbucket", "S3_USER_VIRTUAL_BUCKET", config.s3_use_virtual_bucket),
        "S3_USE_ACCELERATE": pick("useaccelerate", "S3_USE_ACCELERATE", config.s3_use_accelerate),
        "AWS_CA_BUNDLE": pick("cabundle", "AWS_CA_BUNDLE", config.s3_ca_bundle),
        "AWS_CA_BUNDLE_CONFIGMAP": pick(
            "cabundle-configmap", "AWS_CA_BUNDLE_CONFIGMAP", config.s3_ca_bundle_config_map
        ),
    }
    return settings | {name: value for name, value in others.items() if value}


def _endpoint(endpoint: str, use_https: str) -> dict[str, str]:
    """An endpoint's own scheme goes before the switch; https where neither says."""
    if not endpoint:
        return {}
    if endpoint.startswith("https://"):
        host, use_https, url = endpoint.removeprefix("https://"), "1", endpoint
    elif endpoint.startswith("http://"):
        host, use_https, url = endpoint.removeprefix("http://"), "0", endpoint
    else:
        host, url = endpoint, f"{'http' if use_https == '0' else 'https'}://{endpoint}"
    settings = {"S3_USE_HTTPS": use_https} if use_https else {}
    return settings | {"S3_ENDPOINT": host, "AWS_ENDPOINT_URL": url}


def certificates_of(storage: Mapping[str, str]) -> dict[str, str]:
    """The variables for the authorities that a key of the storage secret names: also beside parameters with a type,
    where KServe leaves them out (D-51)."""
    named = {"AWS_CA_BUNDLE": storage.get("ca_bundle"), "AWS_CA_BUNDLE_CONFIGMAP": storage.get("cabundle_configmap")}
    return {name: value for name, value in named.items() if value}
