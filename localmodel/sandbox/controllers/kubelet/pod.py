"""`PodRunner`: all containers of one pod on its node, and the pod's status.

`sync` is level-triggered: it looks at each process and does the next thing: the init containers one after another,
then the containers, restarts after a back-off as the restart policy says, probes. An init container that always
restarts is a sidecar: it runs beside the others, and is ended after them. `sync` is called again when a process ends,
when the pod changes, and after the seconds it returns. Neighbours: `container` for one process, `commands` for what it
is, `probes`, `kubelet` for talking to the API server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from localmodel.runtime.errors import ApiError, RuntimeLibraryError, TransportError
from localmodel.runtime.objects import Pod, format_time

from .addresses import HOST_IP, NoAddressLeftError
from .commands import Launcher, Surroundings, UnknownImageError
from .container import Container
from .environment import ContainerConfigError
from .logs import LogWriter
from .mounts import MountError
from .probes import ContainerProbes, Target

Json = dict[str, Any]
Report = Callable[[str, str, str], None]
"""Records an event of the pod: type, reason, message."""

RETRY = 2.0
"""Seconds after which a container that could not be started is tried again."""
DEFAULT_GRACE = 30.0


class LogNotFoundError(RuntimeLibraryError):
    """A container has no such log; the message is the kubelet's."""


class PodRunner:
    """Runs one pod. Not thread-safe: the kubelet's queue gives one pod to one worker at a time."""

    def __init__(self, pod: Pod, node: Surroundings, *, wake: Callable[[], None], report: Report) -> None:
        self.uid = pod.metadata.uid
        self._name = pod.name
        self._node_name = pod.spec.node_name
        self._node = node
        self._report = report
        self._scratch = node.root / "var/lib/kubelet/pods" / self.uid
        self._logs = node.root / "logs" / f"{pod.namespace}_{pod.name}_{self.uid}"
        self._launcher = Launcher(node, self._scratch)
        self._policy = pod.spec.restart_policy or "Always"
        self._grace = float(pod.spec.to_dict().get("terminationGracePeriodSeconds") or DEFAULT_GRACE)
        self._reason, self._message = "", ""
        """Why the pod failed as a whole, if it did."""
        self._stop_at: float | None = None
        """Monotonic time of SIGKILL, once the pod is being stopped."""
        self._probes: dict[str, ContainerProbes] = {}
        """Of the containers' current runs."""
        self._address = HOST_IP if pod.spec.to_dict().get("hostNetwork") else ""
        """Assigned with the first container."""

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
        if not self._assign_address(pod):
            return RETRY
        if (left := self._time_left(pod)) is not None and left <= 0:
            self._reason = "DeadlineExceeded"
            self._message = "Pod was active on the node longer than the specified deadline"
            return self.stop(self._grace)
        if self._is_done:
            ends = [sidecar.end_within(self._grace) for sidecar in reversed(self._init) if is_sidecar(sidecar)]
            return _soonest(ends)
        delays = [left, self._renew_tokens(pod)]
        for container in self._init:
            delays.append(self._drive(container, pod, once=not is_sidecar(container)))
            if not (container.started if is_sidecar(container) else container.succeeded):
                return _soonest(delays)
        delays += [self._drive(container, pod, once=False) for container in self._main]
        return _soonest(delays)

    def _assign_address(self, pod: Pod) -> bool:
        if self._address:
            return True
        known = str(pod.status.to_dict().get("podIP") or "")
        try:
            self._address = self._node.addresses.assign(self._node_name, self.uid, known=known)
        except NoAddressLeftError as error:
            self._report("Warning", "FailedCreatePodSandBox", str(error))
            return False
        return True

    def _time_left(self, pod: Pod) -> float | None:
        """Seconds until the pod has run for too long."""
        seconds = pod.spec.to_dict().get("activeDeadlineSeconds")
        if seconds is None or pod.status.start_time is None:
            return None
        return (pod.status.start_time + timedelta(seconds=seconds) - self._node.clock.now()).total_seconds()

    def _renew_tokens(self, pod: Pod) -> float | None:
        try:
            return self._launcher.tokens.renew(pod)
        except (ContainerConfigError, TransportError) as error:
            self._report("Warning", "FailedMount", f"a token was not renewed: {error}")
            return RETRY

    def _drive(self, container: Container, pod: Pod, *, once: bool) -> float | None:
        """Starts, restarts or probes one container. `once`: an init container, which is done when it succeeded."""
        if once and container.succeeded:
            return None
        if container.is_running:
            return None if once else self._probe(container)
        if container.termination is not None:
            if not self._is_restarted(container, once=once):
                return None
            delay = container.back_off()
        else:
            delay = container.not_before - self._node.clock.monotonic()
        if delay > 0:
            return delay
        return self._start(container, pod, once=once)

    def _is_restarted(self, container: Container, *, once: bool) -> bool:
        if is_sidecar(container):
            return True
        if self._policy == "Always":
            return not (once and container.succeeded)
        return self._policy == "OnFailure" and not container.succeeded

    def _start(self, container: Container, pod: Pod, *, once: bool) -> float | None:
        runs = container.restarts + (container.termination is not None)
        placed = self._with_address(pod)
        try:
            command, mounts = self._launcher.prepare(
                container, placed, self._log_path(container.name, runs), self._address
            )
        except MountError as error:
            return self._refuse(container, "ContainerCreating", "FailedMount", str(error))
        except UnknownImageError as error:
            return self._refuse(container, "ErrImagePull", "Failed", str(error))
        except ContainerConfigError as error:
            return self._refuse(container, "CreateContainerConfigError", "Failed", f"Error: {error}")
        except (ApiError, TransportError) as error:
            return self._refuse(container, "ContainerCreating", "FailedMount", str(error))
        container.start(command)
        self._report("Normal", "Started", f"Started container {container.name}")
        if container.spec.get("lifecycle"):
            text = f"container {container.name}: the sandbox runs no lifecycle hooks"
            self._report("Warning", "Unsupported", text)
        ports = {port["name"]: port["containerPort"] for port in container.spec.get("ports") or [] if "name" in port}
        self._probes[container.name] = ContainerProbes(
            container.spec,
            Target(command, mounts, self._address, ports),
            clock=self._node.clock,
            report=lambda reason, message: self._report("Warning", reason, message),
        )
        return None if once else self._probe(container)

    def _with_address(self, pod: Pod) -> Pod:
        """The pod with its address in the status, for the downward API."""
        data = pod.to_dict()
        data["status"] = {**(data.get("status") or {}), "podIP": self._address, "hostIP": HOST_IP}
        return Pod.from_dict(data)

    def _refuse(self, container: Container, waiting: str, reason: str, message: str) -> float:
        if container.waiting != (waiting, message):
            self._report("Warning", reason, message)
        container.refuse(waiting, message, retry=RETRY)
        return RETRY

    def _probe(self, container: Container) -> float | None:
        probes = self._probes.get(container.name)
        if container.is_ending:
            return container.end_within(self._grace)
        if probes is None:
            return None
        verdict = probes.look()
        container.started, container.ready = verdict.started, verdict.ready
        if verdict.kill:
            text = f"Container {container.name} failed {verdict.kill} probe, will be restarted"
            self._report("Normal", "Killing", text)
            return container.end_within(self._grace)
        return verdict.delay

    # stopping -------------------------------------------------------------------------------------------------

    def stop(self, grace: float) -> float | None:
        """SIGTERM to all containers now, SIGKILL after `grace` seconds; seconds to look again, None when stopped."""
        now = self._node.clock.monotonic()
        for container in self._containers:
            container.observe()
        if self._stop_at is None:
            for container in self._containers:
                container.terminate()
        self._stop_at = min(self._stop_at or now + grace, now + grace)
        if not self.is_running:
            return None
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

    def release(self) -> None:
        """The pod is gone: its address is free."""
        self._node.addresses.release(self._address, self.uid)

    @property
    def scratch(self) -> Path:
        """The pod's own directory, to be removed with it; logs lie elsewhere and stay."""
        return self._scratch

    # status ---------------------------------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        once = [c for c in self._init if not is_sidecar(c)]
        if any(c.termination and not c.succeeded for c in once) and self._policy == "Never":
            return "Failed"
        if self._stop_at is not None and not self.is_running:
            succeeded = self._reason != "DeadlineExceeded" and all(c.succeeded for c in self._main)
            return "Succeeded" if succeeded else "Failed"
        if not self._is_initialized:
            return "Pending"
        if any(c.is_running for c in self._main):
            return "Running"
        if any(c.termination is None for c in self._main):
            return "Pending" if all(c.termination is None for c in self._main) else "Running"
        if self._is_done:
            if self.is_running:  # a sidecar
                return "Running"
            return "Succeeded" if all(c.succeeded for c in self._main) else "Failed"
        return "Running"

    @property
    def _is_initialized(self) -> bool:
        return all(c.succeeded or is_sidecar(c) for c in self._init)

    @property
    def _is_done(self) -> bool:
        """Every container has ended, and none is started again."""
        if any(c.is_running or c.termination is None for c in self._main):
            return False
        return self._policy == "Never" or (self._policy == "OnFailure" and all(c.succeeded for c in self._main))

    def status(self, pod: Pod) -> Json:
        """The pod's status, with the conditions that other parts (the scheduler) wrote kept."""
        phase = self.phase
        now = format_time(self._node.clock.now())
        initialized = self._is_initialized
        serving = [*self._main, *(c for c in self._init if is_sidecar(c))]
        ready = phase == "Running" and all(c.ready for c in serving)
        finished = "PodCompleted" if phase == "Succeeded" else "PodFailed" if phase == "Failed" else ""
        unready = finished or ("" if ready else "ContainersNotReady")
        conditions = merge_conditions(
            pod.status.conditions,
            [
                {"type": "PodScheduled", "status": "True"},
                _condition("Initialized", initialized, finished or "ContainersNotInitialized"),
                _condition("ContainersReady", ready, unready),
                _condition("Ready", ready, unready),
            ],
            now,
        )
        status: Json = {
            "phase": phase,
            "conditions": conditions,
            "hostIP": HOST_IP,
            "hostIPs": [{"ip": HOST_IP}],
            "podIP": self._address or None,
            "podIPs": [{"ip": self._address}] if self._address else None,
            "startTime": format_time(pod.status.start_time or self._node.clock.now()),
            "containerStatuses": [c.status() for c in self._main],
        }
        if self._init:
            status["initContainerStatuses"] = [c.status() for c in self._init]
        if self._reason and phase == "Failed":
            status |= {"reason": self._reason, "message": self._message}
        return status


def is_sidecar(container: Container) -> bool:
    """An init container that runs as long as the pod."""
    return bool(container.spec.get("restartPolicy") == "Always")


def _soonest(delays: Iterable[float | None]) -> float | None:
    return min((delay for delay in delays if delay is not None), default=None)


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
