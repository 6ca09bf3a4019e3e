"""One Secret of each kind that a ServiceAccount may name (kserve-behaviour.md 9.3), with a value that must not leak."""

from __future__ import annotations

import base64
import json
from typing import Final

from localmodel.api.credentials import copy_name
from localmodel.runtime.objects import Secret

from .agent import JOBS

CANARY: Final = "canary-5d1c0f"
COPY: Final = copy_name("uid-1")
KINDS: Final[dict[str, dict[str, str]]] = {
    "s3": {"awsAccessKeyID": CANARY, "awsSecretAccessKey": CANARY, "S3_ENDPOINT": "minio:9000"},
    "gcs": {"gcloud-application-credentials.json": CANARY},
    "azure": {"AZURE_CLIENT_ID": CANARY, "AZURE_CLIENT_SECRET": CANARY, "AZURE_TENANT_ID": CANARY},
    "azure before": {"AZ_CLIENT_ID": CANARY, "AZ_CLIENT_SECRET": CANARY},
    "azure token": {"AZURE_ACCESS_TOKEN": CANARY},
    "azure key": {"AZURE_STORAGE_ACCESS_KEY": CANARY},
    "https": {"https-host": "models.example", "headers": json.dumps({"Authorization": CANARY})},
    "hdfs": {"HDFS_NAMENODE": "n", "KERBEROS_KEYTAB": CANARY, "TLS_KEY": CANARY},
    "hf": {"HF_TOKEN": CANARY},
    "modelscope": {"MODELSCOPE_API_TOKEN": CANARY},
}


def secret(name: str, data: dict[str, str], **annotations: str) -> Secret:
    """In the job namespace."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": JOBS, "annotations": annotations}
    return Secret.from_dict({"metadata": metadata, "data": encoded})
