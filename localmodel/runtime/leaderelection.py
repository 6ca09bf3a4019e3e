"""`LeaderElector`: at most one process leads, by holding a Lease (client-go's tools/leaderelection).

The age of a lease is measured on this machine's monotonic clock from when its content was last seen to change, never
from the times written in it: clocks may differ between machines by any offset. A follower takes over no sooner than the
lease's duration after the last change it saw; a leader gives up `renew_deadline` after its last success; what lies
between is the margin. A process that is paused for longer cannot be told in time: `is_leader` says by the clock whether
it may go on. One thread runs one elector; `is_leader` and `check` may be called from any.

Unlike client-go, a leader stops at once when it sees another holder, and gives the lease up only when it was told to
stop: after losing it something may still work as leader, and the lease runs out by itself.
"""

from __future__ import annotations

import random
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from . import deadline
from .cancellation import Cancellation
from .client import Client
from .clock import Clock, RealClock
from .errors import ConflictError, NotFoundError, RuntimeLibraryError
from .events import EventRecorder
from .metrics import Metrics
from .objects import Lease, LeaseSpec, ObjectMeta

log = structlog.get_logger(__name__)

JITTER_FACTOR = 1.2
"""Followers wait up to this share longer than the retry period, so that they do not try in step."""


class LeaderElectionLostError(RuntimeLibraryError):
    """The lease could not be renewed in time: another process may lead now, so this one must end."""


class NotRenewedError(RuntimeLibraryError):
    """The process believes that it leads, but has not renewed its lease for too long."""


def default_identity() -> str:
    """The host's name with something unique to this process behind it."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElectionConfig:
    """Which lease, on whose behalf, and the timing in seconds. Raises ValueError if the timing cannot work."""

    name: str
    namespace: str
    identity: str = field(default_factory=default_identity)
    lease_duration: float = 15.0
    """How long followers leave a silent leader alone."""
    renew_deadline: float = 10.0
    """How long a leader that cannot renew goes on."""
    retry_period: float = 2.0
    """The pause between two tries."""
    release_on_cancel: bool = True
    """A leader that stops in order gives the lease up, so that a follower need not wait for it."""

    def __post_init__(self) -> None:
        if not self.name or not self.namespace or not self.identity:
            raise ValueError("leader election needs the name and namespace of a lease and an identity")
        if self.lease_duration <= self.renew_deadline:
            raise ValueError("the lease duration must be greater than the renew deadline")
        if self.renew_deadline <= JITTER_FACTOR * self.retry_period:
            raise ValueError(f"the renew deadline must be greater than {JITTER_FACTOR} times the retry period")
        if min(self.lease_duration, self.renew_deadline, self.retry_period) < 1:
            raise ValueError("lease duration, renew deadline and retry period must be at least one second")


class LeaderElector:
    """Wins the lease, keeps it, and says when it is won and lost."""

    def __init__(
        self,
        client: Client,
        config: LeaderElectionConfig,
        *,
        on_started_leading: Callable[[], object],
        on_stopped_leading: Callable[[], object],
        on_new_leader: Callable[[str], object] | None = None,
        recorder: EventRecorder | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`client` reads live. The callbacks run in the elector's thread and must not block.

        `on_stopped_leading` is called whenever `run` ends, even if it never led; `on_new_leader` with each new holder,
        also with this one. `jitter` gives numbers from 0 to 1.
        """
        self._client = client
        self._config = config
        self._on_started_leading = on_started_leading
        self._on_stopped_leading = on_stopped_leading
        self._on_new_leader = on_new_leader
        self._recorder = recorder
        self._clock = clock or RealClock()
        self._jitter = jitter
        families = metrics or Metrics()
        self._master_status = families.leader_election_master_status.labels(config.name)
        self._slowpath = families.leader_election_slowpath.labels(config.name)
        self._lease: Lease | None = None
        """The lease as last seen or written."""
        self._content: dict[str, Any] | None = None
        """Its spec, to notice a change."""
        self._changed_at = 0.0
        """When the content was last seen to change, or was written by us; monotonic seconds."""
        self._reported_leader = ""
        self._keep = False
        self._cancellation = Cancellation()
        self._renewed_at: float | None = None
        """When our last successful try began; None while we do not lead."""
        self._log = log.bind(lease=f"{config.namespace}/{config.name}", identity=config.identity)

    @property
    def is_leader(self) -> bool:
        """Whether this process leads and has renewed its lease within the renew deadline, by the clock of this machine.

        True again if a later renewal succeeds: a leader who was paused for a moment and found the lease still his.
        """
        renewed_at = self._renewed_at
        return renewed_at is not None and self._clock.monotonic() - renewed_at < self._config.renew_deadline

    def check(self, tolerance: float = 5.0) -> None:
        """A health check: raises NotRenewedError if we claim to lead a lease that ran out `tolerance` seconds ago."""
        renewed_at = self._renewed_at
        if renewed_at is None:
            return
        age = self._clock.monotonic() - renewed_at
        if age > self._config.lease_duration + tolerance:
            raise NotRenewedError(f"lease {self._config.name} was last renewed {age:.0f} s ago")

    def run(self, stop: threading.Event) -> None:
        """Blocks until leadership is lost or `stop` is set, and the lease is given up."""
        with self._cancellation.scope():
            self._run(stop)

    def cancel(self) -> None:
        """Ends a request under way and makes no other: `run`, whose `stop` is set, returns at once."""
        self._cancellation.cancel()

    def _run(self, stop: threading.Event) -> None:
        self._master_status.set(0)
        cancelled = False
        try:
            if self._acquire(stop):
                self._master_status.set(1)
                self._record("became leader")
                self._on_started_leading()
                cancelled = self._renew(stop)
                self._record("stopped leading")
        finally:
            self._renewed_at = None
            self._master_status.set(0)
            self._on_stopped_leading()
        if cancelled and self._config.release_on_cancel and not self._keep:
            self._release()

    def keep_lease(self) -> None:
        """The lease is not to be released but to run out: something still works as leader."""
        self._keep = True

    def _acquire(self, stop: threading.Event) -> bool:
        """Tries until the lease is ours; False if `stop` was set before."""
        self._log.info("Waiting for leadership")
        while not stop.is_set():
            if self._try(self._config.renew_deadline):
                self._log.info("Leadership acquired")
                return True
            pause = self._config.retry_period * (1 + JITTER_FACTOR * self._jitter())
            self._clock.wait_event(stop, pause)
        return False

    def _renew(self, stop: threading.Event) -> bool:
        """Keeps the lease; True when `stop` was set, False when it is lost."""
        while not self._clock.wait_event(stop, min(self._config.retry_period, max(self._left(), 0.0))):
            left = self._left()
            if left > 0 and self._try(left):
                continue
            if self._left() <= 0 or not self._holds():
                self._log.error("Leadership lost", renew_deadline=self._config.renew_deadline)
                return False
        return True

    def _left(self) -> float:
        """Seconds until a leader that does not renew has to give up."""
        assert self._renewed_at is not None, "only a leader renews"
        return self._config.renew_deadline - (self._clock.monotonic() - self._renewed_at)

    def _try(self, seconds: float) -> bool:
        """One try, whose requests are bounded by `seconds`; whether we hold the lease. Any failure means no."""
        began = self._clock.monotonic()
        try:
            with deadline.limit(self._clock, seconds):
                held = self._try_acquire_or_renew()
        except Exception as error:  # noqa: BLE001 - whatever it was, the next try or the renew deadline answers it
            self._log.warning("Leader election try failed", error=str(error))
            held = False
        if held:
            self._renewed_at = began
        self._report_leader()
        return held

    def _try_acquire_or_renew(self) -> bool:
        """The decision table of client-go's tryAcquireOrRenew (runtimes.md 2.20)."""
        if self._renewed_at is not None and self._holds() and not self._expired():
            try:
                self._write(self._lease_for_us())
            except Exception as error:  # noqa: BLE001 - the slow path finds out what the server has
                self._slowpath.inc()
                self._log.info("Fast renewal failed, reading the lease", error=str(error))
            else:
                return True

        try:
            self._observe(
                self._client.get(Lease, self._config.name, namespace=self._config.namespace), self._clock.monotonic()
            )
        except NotFoundError:
            began = self._clock.monotonic()
            self._observe(self._client.create(self._new_lease()), began)
            return True
        if self._holder() and not self._holds() and not self._expired():
            return False
        self._write(self._lease_for_us())
        return True

    def _holder(self) -> str:
        return self._lease.spec.holder_identity if self._lease else ""

    def _holds(self) -> bool:
        return self._holder() == self._config.identity

    def _expired(self) -> bool:
        """Whether the lease's own duration has passed since its content was seen to change."""
        assert self._lease is not None, "only a lease that was seen can expire"
        duration = self._lease.spec.lease_duration_seconds or 0
        return self._clock.monotonic() - self._changed_at >= duration

    def _observe(self, lease: Lease, at: float) -> None:
        content = lease.spec.to_dict()
        if content != self._content:
            self._content = content
            self._changed_at = at
        self._lease = lease

    def _write(self, lease: Lease) -> None:
        began = self._clock.monotonic()
        self._observe(self._client.update(lease), began)

    def _new_lease(self) -> Lease:
        now = self._clock.now()
        return Lease(
            metadata=ObjectMeta(name=self._config.name, namespace=self._config.namespace),
            spec=LeaseSpec(
                holder_identity=self._config.identity,
                lease_duration_seconds=int(self._config.lease_duration),
                acquire_time=now,
                renew_time=now,
                lease_transitions=0,
            ),
        )

    def _lease_for_us(self) -> Lease:
        """The lease last seen, held by us from now on. Its resource version guards the write."""
        assert self._lease is not None, "only a lease that was seen is taken"
        lease = self._lease.deepcopy()
        now = self._clock.now()
        if not self._holds():
            lease.spec.acquire_time = now
            lease.spec.lease_transitions = (lease.spec.lease_transitions or 0) + 1
        lease.spec.holder_identity = self._config.identity
        lease.spec.lease_duration_seconds = int(self._config.lease_duration)
        lease.spec.renew_time = now
        return lease

    def _release(self) -> None:
        """Empties the holder of a lease which the server says is ours, so that a follower takes it at once."""
        try:
            with deadline.limit(self._clock, self._config.renew_deadline) as limit:
                while limit.remaining() > 0 and not self._try_release():
                    self._log.info("Lease changed while it was released, trying again")
        except Exception as error:  # noqa: BLE001 - it runs out by itself; stopping goes on
            self._log.warning("Lease not released, it will run out", error=str(error))

    def _try_release(self) -> bool:
        """False on a conflict."""
        lease = self._client.get(Lease, self._config.name, namespace=self._config.namespace)
        if lease.spec.holder_identity != self._config.identity:
            return True
        now = self._clock.now()
        lease.spec.holder_identity = ""
        lease.spec.lease_duration_seconds = 1
        lease.spec.acquire_time = lease.spec.renew_time = now
        try:
            self._write(lease)
        except ConflictError:
            return False
        self._log.info("Lease released")
        return True

    def _report_leader(self) -> None:
        holder = self._holder()
        if holder == self._reported_leader:
            return
        self._reported_leader = holder
        if holder and holder != self._config.identity:
            self._log.info("Another process leads", leader=holder)
        if self._on_new_leader:
            self._on_new_leader(holder)

    def _record(self, what: str) -> None:
        if self._recorder and self._lease:
            self._recorder.event(self._lease, "Normal", "LeaderElection", f"{self._config.identity} {what}")
