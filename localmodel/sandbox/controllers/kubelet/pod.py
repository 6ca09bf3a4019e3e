"""`PodRunner`: all containers of one pod on its node, and the pod's status.

`sync` is level-triggered: it looks at each process and does the next thing: the init containers one after another,
then the containers, restarts after a back-off as the restart policy says, probes. It is called again
when a process ends, when the pod changes, and after the seconds it returns. Neighbours: `container` for one process,
`mounts` and `environment` for what it sees, `kubelet` for talking to the API server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import Pod, format_time
from localmodel.sandbox.spawn import Spawner

from .container import Command, Container
from .environment import ContainerConfigError, build_environment, expand
from .images import ImageTable
from .logs import LogWriter
from .mounts import MountError, PodVolumes, container_mounts, rewrite
from .probe import is_supported, succeeds

Json = dict[str, Any]
Report = Callable[[str, str, str], None]
"""Records an event of the pod: type, reason, message."""

RETRY = 2.0
"""Seconds after which a container that could not be started is tried again."""


class LogNotFoundError(RuntimeLibraryError):
    """A container has no such log; the message is the kubelet's."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a pod needs of its node and its kubelet."""

    root: Path
    """The node's directory."""
    reader: Reader
    images: ImageTable
    spawner: Spawner
    clock: Clock


class PodRunner:
    """Runs one pod. Not thread-safe: the kubelet's queue gives one pod to one worker at a time."""

    def __init__(self, pod: Pod, node: Surroundings, *, wake: Callable[[], None], report: Report) -> None:
        self.uid = pod.metadata.uid
        self._name = pod.name
        self._node = node
        self._report = report
        self._scratch = node.root / "var/lib/kubelet/pods" / self.uid
        self._logs = node.root / "logs" / f"{pod.namespace}_{pod.name}_{self.uid}"
        self._volumes = PodVolumes(root=node.root, scratch=self._scratch, reader=node.reader)
        self._policy = pod.spec.restart_policy or "Always"
        self._reason, self._message = "", ""
        self._stop_at: float | None = None
        """Monotonic time of SIGKILL, once the pod is being stopped."""
        self._directories: dict[str, Path] = {}
        """Of the volumes, as of the last start of a container."""

        def container(spec: Json) -> Container:
            return Container(spec, spawner=node.spawner, clock=node.clock, wake=wake)

        self._init = [container(spec) for spec in pod.spec.init_containers]
        self._main = [container(spec) for spec in pod.spec.containers]

    @property
    def _containers(self) -> list[Container]:
        return [*self._init, *self._main]

    @property
    def is_running(self) -> bool:
        return any(container.is_running for container in self._containers)

    def log(self, name: str, *, previous: bool) -> tuple[Path, LogWriter | None]:
        """The log of a container, and who still writes it; raises LogNotFoundError. May be called by any thread."""
        container = next((container for container in self._containers if container.name == name), None)
        if container is None:
            raise LogNotFoundError(f'container "{name}" in pod "{self._name}" is not available')
        run = container.logged_run(previous=previous)
        if run is None and previous:
            raise LogNotFoundError(f'previous terminated container "{name}" in pod "{self._name}" not found')
        if run is None:
            why = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
            reason = why.get(container.waiting[0], container.waiting[0])
            raise LogNotFoundError(f'container "{name}" in pod "{self._name}" is waiting to start: {reason}')
        path = self._log_path(name, run)
        writer = container.output
        return path, writer if writer is not None and writer.path == path else None

    def _log_path(self, container: str, run: int) -> Path:
        return self._logs / container / f"{run}.log"

    def restore(self, pod: Pod) -> None:
        """Takes over a pod that an earlier kubelet ran. Its processes died with it."""
        statuses = pod.status.to_dict()
        known = {
            status["name"]: status
            for field in ("initContainerStatuses", "containerStatuses")
            for status in statuses.get(field) or []
        }
        for container in self._containers:
            container.restore(known.get(container.name, {}))
            if container.termination and container.termination.reason == "ContainerStatusUnknown":
                self._reason, self._message = container.termination.reason, container.termination.message

    # the next thing to do -------------------------------------------------------------------------------------

    def sync(self, pod: Pod) -> float | None:
        """Does what is to do now; seconds after which to look again, None to wait for an event."""
        for container in self._containers:
            container.observe()
        if self.phase in ("Succeeded", "Failed"):
            return None
        for container in self._init:
            if not container.succeeded:
                return self._drive(container, pod, once=True)
        delays = [self._drive(container, pod, once=False) for container in self._main]
        return min((delay for delay in delays if delay is not None), default=None)

    def _drive(self, container: Container, pod: Pod, *, once: bool) -> float | None:
        """Starts, restarts or probes one container. `once`: an init container, which is done when it succeeded."""
        if container.is_running:
            return None if once else self._check_ready(container)
        if container.termination is not None:
            if not self._is_restarted(container, once=once):
                return None
            delay = container.back_off()
        else:
            delay = container.not_before - self._node.clock.monotonic()
        if delay > 0:
            return delay
        return self._start(container, pod)

    def _is_restarted(self, container: Container, *, once: bool) -> bool:
        if self._policy == "Always":
            return not (once and container.succeeded)
        return self._policy == "OnFailure" and not container.succeeded

    def _start(self, container: Container, pod: Pod) -> float | None:
        try:
            command = self._command(container, pod)
        except MountError as error:
            return self._refuse(container, "ContainerCreating", "FailedMount", str(error))
        except ContainerConfigError as error:
            return self._refuse(container, "CreateContainerConfigError", "Failed", f"Error: {error}")
        if command is None:
            image = container.spec.get("image", "")
            message = f'image "{image}" is not known to the sandbox: give --image NAME=COMMAND for it'
            return self._refuse(container, "ErrImagePull", "Failed", message)
        container.start(command)
        self._report("Normal", "Started", f"Started container {container.name}")
        return self._check_ready(container)

    def _refuse(self, container: Container, waiting: str, reason: str, message: str) -> float:
        if container.waiting != (waiting, message):
            self._report("Warning", reason, message)
        container.refuse(waiting, message, retry=RETRY)
        return RETRY

    def _command(self, container: Container, pod: Pod) -> Command | None:
        """The local process of a container; None if its image is not known."""
        spec = container.spec
        entry_point = self._node.images.entry_point(spec.get("image", ""))
        if entry_point is None:
            return None
        self._directories = self._volumes.prepare(pod)
        mounts = container_mounts(spec, self._directories)
        directory = self._scratch / "containers" / container.name
        directory.mkdir(parents=True, exist_ok=True)
        termination_log = directory / "termination-log"
        own = build_environment(spec, pod, self._node.reader)
        command = spec.get("command") or [*entry_point]
        arguments = [rewrite(expand(argument, own), mounts) for argument in [*command, *(spec.get("args") or [])]]
        if not arguments:
            raise ContainerConfigError(f'no command specified, and image "{spec["image"]}" has none here')
        env = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "HOME": str(directory),
            "HOSTNAME": pod.name,
            "LANG": "C.UTF-8",
            **{name: rewrite(value, mounts) for name, value in own.items()},
            "TERMINATION_LOG": str(termination_log),
        }
        runs = container.restarts + (container.termination is not None)
        log = self._log_path(container.name, runs)
        return Command(arguments=arguments, env=env, directory=directory, log=log, termination_log=termination_log)

    def _check_ready(self, container: Container) -> float | None:
        probe = container.spec.get("readinessProbe")
        if not probe or container.command is None:
            container.ready = True
            return None
        if not is_supported(probe):
            message = "Readiness probe: the sandbox knows exec and httpGet with a port number"
            self._report("Warning", "Unhealthy", message)
            return None
        mounts = container_mounts(container.spec, self._directories)
        container.ready = succeeds(probe, container.command, mounts)
        return float(probe.get("periodSeconds") or 10)

    # stopping -------------------------------------------------------------------------------------------------

    def stop(self, grace: float) -> float | None:
        """SIGTERM to all containers now, SIGKILL after `grace` seconds; seconds to look again, None when stopped."""
        now = self._node.clock.monotonic()
        for container in self._containers:
            container.observe()
        if not self.is_running:
            return None
        if self._stop_at is None:
            for container in self._containers:
                container.terminate()
        self._stop_at = min(self._stop_at or now + grace, now + grace)
        if now >= self._stop_at:
            self.kill()
        return max(self._stop_at - now, 0.05)

    def kill(self) -> None:
        for container in self._containers:
            container.kill()

    def wait(self, timeout: float) -> None:
        """Waits for the processes' end, each at most `timeout` seconds."""
        for container in self._containers:
            container.wait(timeout)
            container.observe()

    @property
    def scratch(self) -> Path:
        """The pod's own directory, to be removed with it; logs lie elsewhere and stay."""
        return self._scratch

    # status ---------------------------------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        init_failed = any(c.termination and not c.succeeded for c in self._init)
        if init_failed and self._policy == "Never":
            return "Failed"
        if not all(c.succeeded for c in self._init):
            return "Pending"
        if any(c.is_running for c in self._main):
            return "Running"
        if any(c.termination is None for c in self._main):
            return "Pending" if all(c.termination is None for c in self._main) else "Running"
        failed = not all(c.succeeded for c in self._main)
        if self._stop_at is not None or self._policy == "Never" or (self._policy == "OnFailure" and not failed):
            return "Failed" if failed else "Succeeded"
        return "Running"

    def status(self, pod: Pod, *, node_ready: bool = True) -> Json:
        """The pod's status, with the conditions that other parts (the scheduler) wrote kept.

        A pod is not Ready while its node is not.
        """
        phase = self.phase
        now = format_time(self._node.clock.now())
        initialized = all(c.succeeded for c in self._init)
        ready = phase == "Running" and all(c.ready for c in self._main)
        finished = "PodCompleted" if phase == "Succeeded" else "PodFailed" if phase == "Failed" else ""
        unready = finished or ("" if ready else "ContainersNotReady")
        conditions = merge_conditions(
            pod.status.conditions,
            [
                {"type": "PodScheduled", "status": "True"},
                _condition("Initialized", initialized, finished or "ContainersNotInitialized"),
                _condition("ContainersReady", ready, unready),
                _condition("Ready", ready and node_ready, unready or "NodeNotReady"),
            ],
            now,
        )
        status: Json = {
            "phase": phase,
            "conditions": conditions,
            "hostIP": "127.0.0.1",
            "podIP": "127.0.0.1",
            "startTime": format_time(pod.status.start_time or self._node.clock.now()),
            "containerStatuses": [c.status() for c in self._main],
        }
        if self._init:
            status["initContainerStatuses"] = [c.status() for c in self._init]
        if self._reason and phase == "Failed":
            status |= {"reason": self._reason, "message": self._message}
        return status


def _condition(type_: str, holds: bool, reason: str) -> Json:
    return {"type": type_, "status": "True"} if holds else {"type": type_, "status": "False", "reason": reason}


def merge_conditions(old: Iterable[Json], new: Iterable[Json], now: str) -> list[Json]:
    """The new conditions with the transition times of old ones whose status is the same, and the other old ones."""
    before = {condition.get("type"): condition for condition in old}
    merged = []
    for condition in new:
        known = before.pop(condition["type"], {})
        same = known.get("status") == condition["status"]
        merged.append(condition | {"lastTransitionTime": known.get("lastTransitionTime") or now if same else now})
    return [*merged, *before.values()]
