"""Kubeconfigs for this server: one cluster, one user with a bearer token or a client certificate, everything inline.

The file is JSON, which is YAML: written without a YAML library and read by every client.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from .tls import KeyPair, write_private

NAME = "localmodel-sandbox"
"""Of cluster and context."""
Json = dict[str, Any]


def token_credentials(token: str) -> Json:
    """The user entry of somebody with a bearer token."""
    return {"token": token}


def certificate_credentials(pair: KeyPair) -> Json:
    """The user entry of somebody with a client certificate."""
    return {"client-certificate-data": _data(pair.certificate), "client-key-data": _data(pair.key)}


def cluster_entry(server: str, authority_pem: bytes) -> Json:
    """The cluster entry of a server that this authority vouches for."""
    return {"server": server, "certificate-authority-data": _data(authority_pem)}


def kubeconfig(*, cluster: Json, user: str, credentials: Json, namespace: str = "default") -> bytes:
    """The text of a kubeconfig."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": user, "namespace": namespace}}],
        "current-context": NAME,
    }
    return json.dumps(content, indent=2).encode() + b"\n"


def write_kubeconfig(path: Path, content: bytes) -> None:
    """Writes the file in one step, readable by its owner only: a reader sees the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write_private(partial, content)
    partial.replace(path)


def _data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
