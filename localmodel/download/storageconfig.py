"""Credentials that arrive as one JSON document: `STORAGE_CONFIG`, with `STORAGE_OVERRIDE_CONFIG` laid over it.

KServe gives a Job an entry of the secret `storage-config` this way (kserve-behaviour.md section 9.2 and 13). Its
storage-initializer knows the types s3 and hdfs only and so loses the hub's token of the documented type `hf`
(D-50); here an entry becomes the variables that the source reads anyway. Variables set on their own win.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from localmodel.download.errors import DownloadError, redact_uri

STORAGE_CONFIG = "STORAGE_CONFIG"
STORAGE_OVERRIDE_CONFIG = "STORAGE_OVERRIDE_CONFIG"
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_HUGGING_FACE = {"token": "HF_TOKEN", "endpoint": "HF_ENDPOINT", "revision": "LOCALMODEL_DOWNLOAD_REVISION"}


def with_storage_config(env: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with what the documents say added. Raises DownloadError for one that is no flat JSON object."""
    config, override = _document(env, STORAGE_CONFIG), _document(env, STORAGE_OVERRIDE_CONFIG)
    entry = {**config, **override}
    if entry.get("type", "hf") != "hf":
        return env
    named = {variable: entry[key] for key, variable in _HUGGING_FACE.items() if entry.get(key)}
    found = {**named, **env}
    _check_endpoint(found, config, override)
    return found


def _check_endpoint(found: Mapping[str, str], config: Mapping[str, str], override: Mapping[str, str]) -> None:
    """The override comes from a cache, and whoever writes one may use a token without knowing it: it must not say who
    gets the token."""
    endpoint = override.get("endpoint", "")
    tokens = {found[name] for name in _TOKENS if found.get(name)} - {override.get("token")}
    if not endpoint or not tokens or endpoint == config.get("endpoint") or found.get("HF_ENDPOINT") != endpoint:
        return
    raise DownloadError(
        f"storage.parameters name the endpoint {redact_uri(endpoint)}, and the token is not theirs: name the endpoint "
        "where the token is, in the key of the storage secret, or take it out of the parameters"
    )


def _document(env: Mapping[str, str], name: str) -> dict[str, str]:
    text = env.get(name, "").strip()
    if not text:
        return {}
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        # Not quoted: it holds credentials.
        raise DownloadError(f"{name} is not a flat JSON object of strings; correct the entry of the storage secret")
    return document
