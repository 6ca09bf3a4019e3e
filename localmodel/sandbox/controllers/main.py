"""`localmodel sandbox controllers`: the cluster controllers and N simulated nodes against any API server.

Runs until SIGTERM or SIGINT. Node NAME's root is WORKDIR/nodes/NAME; the logs of its containers are in `logs` there.
"""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import replace
from pathlib import Path

import structlog

from localmodel import __version__
from localmodel.runtime.cache import CacheOptions, KindOptions
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.flags import add_common_flags
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.logging import setup_logging
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.signals import setup_signal_handler
from localmodel.sandbox.kubeconfig import authority_of

from .daemonsets import DaemonSetReconciler
from .garbage import CustomKindReconciler, GarbageCollector
from .jobs import JobOptions, JobReconciler
from .kinds import BUILT_IN, custom_kinds
from .kubelet import KubeletOptions, KubeletReconciler, KubeletServer
from .namespaces import NamespaceReconciler
from .nodelifecycle import NodeLifecycleOptions, NodeLifecycleReconciler, PodGCReconciler, TaintEvictionReconciler
from .nodes import NodeOptions, NodeReconciler, NodeRegistration
from .scheduler import SchedulerReconciler
from .volumes import VolumeClaimReconciler, VolumeReconciler

log = structlog.get_logger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common_flags(parser)
    parser.add_argument("--nodes", type=positive, default=3, metavar="N", help="simulated nodes (default: %(default)s)")
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="where the nodes' directories lie")
    parser.add_argument(
        "--image",
        type=image,
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="the local command that stands for the image whose repository ends in NAME; may be repeated",
    )
    parser.add_argument(
        "--kubelet-anonymous-auth",
        action="store_true",
        help="lets whoever reaches the kubelets' port (on 127.0.0.1) read logs: for a kube-apiserver without "
        "--kubelet-client-certificate",
    )
    parser.add_argument(
        "--node-monitor-grace-period",
        type=float,
        default=NodeLifecycleOptions.grace_period,
        metavar="SECONDS",
        help="silence of a kubelet after which its node's state is Unknown (default: %(default)s)",
    )
    parser.add_argument(
        "--job-backoff",
        type=float,
        default=JobOptions.first_delay,
        metavar="SECONDS",
        help="delay before a Job's second attempt, doubling from there (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs until a signal; 0 after one, 1 after a failure, which the log tells."""
    setup_logging(args.log_level, args.log_format)
    try:
        _run(args)
    except (RuntimeLibraryError, OSError) as error:
        log.error("controllers failed", error=str(error), error_type=type(error).__name__)
        return 1
    return 0


def _run(args: argparse.Namespace) -> None:
    stop = setup_signal_handler()
    names = node_names(args.nodes)
    client = LiveClient(load_config(args.kubeconfig, user_agent=f"localmodel-sandbox-controllers/{__version__}"))
    try:
        manager = build_manager(
            client,
            nodes=NodeOptions(names=names),
            kubelet=KubeletOptions(
                nodes=names,
                directory=args.workdir.resolve() / "nodes",
                images=dict(args.image),
                kubeconfig=kubeconfig_path(args.kubeconfig),
                anonymous_auth=args.kubelet_anonymous_auth,
            ),
            jobs=JobOptions(first_delay=args.job_backoff),
            lifecycle=NodeLifecycleOptions(grace_period=args.node_monitor_grace_period),
        )
        log.info("starting controllers", nodes=list(names), workdir=str(args.workdir))
        manager.start(stop)
    finally:
        client.close()


def build_manager(
    client: LiveClient,
    *,
    nodes: NodeOptions,
    kubelet: KubeletOptions,
    jobs: JobOptions,
    lifecycle: NodeLifecycleOptions | None = None,
) -> Manager:
    """All controllers and the nodes, ready to be started; raises OSError, and ValueError for a bad kubeconfig."""
    authority = authority_of(kubelet.kubeconfig) if kubelet.kubeconfig else ""
    manager = build_controllers(client, jobs=jobs, lifecycle=lifecycle, authority=authority)
    runner = KubeletReconciler(kubelet)
    server = KubeletServer(
        client,
        runner,
        directory=kubelet.directory.parent / "kubelet",
        anonymous=kubelet.anonymous_auth,
        clock=manager.clock,
    )
    nodes = replace(nodes, kubelet_port=server.port)
    for reconciler in (SchedulerReconciler(), NodeReconciler(nodes), runner):
        manager.add_reconciler(reconciler)
    manager.add(NodeRegistration(client, nodes))
    manager.add(runner)
    manager.add(server)
    return manager


def build_controllers(
    client: LiveClient, *, jobs: JobOptions, lifecycle: NodeLifecycleOptions | None = None, authority: str = ""
) -> Manager:
    """What a kube-controller-manager does: everything but scheduler and nodes.

    `authority`: the API server's, in PEM, for the namespaces.
    """
    collector = GarbageCollector([*BUILT_IN, *custom_kinds(client)])
    options = ManagerOptions(
        component="localmodel-sandbox",
        metrics_addr="0",
        health_probe_addr="0",
        graceful_shutdown_timeout=10.0,
        cache=CacheOptions(by_kind={kind: KindOptions(optional=True) for kind in collector.kinds}),
    )
    manager = Manager(client, options)
    collector.index(manager.cache)
    collecting = manager.add_reconciler(collector)
    for reconciler in (
        CustomKindReconciler(lambda mapping: collector.look_after(mapping, manager.cache, collecting)),
        NamespaceReconciler(authority),
        VolumeClaimReconciler(),
        VolumeReconciler(),
        JobReconciler(jobs),
        DaemonSetReconciler(),
        NodeLifecycleReconciler(lifecycle),
        TaintEvictionReconciler(),
        PodGCReconciler(lifecycle),
    ):
        manager.add_reconciler(reconciler)
    return manager


def kubeconfig_path(flag: str | None) -> Path | None:
    """The file that the programs take by default, if it is there; see `load_config`."""
    named = flag or os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0] or Path.home() / ".kube" / "config"
    path = Path(named).resolve()
    return path if path.is_file() else None


def node_names(count: int) -> tuple[str, ...]:
    return tuple(f"node-{number}" for number in range(1, count + 1))


def positive(text: str) -> int:
    """An argparse type: a whole number of at least one."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def image(text: str) -> tuple[str, tuple[str, ...]]:
    """An argparse type: NAME=COMMAND, the command split as a shell would."""
    name, equals, command = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    return name, tuple(shlex.split(command))
