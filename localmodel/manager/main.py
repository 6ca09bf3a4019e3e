"""`localmodel-manager`: puts the reconcilers together and runs them (design.md section 3)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from localmodel import __version__
from localmodel.api import (
    ClusterStorageContainer,
    LocalModelCache,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
)
from localmodel.api.names import AGENT_LABEL, AGENT_LABEL_VALUE, CACHE_UID_LABEL, CONFIG_MAP_NAME, KSERVE_NAMESPACE
from localmodel.runtime.cache import CacheOptions, KindOptions
from localmodel.runtime.controller import ControllerOptions
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.flags import add_common_flags, add_serving_flags, add_zap_flags, boolean, port
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.logging import setup_logging
from localmodel.runtime.manager import Manager, process_metrics
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, DaemonSet, PersistentVolume, PersistentVolumeClaim, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.signals import setup_signal_handler
from localmodel.runtime.tls import TLS_VERSIONS, TLSOptions
from localmodel.runtime.webhook import WebhookServerOptions
from localmodel.runtime.workqueue import WithMaxWaitRateLimiter, default_controller_rate_limiter

from .caches import LocalModelCacheReconciler, LocalModelNamespaceCacheReconciler
from .certificates import CertificatesReconciler
from .containers import ClusterStorageContainerReconciler
from .groupmetrics import GroupMetrics
from .indexes import SERVICES, add_indexes
from .known import Members
from .metrics import CacheMetrics
from .nodegroups import LocalModelNodeGroupReconciler
from .nodes import NodeReconciler
from .podwebhooks import PodWebhooks
from .settings import ConfigurationReconciler, Settings
from .validators import register_validators

log = structlog.get_logger(__name__)

LEADER_ELECTION_ID: Final = "kserve-local-model-manager-leader-lock"
OWN_KINDS: Final = (LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup)
MAX_RETRY_SECONDS: Final = 60.0
"""The longest wait after failures: what a person repairs, a missing job namespace say, works again within a minute."""


def build_parser() -> argparse.ArgumentParser:
    """The flags of KServe's manager, and ours."""
    parser = argparse.ArgumentParser(
        prog="localmodel-manager", description="Decides which node caches which model, and reports how far that is."
    )
    add_common_flags(parser)
    add_serving_flags(parser)
    parser.add_argument(
        "--webhook-port", type=port, default=9443, metavar="PORT", help="port of the webhooks; 0: none (default: 9443)"
    )
    parser.add_argument(
        "--webhook-cert-dir",
        type=Path,
        default=WebhookServerOptions().cert_dir,
        metavar="DIR",
        help="directory of the webhooks' certificate, tls.crt and tls.key (default: %(default)s)",
    )
    parser.add_argument(
        "--tls-min-version",
        choices=[*TLS_VERSIONS],
        default=TLSOptions().min_version,
        help="least TLS version of the webhooks (default: %(default)s)",
    )
    parser.add_argument(
        "--tls-cipher-suites",
        type=_names,
        default=(),
        metavar="NAMES",
        help="TLS 1.2 ciphers of the webhooks, by Go's names, with commas between them (default: OpenSSL's choice)",
    )
    parser.add_argument(
        "--leader-elect",
        type=boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="true|false",
        help="work only while holding the lease, so that several managers may run",
    )
    parser.add_argument(
        "--workers", type=_positive, default=1, metavar="N", help="objects of a kind reconciled at a time (default: 1)"
    )
    add_zap_flags(parser)
    parser.add_argument("--version", action="version", version=f"localmodel-manager {__version__}")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def webhook_options(options: argparse.Namespace) -> WebhookServerOptions | None:
    """What the flags say about the webhooks; None switches them off. Raises TLSOptionsError."""
    if options.webhook_port == 0:
        return None
    tls = TLSOptions(min_version=options.tls_min_version, cipher_suites=options.tls_cipher_suites)
    return WebhookServerOptions(port=options.webhook_port, cert_dir=options.webhook_cert_dir, tls=tls)


def cache_options(namespace: str) -> CacheOptions:
    """What the manager holds in memory: of Pods, DaemonSets, ConfigMaps and volumes only those that concern it.

    KServe's roles let it read no Pods, DaemonSets and ClusterStorageContainers, and no ConfigMaps but one by one;
    without these rights everything else goes on. So it does without the definition of one of our own kinds (`served`).
    """
    agents = f"{AGENT_LABEL}={AGENT_LABEL_VALUE}"
    return CacheOptions(
        by_kind={
            ConfigMap: KindOptions(
                namespaces=(namespace,), fields=f"metadata.name={CONFIG_MAP_NAME}", may_be_forbidden=True
            ),
            Pod: KindOptions(namespaces=(namespace,), labels=agents, may_be_forbidden=True),
            DaemonSet: KindOptions(namespaces=(namespace,), labels=agents, may_be_forbidden=True),
            PersistentVolume: KindOptions(labels=CACHE_UID_LABEL),
            PersistentVolumeClaim: KindOptions(labels=CACHE_UID_LABEL),
            **{kind: KindOptions(optional=True) for kind in OWN_KINDS},
            ClusterStorageContainer: KindOptions(optional=True, may_be_forbidden=True),
            **{kind: KindOptions(optional=True) for kind in SERVICES},
        }
    )


def add_reconcilers(manager: Manager, settings: Settings, *, workers: int = 1) -> None:
    """Gives the manager its indexes and reconcilers; before it starts."""
    add_indexes(manager.cache)
    metrics, members = CacheMetrics(manager.metrics.registry), Members()
    for reconciler in (
        NodeReconciler(settings, members),
        LocalModelCacheReconciler(settings, metrics, members),
        LocalModelNamespaceCacheReconciler(settings, metrics, members),
        LocalModelNodeGroupReconciler(settings, GroupMetrics(manager.metrics.registry), members),
        ClusterStorageContainerReconciler(settings, registry=manager.metrics.registry),
        ConfigurationReconciler(settings),
        CertificatesReconciler(settings),
    ):
        limiter = WithMaxWaitRateLimiter(default_controller_rate_limiter(clock=manager.clock), MAX_RETRY_SECONDS)
        manager.add_reconciler(reconciler, ControllerOptions(workers=workers, rate_limiter=limiter))


def add_webhooks(manager: Manager, settings: Settings) -> None:
    """Gives the manager its webhooks; before it starts."""
    register_validators(manager.webhook_server, manager.live)
    pods = PodWebhooks(
        settings,
        reader=manager.cache,
        live=manager.live,
        recorder=manager.recorder("pod-webhook"),
        clock=manager.clock,
    )
    pods.register(manager.webhook_server)
    settings.guards_pods = True


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; the exit status."""
    options = build_parser().parse_args(argv)
    setup_logging(options.log_level, options.log_format)
    namespace = os.environ.get("POD_NAMESPACE") or KSERVE_NAMESPACE
    metrics = process_metrics()
    try:
        webhooks = webhook_options(options)
        config = load_config(options.kubeconfig, user_agent=f"localmodel-manager/{__version__}")
        client = LiveClient(config, metrics=metrics)
        manager = Manager(
            client,
            ManagerOptions(
                component="localmodel-manager",
                metrics_addr=options.metrics_addr,
                health_probe_addr=options.health_probe_addr,
                leader_election=options.leader_elect,
                leader_election_id=LEADER_ELECTION_ID,
                leader_election_namespace=namespace,
                cache=cache_options(namespace),
                webhook=webhooks,
            ),
            metrics=metrics,
        )
        settings = Settings(namespace, live=client, registry=metrics.registry)
        add_reconcilers(manager, settings, workers=options.workers)
        if webhooks is not None:
            add_webhooks(manager, settings)
        log.info("Starting manager", version=__version__, namespace=namespace, metrics=manager.metrics_url)
        manager.start(setup_signal_handler())
    except (RuntimeLibraryError, OSError) as error:
        log.error("Manager failed", error=str(error), error_type=type(error).__name__)
        return 1
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
