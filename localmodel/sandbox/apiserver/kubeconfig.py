"""Kubeconfigs for this server: one cluster, one user with a bearer token, everything inline.

The file is JSON, which is YAML: written without a YAML library and read by every client.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from .tls import write_private


def write_kubeconfig(
    path: Path, *, server: str, authority_pem: bytes, user: str, token: str, namespace: str = "default"
) -> None:
    """Writes the file in one step, readable by its owner only: a reader sees the old one or the whole new one."""
    name = "localmodel-sandbox"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(authority_pem).decode(),
                },
            }
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": namespace}}],
        "current-context": name,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write_private(partial, json.dumps(content, indent=2).encode() + b"\n")
    partial.replace(path)
