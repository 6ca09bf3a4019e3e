"""An API server with clients of it over HTTPS, and what its audit log says they asked."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.eventually import eventually

from localmodel.runtime.backoff import BackoffOptions
from localmodel.runtime.cache import CacheOptions
from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.listwatch import ListerWatcher, ListOptions, ListPage, WatchOptions, WatchStream
from localmodel.runtime.objects import ConfigMap, Object, ObjectMeta, RESTMapping, Unstructured
from localmodel.runtime.reflector import ReflectorOptions
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.store import Stored
from localmodel.sandbox.apiserver.audit import AuditRecord
from localmodel.sandbox.apiserver.server import ApiServer
from localmodel.sandbox.envtest import Environment, unique

AGENT = "runtime-test/1"
QUICK = ReflectorOptions(backoff=BackoffOptions(initial=0.02, maximum=0.1))
NS = "default"
RBAC = "rbac.authorization.k8s.io"

ClusterRole = Unstructured.of(RESTMapping.of(RBAC, "v1", "ClusterRole", namespaced=False))
ClusterRoleBinding = Unstructured.of(RESTMapping.of(RBAC, "v1", "ClusterRoleBinding", namespaced=False))


def quick_cache(**options: Any) -> CacheOptions:
    """Options of a cache that tries again soon and leaves the process's garbage collector alone."""
    return CacheOptions(reflector=QUICK, tune_collector=False, **options)


def config_map(name: str, value: str = "", *, namespace: str = NS) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace), data={"value": value})


def audit_lines(path: Path, agent: str = AGENT) -> list[dict[str, Any]]:
    """Of the requests of one user agent, of the file that a `support.apiserver.Program` writes."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["userAgent"] == agent]


@dataclass
class Live:
    """An API server, a namespace on it, and the clients made for it; `stop` ends all, and removes what was made."""

    directory: Path
    environment: Environment = field(init=False)
    namespace: str = field(init=False)
    agent: str = field(init=False)
    """The user agent of its clients, unlike every other test's."""
    _made: list[Object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.environment = Environment(audit=True)
        self.environment.start()
        self.namespace = self.environment.namespace()
        self.agent = f"{unique('runtime-test')}/1"

    @property
    def server(self) -> ApiServer:
        """The embedded server; raises UnsupportedError elsewhere."""
        return self.environment.server

    def client(
        self, user: str = "admin", *, groups: Sequence[str] | None = None, token: str | None = None, agent: str = ""
    ) -> LiveClient:
        """Whose, see `Environment.kubeconfig`; its kubeconfig is `kubeconfig(user)`."""
        self.write_kubeconfig(user, groups=groups, token=token)
        client = LiveClient(load_config(self.kubeconfig(user), user_agent=agent or self.agent))
        self.environment._clients.append(client)
        return client

    def write_kubeconfig(
        self, user: str = "admin", *, groups: Sequence[str] | None = None, token: str | None = None
    ) -> Path:
        """Writes `kubeconfig(user)` anew, as other credentials for the same file."""
        made = self.environment.kubeconfig(user, groups=groups, token=token, namespace=self.namespace)
        return made.replace(self.kubeconfig(user))

    def kubeconfig(self, user: str = "admin") -> Path:
        return self.directory / f"{user}.kubeconfig"

    def config_map(self, name: str, value: str = "") -> ConfigMap:
        return config_map(name, value, namespace=self.namespace)

    def grant(self, user: str, *rules: dict[str, Any]) -> Object:
        """Gives a user these rights until `stop`, or until the binding that is returned is deleted."""
        return self.bind({"kind": "User", "name": user, "apiGroup": RBAC}, *rules)

    def bind(self, subject: dict[str, Any], *rules: dict[str, Any]) -> Object:
        client, name = self.environment.client(), unique("granted")
        self._made.append(client.create(ClusterRole.from_dict({"metadata": {"name": name}, "rules": list(rules)})))
        reference = {"kind": "ClusterRole", "name": name, "apiGroup": RBAC}
        binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
        self._made.append(client.create(ClusterRoleBinding.from_dict(binding)))
        return self._made[-1]

    def audit_lines(self, agent: str = "") -> list[AuditRecord]:
        """Of the requests of one user agent, by default that of its clients."""
        return self.environment.audit(agent or self.agent)

    def verbs(self, agent: str = "") -> Counter[str]:
        return Counter(line.verb for line in self.audit_lines(agent))

    def wait_for_watch(self, agent: str = "") -> None:
        """Until the agent has opened its first watch."""
        eventually(lambda: self.verbs(agent)["watch"])

    def end_watches(self, resource: str) -> None:
        assert self.environment.end_watches(resource)

    def stop(self) -> None:
        while self._made:
            with suppress(NotFoundError):
                self.environment.client().delete(self._made.pop())
        self.environment.stop()


class Recording:
    """An event handler that writes down what it hears: "+name", "~name", "-name".

    A deletion that was only noticed by a new list is "!name".
    """

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_add(self, obj: Stored[Any], is_in_initial_list: bool) -> None:
        self.heard.append(f"+{obj.key.name}")

    def on_update(self, old: Stored[Any], new: Stored[Any]) -> None:
        self.heard.append(f"~{new.key.name}")

    def on_delete(self, obj: Stored[Any], final_state_unknown: bool) -> None:
        self.heard.append(f"{'!' if final_state_unknown else '-'}{obj.key.name}")


class Gate(ListerWatcher):
    """Lists and watches by another, and holds back new watches while it is shut."""

    def __init__(self, inner: ListerWatcher) -> None:
        self._inner = inner
        self._open = threading.Event()
        self._open.set()
        self.waiting = threading.Event()
        """Set while somebody waits at the gate."""

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage:
        return self._inner.list_page(kind, options)

    def watch(self, kind: type[Object], options: WatchOptions) -> WatchStream:
        self.waiting.set()
        self._open.wait(30)
        self.waiting.clear()
        return self._inner.watch(kind, options)


class Doing:
    """Something done in a thread; `end` waits for it and raises what it raised."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._do()
        except BaseException as error:  # noqa: BLE001 - raised by `end`
            self._error = error

    def end(self, timeout: float = 10.0) -> None:
        self._thread.join(timeout)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
