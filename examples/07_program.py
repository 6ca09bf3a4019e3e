"""A whole program, as it runs in a cluster: two replicas of which one works, metrics, health, limits, an orderly stop.

Every namespace gets a ConfigMap `about` with the content of a file. Run it as a Deployment of two replicas with a
liveness probe at /healthz and a readiness probe at /readyz.

    python examples/07_program.py --settings /tmp/about.json --log-format console
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from prometheus_client import Counter

from localmodel.runtime import (
    Builder,
    CacheOptions,
    Client,
    ControllerOptions,
    EnqueueRequestsFromMapFunc,
    KindOptions,
    LiveClient,
    Manager,
    ManagerOptions,
    ObjectMeta,
    Reconciler,
    Request,
    Result,
    load_config,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.flags import add_common_flags, add_serving_flags, boolean
from localmodel.runtime.manager import process_metrics
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import ConfigMap, Namespace

NAME = "about"
LABEL = "example.com/managed-by"


class AboutReconciler(Reconciler):
    def __init__(self, settings: Path, metrics: Metrics) -> None:
        self._settings = settings
        self._writes = Counter("about_writes_total", "ConfigMaps written", registry=metrics.registry)

    def setup(self, builder: Builder) -> None:
        builder.named("about").for_(Namespace)
        builder.watches(ConfigMap, EnqueueRequestsFromMapFunc(lambda found: [Request("", found.namespace)]))

    def read_settings(self) -> dict[str, str]:
        """Also a health check: raises if the file is missing or no JSON."""
        return dict(json.loads(self._settings.read_text()))

    def reconcile(self, request: Request) -> Result | None:
        namespace = self.client.find(Namespace, request.name)
        if namespace is None or namespace.is_deleting:
            return None
        settings = self.read_settings()
        known = self.client.find(ConfigMap, NAME, namespace=namespace.name)
        if known is None or known.data != settings:
            meta = ObjectMeta(name=NAME, namespace=namespace.name, labels={LABEL: NAME})
            self.client.apply(ConfigMap(metadata=meta, data=settings), field_owner=NAME, force=True)
            self._writes.inc()
        return Result(requeue_after=300)  # the file may have changed


def options(arguments: argparse.Namespace) -> ManagerOptions:
    return ManagerOptions(
        component=NAME,
        metrics_addr=arguments.metrics_addr,
        metrics_cert_dir=arguments.metrics_cert_dir,
        metrics_auth=arguments.metrics_cert_dir is not None,  # for users who may `get` /metrics
        health_probe_addr=arguments.health_probe_addr,
        leader_election=arguments.leader_elect,
        leader_election_id="about.example.com",
        leader_election_namespace=arguments.namespace,  # by default that of the pod
        graceful_shutdown_timeout=25.0,  # below the 30 s that the kubelet gives a pod
        cache=CacheOptions(by_kind={ConfigMap: KindOptions(labels=f"{LABEL}={NAME}")}),  # only ours in memory
        controller=ControllerOptions(
            workers=4,
            reconcile_timeout=30.0,  # a run that waits longer for the API server fails, and is tried again
            enable_warmup=True,  # the second replica fills its queue, so that it works at once when it leads
        ),
    )


def new_manager(client: Client, arguments: argparse.Namespace, metrics: Metrics) -> Manager:
    manager = Manager(client, options(arguments), metrics=metrics)
    reconciler = AboutReconciler(arguments.settings, metrics)
    manager.add_reconciler(reconciler)
    manager.add_readyz_check("settings", reconciler.read_settings)
    return manager


def new_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=Path, required=True, help="a JSON object of strings")
    parser.add_argument("--metrics-cert-dir", type=Path, help="tls.crt and tls.key: /metrics by HTTPS, with a token")
    parser.add_argument("--leader-elect", type=boolean, default=True, help="true or false (default: true)")
    parser.add_argument("--namespace", default="", help="of the lease; by default the pod's")
    add_common_flags(parser)
    add_serving_flags(parser)
    return parser


def main() -> None:
    arguments = new_parser().parse_args()
    setup_logging(arguments.log_level, arguments.log_format)
    metrics = process_metrics()
    client = LiveClient(load_config(arguments.kubeconfig, user_agent=NAME), metrics=metrics)
    new_manager(client, arguments, metrics).start(setup_signal_handler())


if __name__ == "__main__":
    main()
