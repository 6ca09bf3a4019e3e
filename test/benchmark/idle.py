"""The side that does nothing: a manager of 20 watched kinds and 8 workers, with its metrics and health endpoints.

It begins as a program does: a kubeconfig is read by the official client, and logs, signals and endpoints are set up.
This module imports nothing but what such a program needs.
"""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from pathlib import Path

import structlog

from localmodel.runtime import (
    Builder,
    ControllerOptions,
    LiveClient,
    Manager,
    ManagerOptions,
    Reconciler,
    Request,
    load_config,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.handler import EnqueueRequestForObject
from localmodel.runtime.objects import RESTMapping

from .case import Context
from .measure import memory_mib
from .objects import GROUP, VERSION, ModelNode

KINDS = 20
CONTROLLERS = 4
WORKERS = 8
SETTLE = 0.2
"""Of the window's length: what the start leaves behind is over by then."""

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: benchmark, cluster: {{server: "{server}"}}}}]
users: [{{name: benchmark, user: {{token: benchmark}}}}]
contexts: [{{name: benchmark, context: {{cluster: benchmark, user: benchmark}}}}]
current-context: benchmark
"""

log = structlog.get_logger(__name__)


class Idle(Reconciler):
    """Watches some kinds of which there are no objects."""

    def __init__(self, kinds: list[type[ModelNode]]) -> None:
        self._kinds = kinds

    def setup(self, builder: Builder) -> None:
        builder.for_(self._kinds[0])
        for kind in self._kinds[1:]:
            builder.watches(kind, EnqueueRequestForObject())

    def reconcile(self, request: Request) -> None:
        raise AssertionError(f"{request} appeared from nowhere")


class Window:
    """A runnable that starts once the caches have synced, watches the process for a while and ends it."""

    need_leader_election = False

    def __init__(self, context: Context, stop: threading.Event) -> None:
        self.numbers: dict[str, float] = {}
        self._context = context
        self._stop = stop

    def start(self, stop: threading.Event) -> None:
        self.numbers["start_seconds"] = time.monotonic() - self._context.started
        self.numbers["start_cpu_seconds"] = time.process_time()
        window = self._context.size / 1000
        stop.wait(window * SETTLE)
        began, cpu, switches = time.monotonic(), time.process_time(), _switches()
        stop.wait(window)
        elapsed = time.monotonic() - began
        self.numbers["cpu_percent"] = (time.process_time() - cpu) / elapsed * 100
        self.numbers["switches_per_second"] = (_switches() - switches) / elapsed
        self.numbers["resident_mib"] = memory_mib()
        self.numbers["threads"] = threading.active_count()
        self._stop.set()


def manager(context: Context) -> dict[str, float]:
    setup_logging()
    stop = setup_signal_handler()
    with tempfile.TemporaryDirectory() as directory:
        kubeconfig = Path(directory) / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG.format(server=context.server))
        client = LiveClient(load_config(kubeconfig, user_agent="benchmark/1"))
        manager = Manager(client, ManagerOptions(metrics_addr="127.0.0.1:0", health_probe_addr="127.0.0.1:0"))
        kinds = [_kind(index) for index in range(KINDS)]
        for index in range(CONTROLLERS):
            manager.add_reconciler(Idle(kinds[index::CONTROLLERS]), ControllerOptions(workers=WORKERS // CONTROLLERS))
        window = Window(context, stop)
        manager.add(window)
        manager.start(stop)
    client.close()
    return window.numbers


def _kind(index: int) -> type[ModelNode]:
    return type(f"Kind{index}", (ModelNode,), {"mapping": RESTMapping.of(GROUP, VERSION, f"Kind{index}")})


def _switches() -> int:
    """How often a thread of this process went to sleep."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
