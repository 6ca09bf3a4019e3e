"""`RealCluster`: etcd and a stock kube-apiserver of KUBEBUILDER_ASSETS, and kube-controller-manager where asked for."""

from __future__ import annotations

import base64
import http.client
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from localmodel.runtime.errors import ApiError, TransportError
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import ConfigMap, Namespace, ObjectMeta, OwnerReference
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.apiserver.kubeletclient import unverified_context
from localmodel.sandbox.apiserver.tls import Authority
from localmodel.sandbox.cluster import free_port
from localmodel.sandbox.spawn import Spawner, stop_process

from .eventually import eventually

NO_SERVICE_ACCOUNTS = "--disable-admission-plugins=ServiceAccount"


def assets() -> Path:
    return Path(os.environ.get("KUBEBUILDER_ASSETS") or "/nonexistent")


def missing_binaries(*names: str) -> str:
    """Why a test that needs these programs cannot run, or an empty string."""
    missing = [name for name in names if not os.access(assets() / name, os.X_OK)]
    return f"KUBEBUILDER_ASSETS names no directory with {', '.join(missing)}" if missing else ""


class RealCluster:
    """Usage: `with RealCluster(directory) as cluster: cluster.client()`."""

    def __init__(self, directory: Path, *, flags: tuple[str, ...] = (NO_SERVICE_ACCOUNTS,)) -> None:
        """`flags`: more of kube-apiserver's. Without its default pods need the account that a controller makes."""
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.authority = Authority.ensure(directory, now=datetime.now(UTC))
        self._flags = flags
        self._spawner = Spawner()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._clients: list[LiveClient] = []

    def client(self) -> LiveClient:
        """Of a cluster administrator; closed with the cluster."""
        client = LiveClient(load_config(self.kubeconfig, user_agent="test/1"))
        self._clients.append(client)
        return client

    def __enter__(self) -> Self:
        self._write_keys()
        etcd, peer, port = free_port(), free_port(), free_port()
        self._write_kubeconfig(port)
        self._run(
            "etcd",
            "--data-dir=etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--client-ca-file=ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=sa.key",
            "--service-account-signing-key-file=sa.key",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            *self._flags,
        )
        try:
            eventually(self._answers, timeout=60)
        except BaseException:
            self.stop()
            raise
        return self

    def start_controller_manager(self, controllers: str) -> None:
        self._run(
            "kube-controller-manager",
            "--kubeconfig=kubeconfig",
            "--use-service-account-credentials=false",
            "--leader-elect=false",
            "--secure-port=0",
            "--node-monitor-grace-period=1000h",
            f"--controllers={controllers}",
        )
        self._wait_for_garbage_collector()

    def _wait_for_garbage_collector(self) -> None:
        """Which takes longest to start: until it collects an object whose owner never was."""
        owner = OwnerReference(
            api_version="v1", kind="ConfigMap", name="never", uid="11111111-1111-1111-1111-111111111111"
        )
        metadata = ObjectMeta(name="canary", namespace="default", owner_references=[owner])
        client = self._probe()
        client.create(ConfigMap(metadata=metadata))
        eventually(lambda: client.find(ConfigMap, "canary", namespace="default") is None, timeout=90)

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        while self._processes:
            stop_process(self._processes.pop(), grace=5)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        """Whether kube-apiserver is healthy, and has the namespaces that tests use."""
        address = self._probe().config.server.removeprefix("https://")
        connection = http.client.HTTPSConnection(address, timeout=5, context=unverified_context())
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status != 200:
                return False
            names = [namespace.name for namespace in self._probe().list(Namespace)]
        except (ApiError, TransportError, OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return "default" in names and "kube-node-lease" in names

    def _probe(self) -> LiveClient:
        return self._clients[0] if self._clients else self.client()

    def _write_keys(self) -> None:
        now = datetime.now(UTC)
        self.authority.issue_server(["127.0.0.1", "localhost"], now=now).write(
            self.directory / "server.crt", self.directory / "server.key"
        )
        key = rsa.generate_private_key(65537, 2048)
        (self.directory / "sa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )

    def _write_kubeconfig(self, port: int) -> None:
        pair = self.authority.issue_client("admin", ("system:masters",), now=datetime.now(UTC))
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "real",
                    "cluster": {
                        "server": f"https://127.0.0.1:{port}",
                        "certificate-authority-data": _encoded(self.authority.pem),
                    },
                }
            ],
            "users": [
                {
                    "name": "admin",
                    "user": {
                        "client-certificate-data": _encoded(pair.certificate),
                        "client-key-data": _encoded(pair.key),
                    },
                }
            ],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
            "current-context": "real",
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def _run(self, program: str, *flags: str) -> None:
        process = self._spawner.spawn(
            [str(assets() / program), *flags],
            env=dict(os.environ),
            directory=self.directory,
            output=self.directory / f"{program}.log",
        )
        self._processes.append(process)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
