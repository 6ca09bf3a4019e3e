"""`RealCluster`: etcd and a stock kube-apiserver of KUBEBUILDER_ASSETS, and kube-controller-manager where asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import ConfigMap, ObjectMeta, OwnerReference
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.apiserver.kubeconfig import kubeconfig, write_kubeconfig
from localmodel.sandbox.controlplane.binaries import BinaryControlPlane
from localmodel.sandbox.spawn import Spawner, stop_process

from .eventually import eventually


def assets() -> Path:
    return Path(os.environ.get("KUBEBUILDER_ASSETS") or "/nonexistent")


def missing_binaries(*names: str) -> str:
    """Why a test that needs these programs cannot run, or an empty string."""
    missing = [name for name in names if not os.access(assets() / name, os.X_OK)]
    return f"KUBEBUILDER_ASSETS names no directory with {', '.join(missing)}" if missing else ""


class RealCluster:
    """Usage: `with RealCluster(directory) as cluster: cluster.client()`."""

    def __init__(self, directory: Path, *, service_accounts: bool = False) -> None:
        """`directory`: of the kubeconfig. `service_accounts`: pods need the account that a controller makes."""
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self._plane = BinaryControlPlane(assets(), start_timeout=60, service_accounts=service_accounts)
        self._spawner = Spawner()
        self._manager: subprocess.Popen[bytes] | None = None
        self._clients: list[LiveClient] = []

    def client(self) -> LiveClient:
        """Of a cluster administrator; closed with the cluster."""
        client = LiveClient(load_config(self.kubeconfig, user_agent="test/1"))
        self._clients.append(client)
        return client

    def __enter__(self) -> Self:
        self._plane.start()
        administrator = self._plane.user("admin", None)
        write_kubeconfig(
            self.kubeconfig, kubeconfig(cluster=self._plane.cluster(), user="admin", credentials=administrator)
        )
        return self

    def start_controller_manager(self, controllers: str) -> None:
        self._manager = self._spawner.spawn(
            [
                str(assets() / "kube-controller-manager"),
                f"--kubeconfig={self.kubeconfig}",
                "--use-service-account-credentials=false",
                "--leader-elect=false",
                "--secure-port=0",
                "--node-monitor-grace-period=1000h",
                f"--controllers={controllers}",
            ],
            env=os.environ,
            directory=self.directory,
            output=self.directory / "kube-controller-manager.log",
        )
        self._wait_for_garbage_collector()

    def _wait_for_garbage_collector(self) -> None:
        """Which takes longest to start: until it collects an object whose owner never was."""
        owner = OwnerReference(
            api_version="v1", kind="ConfigMap", name="never", uid="11111111-1111-1111-1111-111111111111"
        )
        metadata = ObjectMeta(name="canary", namespace="default", owner_references=[owner])
        client = self.client()
        client.create(ConfigMap(metadata=metadata))
        eventually(lambda: client.find(ConfigMap, "canary", namespace="default") is None, timeout=90)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        if self._manager is not None:
            stop_process(self._manager, grace=5)
        self._plane.stop()
