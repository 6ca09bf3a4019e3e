"""The embedded API server as a control plane: in this process, up in a fraction of a second, a fresh one per test."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from localmodel.sandbox.apiserver.audit import AuditRecord
from localmodel.sandbox.apiserver.kubeconfig import certificate_credentials, cluster_entry, token_credentials
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions
from localmodel.sandbox.apiserver.users import MASTERS

from .base import ControlPlane, Json


class EmbeddedControlPlane(ControlPlane):
    """Everything is possible here."""

    name: ClassVar[str] = "the embedded API server"
    is_shared: ClassVar[bool] = False
    is_ours: ClassVar[bool] = True

    def __init__(self, *, audit: bool = False) -> None:
        """`audit`: whether it is written down what is asked; else `audit` has nothing to tell."""
        self._directory = tempfile.TemporaryDirectory(prefix="localmodel-audit-") if audit else None
        self._audit = Path(self._directory.name) / "audit.jsonl" if self._directory else None
        self._server = ApiServer(ApiServerOptions(audit_log=self._audit))

    @property
    def server(self) -> ApiServer:
        return self._server

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        if self._directory is not None:
            self._directory.cleanup()

    def cluster(self) -> Json:
        return cluster_entry(self.url, self._server.authority_pem)

    def user(self, name: str, groups: Sequence[str] | None) -> Json:
        if groups is None:
            return token_credentials(self.token_for(name, (MASTERS,)))
        return certificate_credentials(self._server.client_certificate(name, tuple(groups)))

    def token_for(self, name: str, groups: Sequence[str]) -> str:
        return self._server.token_for(name, tuple(groups))

    def audit(self) -> list[AuditRecord]:
        if self._audit is None:
            return super().audit()
        return [msgspec.json.decode(line, type=AuditRecord) for line in self._audit.read_bytes().splitlines()]

    def end_watches(self, resource: str) -> int:
        return self._server.registry.end_watches(resource)

    def compact(self) -> None:
        self._server.registry.store.compact()
