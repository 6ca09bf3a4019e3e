"""`localmodel-agent`: one process per node that keeps the node's models as its LocalModelNode wants them.

It watches its own LocalModelNode, the metadata of its own Node, its Jobs, the Pods of its node and one ConfigMap, each
by a selector that the API server applies; so what happens on another node never wakes it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from localmodel import __version__
from localmodel.api.config import ConfigError, LocalModelConfig
from localmodel.api.names import CONFIG_MAP_NAME, JOB_NODE_LABEL, KSERVE_NAMESPACE
from localmodel.api.node import LocalModelNode
from localmodel.runtime.backoff import Backoff
from localmodel.runtime.cache import CacheOptions, KindOptions
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import (
    InternalError,
    RuntimeLibraryError,
    ServerTimeoutError,
    ServiceUnavailableError,
    TooManyRequestsError,
    TransportError,
)
from localmodel.runtime.eventcorrelator import by_reason
from localmodel.runtime.flags import add_common_flags, add_serving_flags, add_zap_flags, boolean
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.logging import setup_logging
from localmodel.runtime.manager import Manager, process_metrics
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, Job, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.signals import setup_signal_handler

from .children import Children
from .jobs import label_value
from .lean import import_official_client
from .metrics import AgentMetrics
from .ownnode import NodeMetadata
from .progresspage import PATH as PROGRESS_PATH
from .progresspage import ProgressPage
from .reconciler import LocalModelNodeReconciler
from .scratch import Scratch
from .scrub import Scrubber
from .shown import log_processor
from .status import ProgressPolicy
from .store import ModelStore

log = structlog.get_logger(__name__)

_GC_THRESHOLDS: Final = (20_000, 20, 20)
"""A pass leaves next to nothing that goes in a circle; with Python's own a quarter of it would be spent on looking."""

_NO_ANSWER: Final = (
    TransportError,
    InternalError,
    ServerTimeoutError,
    ServiceUnavailableError,
    TooManyRequestsError,
)
"""What passes by itself, other than a wrong kubeconfig or role."""


def build_parser() -> argparse.ArgumentParser:
    """The program's flags."""
    parser = argparse.ArgumentParser(
        prog="localmodel-agent",
        description="Keeps this node's models on its disk. Needs NODE_NAME in the environment.",
    )
    parser.add_argument(
        "--models-root",
        type=Path,
        default=Path("/mnt/models"),
        metavar="DIR",
        help="where this node's models disk is mounted; models lie in DIR/models (default: %(default)s)",
    )
    parser.add_argument(
        "--progress-interval",
        type=_interval,
        default=ProgressPolicy().interval,
        metavar="SECONDS",
        help="least time between two writes of mere progress to the LocalModelNode (default: %(default)s)",
    )
    parser.add_argument(
        "--leader-elect",
        type=boolean,
        nargs="?",
        const=True,
        metavar="true|false",
        default=False,
        help="accepted for KServe's manifests; has no effect, since each agent has a node of its own",
    )
    for name in ("--tls-min-version", "--tls-cipher-suites"):
        parser.add_argument(
            name, metavar="NAMES", help="accepted for KServe's manifests; has no effect: nothing is TLS"
        )
    add_serving_flags(parser)
    add_common_flags(parser)
    add_zap_flags(parser)
    parser.add_argument("--version", action="version", version=f"localmodel-agent {__version__}")
    return parser


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("it must be more than 0 seconds")
    return seconds


def cache_options(node_name: str, *, namespace: str, jobs_namespace: str) -> CacheOptions:
    """What the agent holds in memory: of each kind only what concerns this node."""
    return CacheOptions(
        by_kind={
            LocalModelNode: KindOptions(fields=f"metadata.name={node_name}"),
            Job: KindOptions(namespaces=(jobs_namespace,), labels=f"{JOB_NODE_LABEL}={label_value(node_name)}"),
            Pod: KindOptions(fields=f"spec.nodeName={node_name}", may_be_forbidden=True),
            # Only entries that name no group need it: a role of before, without that right, is no reason not to start.
            NodeMetadata: KindOptions(fields=f"metadata.name={node_name}", may_be_forbidden=True),
            ConfigMap: KindOptions(
                namespaces=(namespace,), fields=f"metadata.name={CONFIG_MAP_NAME}", may_be_forbidden=True
            ),
        }
    )


def read_jobs_namespace(reader: Reader, namespace: str) -> str:
    """The job namespace as configured now. What is watched is fixed from then on: a change needs a restart.

    Of a configuration with wrong values the good ones count; raises ApiError and TransportError.
    """
    config_map = reader.find(ConfigMap, CONFIG_MAP_NAME, namespace=namespace)
    try:
        return LocalModelConfig.from_config_map(config_map).jobs_namespace
    except ConfigError as error:
        found = LocalModelConfig.salvaged(config_map).jobs_namespace
        log.error("configuration cannot be used as a whole", error=str(error), job_namespace=found)
        return found


def wait_for_jobs_namespace(
    reader: Reader, namespace: str, *, stop: threading.Event, backoff: Backoff | None = None
) -> str | None:
    """`read_jobs_namespace` as soon as the API server answers; None when `stop` is set before.

    A node that starts before its API server must not end in the kubelet's growing restart delays.
    """
    delays = backoff or Backoff()
    while not stop.is_set():
        try:
            return read_jobs_namespace(reader, namespace)
        except _NO_ANSWER as error:
            delay = delays.next_delay()
            log.warning("API server does not answer, trying again", error=str(error), delay=round(delay, 3))
            stop.wait(delay)
    return None


def main(argv: Sequence[str] | None = None, env: Mapping[str, str] = os.environ) -> int:
    """Runs until a signal ends it; the exit status: 0, 1 after a failure, 2 for wrong use."""
    args = build_parser().parse_args(argv)
    setup_logging(args.log_level, args.log_format, last=(log_processor,))
    node_name = env.get("NODE_NAME", "").strip()
    if not node_name:
        sys.stderr.write(
            "localmodel-agent: the environment variable NODE_NAME must be this node's name; "
            "in a DaemonSet take it from the field spec.nodeName\n"
        )
        return 2
    try:
        _run(
            args,
            node_name=node_name,
            namespace=env.get("POD_NAMESPACE", "").strip() or KSERVE_NAMESPACE,
            # Without the first the kubelet's own, which a DaemonSet of KServe has, too.
            pod_name=env.get("POD_NAME", "").strip() or env.get("HOSTNAME", "").strip(),
        )
    except (RuntimeLibraryError, OSError) as error:
        log.error("agent failed", error=str(error), error_type=type(error).__name__)
        return 1
    return 0


def _run(args: argparse.Namespace, *, node_name: str, namespace: str, pod_name: str) -> None:
    stop = setup_signal_handler()
    gc.set_threshold(*_GC_THRESHOLDS)
    metrics = process_metrics()
    import_official_client(args.kubeconfig, os.environ)
    config = load_config(args.kubeconfig, user_agent=f"localmodel-agent/{__version__}")
    client = LiveClient(config, metrics=metrics)
    store = ModelStore(args.models_root, owner=node_name)
    children = Children(store.notes, Scratch(store.root))
    try:
        jobs_namespace = wait_for_jobs_namespace(client, namespace, stop=stop)
        if jobs_namespace is None:
            return
        manager = Manager(
            client,
            ManagerOptions(
                component="localmodel-agent",
                metrics_addr=args.metrics_addr,
                health_probe_addr=args.health_probe_addr,
                # All events are about one object: a hundred arrivals must not use up what an eviction needs.
                event_spam_key=by_reason,
                cache=cache_options(node_name, namespace=namespace, jobs_namespace=jobs_namespace),
            ),
            metrics=metrics,
        )
        reconciler = LocalModelNodeReconciler(
            node_name=node_name,
            namespace=namespace,
            jobs_namespace=jobs_namespace,
            store=store,
            pod_name=pod_name,
            progress=ProgressPolicy.every(args.progress_interval),
            children=children,
            metrics=AgentMetrics(metrics.registry),
        )
        manager.add_reconciler(reconciler)
        manager.add(
            Scrubber(store, config=lambda: reconciler.config, report=reconciler.tell_damage, registry=metrics.registry)
        )
        manager.add_readyz_check("storage", reconciler.check_ready)
        page = ProgressPage(node_name, store, reconciler.observed)
        manager.add_metrics_server_extra_handler(PROGRESS_PATH, page.serve)
        log.info("agent starts", node=node_name, models_root=str(args.models_root), jobs_namespace=jobs_namespace)
        manager.start(stop)
    finally:
        children.close()  # before another agent may take the store
        store.close()
        client.close()
