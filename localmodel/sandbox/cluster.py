"""`Cluster`: a whole simulated cluster: API server, cluster controllers, manager, and one agent per node.

Every part is a process of its own under one `Supervisor`. Manager and agents know their kubeconfig (with the token of
their own service account) and flags, nothing else. The agents are shown as Pods in the namespace `kserve`, as if their
DaemonSet had made them, because the manager waits only for nodes whose agent Pod is Ready.
Neighbours: `install` for what is put on the server, `up` and `demo` as users.
"""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from localmodel import __version__
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.errors import AlreadyExistsError, ApiError, RuntimeLibraryError, TransportError
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import Namespace, ObjectMeta, Pod, format_time
from localmodel.runtime.rest import LiveClient

from . import install
from .apiserver.kubeconfig import token_credentials, write_kubeconfig
from .controllers.kinds import MIRROR
from .controllers.main import node_names
from .kubeconfig import DATA_DIR, other_kubeconfig
from .supervisor import Child, Program, Supervisor, ending
from .wording import counted

log = structlog.get_logger(__name__)

START_TIMEOUT = 30.0
AGENT_LABEL = {"control-plane": "kserve-localmodelnode-agent"}


class ClusterError(RuntimeLibraryError):
    """A part of the cluster did not come up; the message names it and its log."""


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """How the cluster is made."""

    workdir: Path
    """Holds nodes/NAME (the nodes' disks), logs/PROGRAM.log, kubeconfigs and the API server's data."""
    nodes: int = 3
    kubeconfig: Path | None = None
    """Where the administrator's kubeconfig is written; WORKDIR/kubeconfig by default."""
    external_kubeconfig: Path | None = None
    """Uses the API server that this file names, instead of starting one."""
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """More images that the kubelets know: name -> command."""
    job_backoff: float = 1.0
    """Seconds before a Job's second attempt. Kubernetes takes ten."""
    progress_interval: float = 1.0
    """Seconds between two reports of a download's progress. The agent's own default is 15."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Changed keys of `localModel` in inferenceservice-config."""


class Cluster:
    """Starts and stops everything. Use as a context manager; a failed start stops what was started."""

    def __init__(
        self, options: ClusterOptions, *, report: Callable[[str], None] | None = None, clock: Clock | None = None
    ) -> None:
        """`report` is told what comes up, and what had to be started again, one short line each, by any thread."""
        self.options = options
        self.workdir = options.workdir.resolve()
        self.kubeconfig = (options.kubeconfig or options.external_kubeconfig or self.workdir / "kubeconfig").resolve()
        self.nodes = node_names(options.nodes)
        self.clock = clock or RealClock()
        self.supervisor = Supervisor(log_directory=self.logs, on_restart=self._tell_restart, clock=self.clock)
        self._report = report or (lambda _: None)
        self._client: LiveClient | None = None
        self._health_ports: dict[str, int] = {}
        self._agent_pods: AgentPods | None = None

    @property
    def logs(self) -> Path:
        """The directory of the programs' logs."""
        return self.workdir / "logs"

    @property
    def client(self) -> LiveClient:
        """An administrator's client."""
        if self._client is None:
            raise ClusterError("the cluster has no API server yet: start it first")
        return self._client

    def node_root(self, node: str) -> Path:
        """The directory that is a node's disk."""
        return self.workdir / "nodes" / node

    def start(self) -> None:
        """Raises ClusterError, ApiError, TransportError; then everything is stopped again."""
        try:
            self.workdir.mkdir(parents=True, exist_ok=True)
            self._start_apiserver()
            install.install(self.client, config=self.options.config)
            self._report("namespaces, CRDs, roles and configuration are installed")
            self._start_controllers()
            self._start_manager()
            self._start_agents()
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every process, last first; idempotent."""
        if self._agent_pods is not None:
            self._agent_pods.stop()
            self._agent_pods = None
        self.supervisor.stop()
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # parts ----------------------------------------------------------------------------------------------------

    def _start_apiserver(self) -> None:
        if self.options.external_kubeconfig is None:
            flags = ["--port", str(free_port()), "--kubeconfig", str(self.kubeconfig)]
            flags += ["--data-dir", str(self.workdir / DATA_DIR), "--audit-log", str(self.logs / "audit.jsonl")]
            self.kubeconfig.unlink(missing_ok=True)
            child = self._program("apiserver", (console_script("localmodel"), "sandbox", "apiserver", *flags), {})
            self._wait("the API server", self.kubeconfig.exists, child)
        elif self.kubeconfig != self.options.external_kubeconfig.resolve():
            self.kubeconfig.write_bytes(self.options.external_kubeconfig.read_bytes())
        self._client = LiveClient(load_config(self.kubeconfig, user_agent=f"localmodel-sandbox/{__version__}"))
        self._wait(f"the API server {self._client.config.server}", self._answers)
        self._report(f"the API server is at {self.client.config.server}")

    def _start_controllers(self) -> None:
        images = [f"--image={name}={shlex.join(command)}" for name, command in self.options.images.items()]
        self._program(
            "controllers",
            (
                console_script("localmodel"),
                "sandbox",
                "controllers",
                f"--kubeconfig={self.kubeconfig}",
                f"--nodes={self.options.nodes}",
                f"--workdir={self.workdir}",
                f"--job-backoff={self.options.job_backoff}",
                *images,
            ),
            {},
        )

    def _start_manager(self) -> None:
        kubeconfig = self._own_kubeconfig("manager", install.MANAGER_ACCOUNT)
        command = (console_script("localmodel-manager"), f"--kubeconfig={kubeconfig}", "--webhook-port=0")
        self._program("manager", (*command, *self._addresses("manager")), {"POD_NAMESPACE": install.NAMESPACE})

    def _start_agents(self) -> None:
        kubeconfig = self._own_kubeconfig("agent", install.AGENT_ACCOUNT)
        children = {}
        for node in self.nodes:
            models_root = self.node_root(node) / "mnt" / "models"
            models_root.mkdir(parents=True, exist_ok=True)
            name = f"agent-{node}"
            command = (
                console_script("localmodel-agent"),
                f"--kubeconfig={kubeconfig}",
                f"--models-root={models_root}",
                f"--progress-interval={self.options.progress_interval}",
            )
            env = {"POD_NAMESPACE": install.NAMESPACE, "NODE_NAME": node}
            children[node] = self._program(name, (*command, *self._addresses(name)), env)
        self._agent_pods = AgentPods(self.client, children, self._is_ready, self.clock)
        self._agent_pods.start()

    def _program(self, name: str, command: tuple[str, ...], env: Mapping[str, str]) -> Child:
        inherited = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR", "HOME") if key in os.environ}
        return self.supervisor.start(
            Program(name=name, command=command, env={**inherited, **env}, directory=self.workdir)
        )

    def _addresses(self, name: str) -> tuple[str, str]:
        """A port for health probes that stays the same when the program is started again; metrics on any."""
        port = self._health_ports[name] = free_port()
        return "--metrics-addr=127.0.0.1:0", f"--health-probe-addr=127.0.0.1:{port}"

    def _own_kubeconfig(self, name: str, account: str) -> Path:
        """A kubeconfig with a service account's token, and the API server's address and CA."""
        token = install.service_account_token(self.client, install.NAMESPACE, account)
        path = self.workdir / f"kubeconfig-{name}"
        write_kubeconfig(path, other_kubeconfig(self.kubeconfig, account, token_credentials(token)))
        return path

    def _tell_restart(self, child: Child, code: int) -> None:
        self._report(f"{child.program.name} {ending(code)}; started again (pid {child.pid})")

    # readiness ------------------------------------------------------------------------------------------------

    def _wait_ready(self) -> None:
        for name in self._health_ports:
            self._wait(name, partial(self._is_ready, name), self.supervisor[name])
        self._report(f"ready: the manager and {counted(len(self.nodes), 'agent')}")

    def _is_ready(self, name: str) -> bool:
        """Whether the program answers /readyz with 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self._health_ports[name], timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _answers(self) -> bool:
        """Whether the API server answers an administrator's request."""
        try:
            self.client.list(Namespace)
        except (ApiError, TransportError) as error:
            log.debug("the API server does not answer yet", error=str(error))
            return False
        return True

    def _wait(self, what: str, condition: Callable[[], bool], child: Child | None = None) -> None:
        """Waits until a part is there; not for one that dies three times on the way. Raises ClusterError."""
        end = self.clock.monotonic() + START_TIMEOUT
        pause = threading.Event()
        while not condition():
            if self.clock.monotonic() > end or (child is not None and child.restarts >= 3):
                log_end = f"; the end of its log {child.log}:\n{tail(child.log)}" if child else ""
                raise ClusterError(f"{what} did not become ready within {START_TIMEOUT:.0f} s{log_end}")
            self.clock.wait_event(pause, 0.05)


class AgentPods:
    """Shows each agent's process as a mirror Pod whose Ready condition follows the process."""

    def __init__(
        self, client: LiveClient, agents: Mapping[str, Child], is_ready: Callable[[str], bool], clock: Clock
    ) -> None:
        self._client = client
        self._agents = agents
        self._is_ready = is_ready
        self._clock = clock
        self._shown: dict[str, bool | None] = dict.fromkeys(agents)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agent-pods", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._clock.wait_event(self._stopping, 0.5):
            for node, child in self._agents.items():
                ready = child.is_running and self._is_ready(f"agent-{node}")
                if ready != self._shown[node]:
                    self._show(node, ready=ready)

    def _show(self, node: str, *, ready: bool) -> None:
        pod = agent_pod(node)
        try:
            if self._shown[node] is None:
                self._create(pod)
            self._client.status.patch(pod, {"status": self._status(node, ready=ready)})
        except (ApiError, TransportError) as error:
            log.warning("cannot show the agent's pod, trying again", node=node, error=str(error))
        else:
            self._shown[node] = ready

    def _status(self, node: str, *, ready: bool) -> dict[str, Any]:
        now = format_time(self._clock.now())
        status = "True" if ready else "False"
        container = {
            "name": "manager",
            "ready": ready,
            "restartCount": self._agents[node].restarts,
            "state": {"running": {"startedAt": now}},
        }
        return {
            "phase": "Running",
            "conditions": [
                {"type": type_, "status": status, "lastTransitionTime": now} for type_ in ("ContainersReady", "Ready")
            ],
            "containerStatuses": [container],
        }

    def _create(self, pod: Pod) -> None:
        try:
            self._client.create(pod)
        except AlreadyExistsError:
            log.debug("the agent's pod is there already", pod=str(pod.key))


def agent_pod(node: str) -> Pod:
    """The Pod that the agents' DaemonSet would have on the node; run by nobody, hence a mirror pod."""
    metadata = ObjectMeta(
        name=f"kserve-localmodelnode-agent-{node}",
        namespace=install.NAMESPACE,
        labels=AGENT_LABEL,
        annotations={MIRROR: node},
    )
    container = {"name": "manager", "image": "kserve/kserve-localmodelnode-agent:latest", "command": ["/manager"]}
    spec = {"nodeName": node, "serviceAccountName": install.AGENT_ACCOUNT, "containers": [container]}
    return Pod.from_dict({"metadata": metadata.to_dict(), "spec": spec})


def console_script(name: str) -> str:
    """The path of one of this installation's programs; raises ClusterError."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise ClusterError(f"{path} is missing: install the package with its console scripts (pip install -e .)")
    return str(path)


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
