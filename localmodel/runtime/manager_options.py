"""`ManagerOptions`: what a program decides about its manager."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .cache import CacheOptions
from .controller import ControllerOptions
from .eventcorrelator import SpamKey, by_origin
from .leaderelection import LeaderElectionConfig
from .objects import Object
from .tls import TLSOptions

if TYPE_CHECKING:
    from .webhook import WebhookServerOptions

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """Options of a manager. Durations are in seconds."""

    component: str = "localmodel"
    """Names the program in events about the program itself."""
    metrics_addr: str = ":8080"
    """Where /metrics is served; "" or "0" switches it off, ":0" picks a free port."""
    metrics_cert_dir: Path | None = None
    """Where tls.crt and tls.key lie with which /metrics is served over HTTPS; plain HTTP without. They are followed."""
    metrics_tls: TLSOptions = field(default_factory=TLSOptions)
    """TLS versions, cipher suites and client authorities of /metrics."""
    metrics_auth: bool = False
    """/metrics is for users who may `get` it by the cluster's RBAC; see `authfilter`. Wants `metrics_cert_dir`, or else
    tokens cross the network in the clear."""
    health_probe_addr: str = ":8081"
    """Where /healthz and /readyz are served; as `metrics_addr`."""
    webhook: WebhookServerOptions | None = None
    """Makes `Manager.webhook_server`; ready is who has its certificate."""
    leader_election: bool = False
    """Run controllers in one process at a time, the holder of a lease."""
    leader_election_id: str = ""
    """The lease's name."""
    leader_election_namespace: str = ""
    """The lease's namespace; $POD_NAMESPACE or that of the pod by default."""
    lease: LeaderElectionConfig | None = None
    """The lease in full, with its timing, in place of the two fields above."""
    graceful_shutdown_timeout: float = 30.0
    """How long runnables may take to end; 0 does not wait, a negative number waits for ever."""
    event_spam_key: SpamKey = by_origin
    """What has a burst of 25 events of its own: each object, or by `eventcorrelator.by_reason` each of its reasons."""
    cache: CacheOptions = field(default_factory=CacheOptions)
    """Which objects are held in memory."""
    disable_cache_for: tuple[type[Object], ...] = ()
    """Kinds that reconcilers read at the API server, such as Secrets (client.CacheOptions.DisableFor)."""
    read_your_writes: bool = False
    """Reads wait, for at most five seconds, until the cache shows the reconcilers' own writes; see `consistency`."""
    controller: ControllerOptions = field(default_factory=ControllerOptions)
    """Of the controllers that bring none of their own."""

    def lease_config(self) -> LeaderElectionConfig | None:
        """The lease to hold; None without leader election. Raises ValueError for one that cannot work."""
        if not self.leader_election:
            return None
        if self.lease is not None:
            return self.lease
        if not self.leader_election_id:
            raise ValueError("leader election needs the name of a lease: set leader_election_id")
        namespace = self.leader_election_namespace or os.environ.get("POD_NAMESPACE", "")
        if not namespace and _NAMESPACE_FILE.exists():
            namespace = _NAMESPACE_FILE.read_text().strip()
        if not namespace:
            raise ValueError(
                "leader election needs the namespace of a lease, which outside of a pod nothing tells: set "
                "leader_election_namespace or $POD_NAMESPACE"
            )
        return LeaderElectionConfig(name=self.leader_election_id, namespace=namespace)
