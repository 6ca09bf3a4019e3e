"""`localmodel demo`: the main job end to end on a laptop, with the real programs. Exit status 0 only if all of it held.

A simulated cluster (`cluster`), a hub on the loopback (`hub`), a model cached on every node by the manager and the
agents with live progress, every file of it checked against the source, then served to a pod through the volume claim
that the manager made, beside a pod that downloads first.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
import yaml

from localmodel.api import LocalModelCache, LocalModelNode, ModelStatus, NodeModel, names
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.logging import setup_logging
from localmodel.runtime.objects import PersistentVolumeClaim, Pod, parse_quantity

from . import demo_objects as objects
from . import install
from .cluster import Cluster, ClusterOptions
from .controllers.kubelet.mounts import host_path
from .controllers.main import positive
from .demo_model import REPOSITORY, URI, Model, ModelError, packaged_model, synthetic_model
from .demo_view import NodeProgress, View, make_view
from .hub import HubServer
from .interrupts import interrupt_on_termination, stopping_afterwards
from .up import description
from .wording import MIB, counted, mebibytes, shown, speed
from .workdir import Workdir, WorkdirError

log = structlog.get_logger(__name__)

BANDWIDTH = 40 * MIB
"""Bytes per second that the hub gives to all downloads together, so that progress can be seen."""
STALL_TIMEOUT = 60.0
"""Seconds for everything that is not bytes."""
POLL = 0.2

_WORDS: dict[str, str] = {
    ModelStatus.MODEL_DOWNLOAD_PENDING: "pending",
    ModelStatus.MODEL_DOWNLOADING: "downloading",
    ModelStatus.MODEL_DOWNLOAD_ERROR: "failed",
}

T = TypeVar("T")


class DemoError(RuntimeLibraryError):
    """Something that had to hold did not; the message says what."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, metavar="DIR", help="a directory with a model's files to be cached")
    model.add_argument("--synthetic", type=quantity, metavar="SIZE", help="a model of random weights, as 500Mi")
    parser.add_argument("--nodes", type=positive, default=3, metavar="N", help="simulated nodes (default: %(default)s)")
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="a new directory for disks and logs (default: a temporary one)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster running at the end, until Ctrl-C")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of bars and colours")


def quantity(text: str) -> int:
    """An argparse type: a quantity of bytes."""
    try:
        return parse_quantity(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(args: argparse.Namespace) -> int:
    setup_logging("warning", "console")
    interrupt_on_termination()
    view = make_view(sys.stdout, plain=args.plain)
    workdir = Workdir(args.workdir, prefix="localmodel-demo-")
    try:
        with workdir.claimed(fresh=True) as directory:
            Demo(args, directory, view).run()
    except KeyboardInterrupt:
        view.failure("interrupted; everything is stopped")
        raise
    except WorkdirError as error:
        view.failure(str(error))
        return 1
    except (RuntimeLibraryError, TimeoutError, OSError) as error:
        view.failure(str(error))
        if workdir.was_used:
            view.note(f"{workdir.path} is kept: logs of programs are in logs, of containers in nodes/NODE/logs")
        return 1
    return 0


@dataclass(frozen=True, slots=True)
class Serving:
    """What a serving pod reported, and how long it took from its creation."""

    node: str
    tensors: int
    size: int
    load_seconds: float
    ready_seconds: float


class Demo:
    """One run of the demo, step by step; each step raises DemoError if what it shows does not hold."""

    def __init__(self, args: argparse.Namespace, workdir: Path, view: View) -> None:
        self._args = args
        self._workdir = workdir
        self._view = view
        self._token = f"hf_{secrets.token_hex(16)}"
        images = {"huggingfaceserver": (sys.executable, "-m", "localmodel.sandbox.serve")}
        options = ClusterOptions(workdir=workdir, nodes=args.nodes, images=images, progress_interval=0.5)
        self._cluster = Cluster(options, report=view.note)

    def run(self) -> None:
        """Raises DemoError, ClusterError, ModelError, ApiError, TransportError."""
        self._view.step("Model")
        model = self._model()
        with HubServer({REPOSITORY: model.directory}, token=self._token, max_bytes_per_second=BANDWIDTH) as hub:
            self._view.note(f"served as {URI}")
            self._view.note(f"by a hub at {hub.url} (token required, {BANDWIDTH // MIB} MiB/s in all)")
            self._view.step(f"Simulated cluster with {counted(self._args.nodes, 'node')}")
            self._view.note(f"in {self._workdir}")
            with self._cluster, stopping_afterwards():
                self._view.note(f"kubectl --kubeconfig {self._cluster.kubeconfig} get localmodelcaches,pods -A")
                self._run_on_cluster(model, hub.url)
                if self._args.keep:
                    self._keep()

    def _run_on_cluster(self, model: Model, endpoint: str) -> None:
        self._view.step(f"Caching {URI} on {counted(self._args.nodes, 'node')}")
        self._apply(model, endpoint)
        self._watch_download(model)
        self._view.step("Checking every file on every node")
        self._verify(model)
        self._view.step("Serving it")
        self._serve(model, endpoint)
        self._view.step("All of it held")
        if not self._args.keep:
            self._view.note("--keep leaves the cluster running, to play with it through kubectl")

    # steps ----------------------------------------------------------------------------------------------------

    def _model(self) -> Model:
        if self._args.synthetic:
            directory = synthetic_model(self._workdir / "model", self._args.synthetic)
        elif self._args.model:
            if not self._args.model.is_dir():
                raise ModelError(f"--model {self._args.model}: there is no such directory")
            directory = self._args.model.resolve()
        else:
            directory = packaged_model()
        model = Model.of(directory)
        self._view.note(f"{counted(len(model.files), 'file')}, {mebibytes(model.size)}")
        self._view.note(f"from {shown(directory)}")
        return model

    def _apply(self, model: Model, endpoint: str) -> None:
        documents = [
            objects.hf_secret(self._token, install.JOB_NAMESPACE),
            objects.storage_container(endpoint),
            objects.node_group(),
            objects.cache(URI, model.size),
        ]
        path = self._workdir / "demo.yaml"
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        path.chmod(0o600)
        install.apply_all(self._cluster.client, documents)
        kinds = ", ".join(document["kind"] for document in documents)
        self._view.note(f"applied {kinds}")
        self._view.note(f"from {shown(path)}")

    def _watch_download(self, model: Model) -> None:
        """Shows the nodes' progress until the cache says that every copy is there."""
        started = time.monotonic()
        timeout = STALL_TIMEOUT + 3 * model.size * self._args.nodes / BANDWIDTH
        with self._view.bars(self._cluster.nodes) as bars:

            def finished() -> bool:
                bars.update([self._progress(node, model) for node in self._cluster.nodes])
                cache = self._cluster.client.get(LocalModelCache, objects.CACHE_NAME)
                self._raise_failures(cache)
                copies = cache.status.copies
                return copies is not None and copies.available == copies.total == self._args.nodes

            self._wait(f"copies.available of the cache is {self._args.nodes}", finished, timeout)
        seconds = time.monotonic() - started
        rate = speed(model.size * self._args.nodes, seconds)
        nodes = counted(self._args.nodes, "node")
        self._view.success(f"available on {nodes} after {seconds:.1f} s ({rate} in all)")

    def _progress(self, node: str, model: Model) -> NodeProgress:
        local = self._cluster.client.find(LocalModelNode, node)
        key = names.status_key(objects.CACHE_NAME)
        if local is None or key not in local.status.model_status:
            return NodeProgress(node, "waiting", 0, model.size)
        state = local.status.model_status[key]
        if state == ModelStatus.MODEL_DOWNLOADED:
            return NodeProgress(node, "downloaded", model.size, model.size)
        known = local.status.models.get(key, NodeModel())
        done = min(known.bytes_downloaded or 0, model.size)
        return NodeProgress(node, (known.reason or _WORDS[state]).lower(), done, model.size)

    @staticmethod
    def _raise_failures(cache: LocalModelCache) -> None:
        if not (cache.status.copies and cache.status.copies.failed):
            return
        lines = [f"{failure.node}: {failure.reason}: {failure.message}" for failure in cache.status.failures]
        raise DemoError("the model could not be downloaded\n" + "\n".join(lines))

    def _verify(self, model: Model) -> None:
        for node in self._cluster.nodes:
            folder = host_path(self._cluster.node_root(node), objects.MODEL_PATH) / names.storage_sub_path(URI)
            if problems := model.differences(folder):
                raise DemoError(f"the copy on {node} is not the model ({folder})\n" + "\n".join(problems))
            self._view.success(f"{node}: {counted(len(model.files), 'file')} verified against the source by sha256")
        folder = host_path(self._cluster.node_root("NODE"), objects.MODEL_PATH) / names.storage_sub_path(URI)
        self._view.note(f"in {folder}")

    def _serve(self, model: Model, endpoint: str) -> None:
        (service,) = install.apply_all(self._cluster.client, [objects.inference_service(URI)])
        claim = self._wait_for_claim()
        self._view.note(f"for InferenceService {service.key} the manager made")
        self._view.note(f"PersistentVolumeClaim {claim.name}, {claim.status.phase} to {claim.spec.volume_name}")
        install.apply_all(self._cluster.client, [objects.hf_secret(self._token, objects.SERVICE_NAMESPACE)])
        cached = self._run_pod(objects.cached_pod(URI, service=service), model)
        without = self._run_pod(objects.downloading_pod(URI, endpoint, service=service), model)
        for title, serving in (("from the cache", cached), ("downloading first", without)):
            self._view.success(
                f"{title:<18} ready after {serving.ready_seconds:.2f} s, of which loading {serving.load_seconds:.2f} s"
            )
            self._view.note(
                f"{'':<18} {counted(serving.tensors, 'tensor')}, {mebibytes(serving.size)} on {serving.node}"
            )

    def _wait_for_claim(self) -> PersistentVolumeClaim:
        name = names.serving_pvc_name(objects.CACHE_NAME, objects.GROUP_NAME)

        def bound() -> PersistentVolumeClaim | None:
            claim = self._cluster.client.find(PersistentVolumeClaim, name, namespace=objects.SERVICE_NAMESPACE)
            return claim if claim is not None and claim.status.phase == "Bound" else None

        return self._wait(f"PersistentVolumeClaim {objects.SERVICE_NAMESPACE}/{name} is Bound", bound, STALL_TIMEOUT)

    # pods -----------------------------------------------------------------------------------------------------

    def _run_pod(self, document: dict[str, Any], model: Model) -> Serving:
        """Creates a serving pod and waits until it is Ready; its process says what it loaded and when."""
        started = time.time()
        pod = self._cluster.client.create(Pod.from_dict(document))

        def ready() -> Pod | None:
            current = self._cluster.client.get(Pod, pod.name, namespace=pod.namespace)
            if current.is_finished:
                raise DemoError(f"pod {pod.name} ended: {_termination(current)}")
            return current if current.is_ready else None

        timeout = STALL_TIMEOUT + 3 * model.size / BANDWIDTH
        current = self._wait(f"pod {pod.name} is Ready", ready, timeout)
        report = json.loads(self._pod_log(current).read_text().splitlines()[-1])
        if report["tensors"] < 1:
            raise DemoError(f"pod {pod.name} is Ready, but loaded no tensor")
        return Serving(
            node=current.spec.node_name,
            tensors=report["tensors"],
            size=report["bytes"],
            load_seconds=report["seconds"],
            ready_seconds=report["readyAt"] - started,
        )

    def _pod_log(self, pod: Pod) -> Path:
        folder = self._cluster.node_root(pod.spec.node_name) / "logs"
        return folder / f"{pod.namespace}_{pod.name}_{pod.metadata.uid}" / "kserve-container" / "0.log"

    # waiting --------------------------------------------------------------------------------------------------

    def _wait(self, what: str, probe: Callable[[], T | None], timeout: float) -> T:
        """The probe's first answer that is true; raises DemoError naming what did not happen."""
        end = time.monotonic() + timeout
        pause = threading.Event()
        while not (answer := probe()):
            if time.monotonic() > end:
                raise DemoError(f"{what}: not within {timeout:.0f} s")
            pause.wait(POLL)
        return answer

    def _keep(self) -> None:
        self._view.step("The cluster keeps running; Ctrl-C stops it")
        for line in description(self._cluster):
            self._view.note(line)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            self._view.note("stopping")


def _termination(pod: Pod) -> str:
    """Why the first container that failed did so."""
    statuses: Sequence[Any] = [*pod.status.init_container_statuses, *pod.status.container_statuses]
    for status in statuses:
        ended = status.state.terminated
        if ended is not None and ended.exit_code != 0:
            return f"container {status.name} exited with {ended.exit_code}: {ended.message.strip()}"
    return pod.status.message or pod.status.phase
