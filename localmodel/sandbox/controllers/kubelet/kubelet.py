"""`KubeletReconciler`: the kubelets of all simulated nodes, in one process.

For each pod that is bound to one of its nodes it keeps a `PodRunner` and writes what that says into the pod's status.
A pod in deletion is stopped (SIGTERM, the grace period, SIGKILL) and then deleted for good, which only a kubelet does.
The runners live in memory and their processes die with this one; a pod that an earlier kubelet left running is looked
at live, its containers are lost, and so it fails or is started again, as its restart policy says.
Pods of other nodes and mirror pods (annotation kubernetes.io/config.mirror) are not ours to run. The kubelet of a node
that is silent (`nodes`) does nothing; its containers run on.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from localmodel.runtime.client import Preconditions
from localmodel.runtime.controller import ControllerOptions
from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.event import GenericEvent
from localmodel.runtime.handler import EnqueueRequestForObject, EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import ObjectKey, Pod, PodStatus
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.source import Channel
from localmodel.sandbox.controllers.kinds import MIRROR, Node
from localmodel.sandbox.controllers.nodes import is_silent
from localmodel.sandbox.spawn import Spawner

from .addresses import PodAddresses
from .commands import Surroundings
from .images import ImageTable
from .logs import LogWriter
from .pod import LogNotFoundError, PodRunner

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder

log = structlog.get_logger(__name__)

DEFAULT_GRACE = 30
STOP_GRACE = 2.0
"""Seconds that containers get when the kubelet itself is stopped."""


@dataclass(frozen=True, kw_only=True)
class KubeletOptions:
    """The nodes and where they are."""

    nodes: Sequence[str]
    directory: Path
    """Node NAME's root is DIRECTORY/NAME."""
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Images beside the ones known by default: name -> command."""
    kubeconfig: Path | None = None
    """Names the API server that pods talk to; without it they get no access to one."""
    anonymous_auth: bool = False
    """Whether its port answers those who show no client certificate."""
    workers: int = 4


class PodNotFoundError(LogNotFoundError):
    """The kubelet runs no such pod."""


class Passes:
    """Counts the workers at a pod, so that none starts a process once the containers are being ended."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._closed = False

    @contextlib.contextmanager
    def one(self) -> Iterator[bool]:
        """One pass; whether it may still be made."""
        with self._changed:
            if self._closed:
                yield False
                return
            self._count += 1
        try:
            yield True
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Allows no more, and waits at most `timeout` seconds for those that are being made."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._count, timeout)


class KubeletReconciler(Reconciler):
    """Runs the pods of the simulated nodes. `start` is its Runnable half: it ends all processes at shutdown."""

    need_leader_election = False

    def __init__(self, options: KubeletOptions, *, spawner: Spawner | None = None) -> None:
        self._options = options
        self._images = ImageTable(options.images)
        self._spawner = spawner or Spawner()
        self._addresses = PodAddresses(options.nodes)
        self._exits = Channel(EnqueueRequestForObject(), name="container-exits")
        self._runners: dict[Request, PodRunner] = {}
        """Pods with a runner, until the pod object is gone. A worker touches only the entry of its own request."""
        self._passes = Passes()
        for node in options.nodes:
            (options.directory / node).mkdir(parents=True, exist_ok=True)

    def setup(self, builder: Builder) -> None:
        builder.named("kubelet").for_(Pod).watches_source(self._exits)
        builder.watches(Node, EnqueueRequestsFromMapFunc(self._pods_of))
        builder.with_options(ControllerOptions(workers=self._options.workers))

    def _pods_of(self, node: Node) -> Iterable[Request]:
        if node.name in self._options.nodes:
            yield from (pod.key for pod in self.client.list(Pod) if pod.spec.node_name == node.name)

    def start(self, stop: threading.Event) -> None:
        """Waits for the end of the process, then ends the containers; the pods are the next kubelet's to judge."""
        stop.wait()
        self._passes.close(STOP_GRACE)
        runners = list(self._runners.values())
        for runner in runners:
            runner.stop(STOP_GRACE)
        for runner in runners:
            runner.wait(STOP_GRACE)
            runner.kill()

    def reconcile(self, request: Request) -> Result | None:
        with self._passes.one() as allowed:
            return self._reconcile(request) if allowed else None

    def _reconcile(self, request: Request) -> Result | None:
        pod = self.client.find(Pod, request.name, namespace=request.namespace)
        runner = self._runners.get(request)
        if runner is not None and (pod is None or pod.metadata.uid != runner.uid):
            self._remove(request, runner)
            runner = None
        if pod is None or pod.spec.node_name not in self._options.nodes:
            return None
        node = self.client.find(Node, pod.spec.node_name)
        if node is not None and is_silent(node):
            return None
        if MIRROR in pod.metadata.annotations:
            if pod.is_deleting:
                self._finish_deletion(request, pod, None)
            return None
        if pod.is_deleting:
            return self._stop(request, pod, runner)
        if runner is None:
            if pod.is_finished:
                return None
            runner = self._adopt(request, pod)
            if runner is None:
                return None
        delay = runner.sync(pod)
        self._write_status(pod, runner)
        return Result(requeue_after=delay) if delay is not None else None

    def _adopt(self, request: Request, pod: Pod) -> PodRunner | None:
        """The runner of a pod seen for the first time, whose cached status may be old; None if it is finished."""
        live = self.live.find(Pod, pod.name, namespace=pod.namespace)
        if live is None or live.metadata.uid != pod.metadata.uid or live.is_finished:
            return None
        runner = self._runners[request] = self._restored(live)
        return runner

    def _restored(self, pod: Pod) -> PodRunner:
        """A runner that takes the pod over from an earlier kubelet, as its status has it."""
        surroundings = Surroundings(
            root=self._options.directory / pod.spec.node_name,
            reader=self.live,
            client=self.client,
            images=self._images,
            spawner=self._spawner,
            clock=self.clock,
            addresses=self._addresses,
            kubeconfig=self._options.kubeconfig,
        )
        runner = PodRunner(
            pod,
            surroundings,
            wake=lambda: self._exits.send(GenericEvent(pod)),
            report=lambda type_, reason, message: self.recorder.event(pod, type_, reason, message),  # type: ignore[arg-type]
        )
        runner.restore(pod)
        return runner

    def open_log(self, key: ObjectKey, container: str, *, previous: bool) -> tuple[Path, LogWriter | None]:
        """The log of a container of one of the pods, and who still writes it. May be called by any thread.

        Raises PodNotFoundError, LogNotFoundError, and what a read at the API server raises.
        """
        pod = self.live.find(Pod, key.name, namespace=key.namespace)
        if pod is None or pod.spec.node_name not in self._options.nodes:
            raise PodNotFoundError(f'pod "{key.name}" does not exist')
        if MIRROR in pod.metadata.annotations:
            text = "is not run by the kubelet: its log is with whoever runs it (`sandbox up`: logs/agent-NODE.log)"
            raise LogNotFoundError(f'container "{container}" in pod "{key.name}" {text}')
        runner = self._runners.get(Request(key.namespace, key.name))
        if runner is None or runner.uid != pod.metadata.uid:
            runner = self._restored(pod)
        return runner.log(container, previous=previous)

    def _write_status(self, pod: Pod, runner: PodRunner) -> None:
        status = runner.status(pod)
        current = pod.status.to_dict()
        if PodStatus.from_dict(current | status).to_dict() == current:
            return
        try:
            self.client.status.patch(pod, {"metadata": {"uid": pod.metadata.uid}, "status": status})
        except (NotFoundError, ConflictError) as error:
            # Gone, or another pod of this name by now: its own event follows.
            log.debug("pod status not written", pod=str(pod.key), reason=str(error))

    def _stop(self, request: Request, pod: Pod, runner: PodRunner | None) -> Result | None:
        grace = pod.metadata.deletion_grace_period_seconds
        if runner is None and not pod.is_finished:
            runner = self._adopt(request, pod)
        if runner is not None:
            delay = runner.stop(DEFAULT_GRACE if grace is None else grace)
            if delay is not None:
                return Result(requeue_after=delay)
            self._write_status(pod, runner)
        self._finish_deletion(request, pod, runner)
        return None

    def _finish_deletion(self, request: Request, pod: Pod, runner: PodRunner | None) -> None:
        try:
            self.client.delete(pod, grace_period_seconds=0, preconditions=Preconditions(uid=pod.metadata.uid))
        except (NotFoundError, ConflictError) as error:
            log.debug("pod went by itself", pod=str(pod.key), reason=str(error))
        if runner is not None:
            self._remove(request, runner)

    def _remove(self, request: Request, runner: PodRunner) -> None:
        """Ends what still runs at once and removes the pod's directory; its logs stay."""
        runner.kill()
        runner.wait(STOP_GRACE)
        runner.release()
        shutil.rmtree(runner.scratch, ignore_errors=True)
        self._runners.pop(request, None)
