"""A manager with the shipped roles, over HTTPS, on an embedded API server of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from support.live import QUICK
from support.manager import agent_pod, detailed
from support.rights import MANAGER

from localmodel import __version__
from localmodel.api import LocalModelNode
from localmodel.manager.main import add_reconcilers, cache_options
from localmodel.manager.settings import Settings
from localmodel.runtime.clock import RealClock
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import CustomResourceDefinition, Namespace, Node, Object, ObjectMeta, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.retry import retry_on_conflict
from localmodel.runtime.testing.garbage import collect_garbage
from localmodel.sandbox import install
from localmodel.sandbox.apiserver.audit import AuditRecord
from localmodel.sandbox.apiserver.faults import SkewedClock
from localmodel.sandbox.envtest import Environment

WRITES = frozenset({"create", "update", "patch", "delete"})


class LiveManager:
    """Usage: `with LiveManager() as it: it.start(); ...`. What it tests is done as an administrator, by `client`."""

    def __init__(self, namespaces: Iterable[str] = ("team-a",)) -> None:
        self.environment = Environment(audit=True)
        self._namespaces = tuple(namespaces)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.clock = SkewedClock(RealClock())
        """The manager's."""
        self.failures: list[BaseException] = []
        """What ended the manager."""

    def __enter__(self) -> Self:
        self.environment.start()
        self.client: LiveClient = self.environment.client()
        install.install(self.client)
        self.renew()
        for name in self._namespaces:
            self.client.create(Namespace(metadata=ObjectMeta(name=name)))
        self.token = self.environment.service_account_token(install.NAMESPACE, install.MANAGER_ACCOUNT)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.environment.stop()

    def renew(self) -> None:
        """The client learns what is served now."""
        self.client = self.environment.client()

    @property
    def runs(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """The manager in this process."""
        client = self.environment.client(token=self.token, user_agent=f"localmodel-manager/{__version__}")
        options = ManagerOptions(
            metrics_addr="0",
            health_probe_addr="0",
            cache=replace(cache_options(install.NAMESPACE), reflector=QUICK, tune_collector=False),
        )
        manager = Manager(client, options, clock=self.clock)
        add_reconcilers(manager, Settings(live=client), workers=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(manager, self._stop))
        self._thread.start()

    def _run(self, manager: Manager, stop: threading.Event) -> None:
        try:
            manager.start(stop)
        except BaseException as error:  # noqa: BLE001 - shown by `stop`
            self.failures.append(error)

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
            assert not self._thread.is_alive()
        assert not self.failures

    # what others do ---------------------------------------------------------------------------------------------------

    def with_status(self, *objects: Object) -> None:
        """Creates them with their status, which a create leaves out."""
        for obj in objects:
            self.client.create(obj)
            if isinstance(obj, Node | Pod):
                self.client.status.patch(obj, {"status": obj.status.to_dict()})

    def agent(self, node: str, *, ready: bool) -> None:
        pod = agent_pod(node, ready=ready)
        self.client.status.patch(pod, {"status": pod.status.to_dict()})

    def say(self, node: str, key: str, status: str) -> None:
        """Plays the node's agent; without a status the model is gone from it."""

        def write() -> None:
            found = self.client.get(LocalModelNode, node)
            if status:
                detailed(found, key, status)
            else:
                found.status.model_status.pop(key, None)
                found.status.models.pop(key, None)
            self.client.status.update(found)

        retry_on_conflict(write)

    def entries(self, node: str) -> list[str]:
        found = self.client.find(LocalModelNode, node)
        return [f"{e.namespace}/{e.model_name}".lstrip("/") for e in found.spec.local_models] if found else []

    def remove_definition(self, kind: type[Object]) -> None:
        """Begins to: it goes with the last of its objects."""
        self.client.delete(CustomResourceDefinition(metadata=ObjectMeta(name=kind.mapping.group_resource)))

    def has_definition(self, kind: type[Object]) -> bool:
        return self.client.find(CustomResourceDefinition, kind.mapping.group_resource) is not None

    def install_definitions(self) -> None:
        install.install(self.client)
        self.renew()

    def collect_garbage(self) -> None:
        """There is no controller for it."""
        collect_garbage(self.environment.server.registry)

    def writes(self) -> list[AuditRecord]:
        """Those of the manager that were answered so far, without events, which no reconciler waits for."""
        lines = self.environment.control_plane.audit()
        return [line for line in lines if line.user == MANAGER and line.verb in WRITES and not _is_event(line.path)]


def _is_event(path: str) -> bool:
    return "/events" in urlsplit(path).path


def kubeconfig_of(it: LiveManager, directory: Path) -> Path:
    """One with which the manager runs as a program."""
    path = directory / "kubeconfig"
    return it.environment.kubeconfig(install.MANAGER_ACCOUNT, token=it.token).replace(path)
