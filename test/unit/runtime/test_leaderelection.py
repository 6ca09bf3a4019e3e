"""Leader election: runtimes.md 2.13 and the decision table of 2.20."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import generate_latest
from support.eventually import eventually

from localmodel.runtime.errors import ConflictError, InternalError, TransportError
from localmodel.runtime.leaderelection import LeaderElectionConfig, LeaderElector, NotRenewedError
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import Lease, LeaseSpec, Object, ObjectMeta
from localmodel.runtime.testing import Action, FakeClient, FakeClock, FakeRecorder, Registry

OLD = datetime(2020, 1, 1, tzinfo=UTC)


class Gate:
    """An interceptor that holds up updates while it is closed, or does something before each."""

    def __init__(self) -> None:
        self.before_update: Callable[[], object] = lambda: None
        self.reached, self._open = threading.Event(), threading.Event()
        self.open()

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    def __call__(self, action: Action, proceed: Callable[[], Any]) -> Any:
        if action.verb == "update":
            self.before_update()
            if not self._open.is_set():
                self.reached.set()
                self._open.wait(10)
        return proceed()


@dataclass
class Election:
    """One elector in a thread of its own, and what it told."""

    registry: Registry
    clock: FakeClock
    identity: str = "me"
    heard: list[str] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    recorder: FakeRecorder = field(default_factory=FakeRecorder)
    gate: Gate = field(default_factory=Gate)
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.client = FakeClient(registry=self.registry, interceptors=[self.gate])
        self.elector = LeaderElector(
            self.client,
            LeaderElectionConfig(name="lease", namespace="ns", identity=self.identity),
            on_started_leading=lambda: self.heard.append("started"),
            on_stopped_leading=lambda: self.heard.append("stopped"),
            on_new_leader=lambda leader: self.heard.append(f"leader {leader}"),
            recorder=self.recorder,
            clock=self.clock,
            metrics=self.metrics,
            jitter=lambda: 0.5,
        )

    @property
    def calls(self) -> list[str]:
        return [action.verb for action in self.client.actions]

    def start(self) -> Election:
        self.thread = threading.Thread(target=self.elector.run, args=(self.stop,))
        self.thread.start()
        self.settle()
        return self

    def settle(self) -> None:
        """Until the elector waits for time to pass, or has ended."""
        eventually(lambda: self.clock.waiters or not (self.thread and self.thread.is_alive()))

    def advance(self, seconds: float, *, step: float = 0.5) -> None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.settle()

    def end(self) -> None:
        self.gate.open()
        self.stop.set()
        if self.thread is not None:
            self.thread.join(10)
            assert not self.thread.is_alive()

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"name": "lease"})

    @property
    def stored(self) -> LeaseSpec:
        return self.server.get(Lease, "lease", namespace="ns").spec

    @property
    def server(self) -> FakeClient:
        """The lease as others read and write it."""
        return FakeClient(registry=self.registry)

    def overwrite(self, **spec: Any) -> None:
        """Another process writes the lease."""
        found = self.server.get(Lease, "lease", namespace="ns")
        found.spec = found.spec.model_copy(update=spec)
        self.server.update(found)


def lease(holder: str, *, duration: int = 15, transitions: int = 3) -> Lease:
    spec = LeaseSpec(
        holder_identity=holder,
        lease_duration_seconds=duration,
        acquire_time=OLD,
        renew_time=OLD,
        lease_transitions=transitions,
    )
    return Lease(metadata=ObjectMeta(name="lease", namespace="ns"), spec=spec)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def elections(clock: FakeClock) -> Iterator[list[Election]]:
    made: list[Election] = []
    yield made
    for election in made:
        election.end()


@pytest.fixture
def elect(clock: FakeClock, elections: list[Election]) -> Any:
    def start(*objects: Object) -> Election:
        election = Election(FakeClient(*objects, clock=clock).registry, clock)
        elections.append(election)
        return election.start()

    return start


@pytest.mark.parametrize(
    "timing",
    [
        {"lease_duration": 10},
        {"renew_deadline": 2.4},
        {"retry_period": 0.5},
        {"identity": ""},
        {"name": ""},
        {"namespace": ""},
    ],
)
def test_161_a_timing_that_cannot_work_is_refused(timing: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|needs"):
        LeaderElectionConfig(**{"name": "lease", "namespace": "ns", **timing})


def test_161_an_elector_needs_its_callbacks() -> None:
    config = LeaderElectionConfig(name="lease", namespace="ns")
    with pytest.raises(TypeError, match="on_started_leading"):
        LeaderElector(FakeClient(), config)  # type: ignore[call-arg]


def test_162_the_defaults_are_15_10_and_2_seconds() -> None:
    config = LeaderElectionConfig(name="lease", namespace="ns")

    assert (config.lease_duration, config.renew_deadline, config.retry_period) == (15, 10, 2)
    assert config.identity


def test_163_the_age_of_a_lease_counts_from_when_its_content_was_seen_to_change(elect: Any) -> None:
    election = elect(lease("other"))
    election.advance(14)
    assert election.stored.holder_identity == "other"

    election.advance(6)
    assert election.stored.holder_identity == "me"


def test_164_a_lease_that_another_renews_is_not_taken(elect: Any) -> None:
    election = elect(lease("other"))
    for _ in range(4):
        election.advance(10)
        election.overwrite(renew_time=election.clock.now())

    assert election.stored.holder_identity == "other"
    assert "started" not in election.heard


@pytest.mark.parametrize(("found", "seconds"), [(lease(""), 0), (lease("other", duration=1), 6)])
def test_165_an_unowned_or_expired_lease_is_taken_with_one_more_transition(
    elect: Any, found: Lease, seconds: float
) -> None:
    election = elect(found)
    election.advance(seconds)

    spec = election.stored
    assert spec.holder_identity == "me"
    assert spec.lease_transitions == 4
    assert spec.acquire_time != OLD


def test_165_our_own_lease_keeps_its_transitions_and_acquire_time(elect: Any) -> None:
    election = elect(lease("me"))

    spec = election.stored
    assert (spec.lease_transitions, spec.acquire_time) == (3, OLD)
    assert spec.renew_time == election.clock.now()


def test_166_without_a_lease_one_is_created(elect: Any) -> None:
    election = elect()

    spec = election.stored
    assert (spec.holder_identity, spec.lease_duration_seconds) == ("me", 15)
    assert spec.lease_transitions in (0, None)
    assert election.heard == ["leader me", "started"]
    assert election.value("leader_election_master_status") == 1


def test_167_a_leader_renews_without_reading_and_falls_back_to_reading(elect: Any) -> None:
    election = elect()
    election.advance(2)
    assert election.calls == ["get", "create", "update"]
    assert election.value("leader_election_slowpath_total") == 0

    election.client.actions.clear()
    election.client.faults.fail(ConflictError.of("changed"), verb="update")
    election.advance(4)
    assert election.calls == ["update", "get", "update", "update"]
    assert election.value("leader_election_slowpath_total") == 1


def test_168_without_success_for_the_renew_deadline_leadership_is_lost(elect: Any) -> None:
    election = elect()
    election.client.faults.fail(TransportError("refused"), times=None)
    election.advance(9.5)
    assert election.heard[-1] == "started"

    assert election.elector.is_leader
    election.advance(0.5)
    eventually(lambda: election.heard[-1] == "stopped")
    election.thread.join(10)
    assert not election.elector.is_leader
    assert election.value("leader_election_master_status") == 0


def test_168_leadership_is_lost_at_once_when_another_holds_the_lease(elect: Any) -> None:
    election = elect()
    election.overwrite(holder_identity="other")
    election.advance(2)

    eventually(lambda: election.heard[-1] == "stopped")


def test_169_a_follower_waits_the_retry_period_and_its_jitter(elect: Any) -> None:
    election = elect(lease("other"))
    assert election.clock.next_deadline == pytest.approx(2 * (1 + 1.2 * 0.5))


def test_170_on_stopped_leading_is_called_even_without_ever_leading(elect: Any) -> None:
    election = elect(lease("other"))
    election.end()

    assert election.heard == ["leader other", "stopped"]
    assert election.stored.holder_identity == "other"


def test_171_a_leader_that_is_told_to_stop_releases_the_lease(elect: Any) -> None:
    election = elect()
    election.client.actions.clear()
    election.end()

    spec = election.stored
    assert (spec.holder_identity, spec.lease_duration_seconds) == ("", 1)
    assert election.calls == ["get", "update"]
    assert election.heard[-1] == "stopped"


def test_171_a_release_is_tried_again_on_conflict(elect: Any) -> None:
    election = elect()
    election.client.faults.fail(ConflictError.of("changed"), verb="update", times=3)
    election.end()

    assert election.stored.holder_identity == ""


def test_171_a_release_is_bounded_by_the_renew_deadline(elect: Any) -> None:
    election = elect()
    election.client.actions.clear()

    def overtake() -> None:
        election.clock.advance(1)
        election.overwrite(renew_time=election.clock.now())

    election.gate.before_update = overtake
    election.end()

    assert election.calls == ["get", "update"] * 10
    assert election.stored.holder_identity == "me"


def test_172_a_lease_that_is_no_longer_ours_is_not_released(elect: Any) -> None:
    election = elect()
    election.overwrite(holder_identity="other")
    election.end()

    assert election.stored.holder_identity == "other"


def test_a_lease_that_is_to_be_kept_runs_out_by_itself(elect: Any) -> None:
    election = elect()
    election.elector.keep_lease()
    election.end()

    assert election.stored.holder_identity == "me"


def paused(election: Election) -> None:
    """The elector's thread does not get on with a renewal, while time goes by."""
    election.gate.close()
    election.clock.advance(2)
    assert election.gate.reached.wait(10)


def test_173_the_health_check_fails_when_a_leader_has_not_renewed_for_lease_and_tolerance(elect: Any) -> None:
    election = elect()
    paused(election)
    election.clock.advance(17.5)
    election.elector.check()
    election.clock.advance(1)
    with pytest.raises(NotRenewedError, match="lease was last renewed 20 s ago"):
        election.elector.check()


def test_173_the_health_check_passes_without_leadership(elect: Any) -> None:
    election = elect(lease("other"))
    election.clock.advance(10)
    election.elector.check(tolerance=0)


def test_a_leader_that_is_paused_knows_by_the_clock_that_it_leads_no_more(elect: Any) -> None:
    """A pause beyond the lease: another may lead before the elector's own thread gets to see it."""
    election = elect()
    paused(election)
    election.clock.advance(7.5)
    assert election.elector.is_leader
    election.clock.advance(0.5)
    assert not election.elector.is_leader
    assert election.value("leader_election_master_status") == 1, "the thread has not noticed yet"

    election.clock.advance(10)
    election.overwrite(holder_identity="other")
    election.gate.open()
    eventually(lambda: election.heard[-1] == "stopped")
    assert election.stored.holder_identity == "other"


def test_174_events_on_the_lease_tell_of_won_and_lost_leadership(elect: Any) -> None:
    election = elect()
    election.end()

    assert election.recorder.lines == [
        "Normal LeaderElection me became leader",
        "Normal LeaderElection me stopped leading",
    ]
    assert [str(event.object) for event in election.recorder.events] == ["Lease ns/lease"] * 2


def test_the_metrics_are_scrapable_from_the_start_under_their_names(clock: FakeClock, elect: Any) -> None:
    idle = Election(Registry(clock=clock), clock)
    scraped = generate_latest(idle.metrics.registry).decode()
    assert 'leader_election_master_status{name="lease"} 0.0' in scraped
    assert 'leader_election_slowpath_total{name="lease"} 0.0' in scraped

    election = elect()
    election.client.faults.fail(ConflictError.of("changed"), verb="update")
    election.advance(2)
    scraped = generate_latest(election.metrics.registry).decode()
    assert 'leader_election_master_status{name="lease"} 1.0' in scraped
    assert 'leader_election_slowpath_total{name="lease"} 1.0' in scraped


class TestOneTry:
    """The decision table, runtimes.md 2.20: each row that the numbered promises do not show by themselves."""

    def test_any_failure_of_the_fast_path_reads_and_writes(self, elect: Any) -> None:
        for failure in (TransportError("reset"), InternalError.of("etcd"), ConflictError.of("changed")):
            election = elect()
            election.client.actions.clear()
            election.client.faults.fail(failure, verb="update")
            election.advance(2)
            assert election.calls == ["update", "get", "update"]
            assert election.elector.is_leader
            election.end()

    def test_a_lease_that_is_deleted_under_its_leader_is_created_anew(self, elect: Any) -> None:
        election = elect(lease("me"))
        election.server.delete(lease("me"))
        election.client.actions.clear()
        election.advance(2)

        assert election.calls == ["update", "get", "create"]
        assert election.stored.lease_transitions in (0, None)
        assert election.elector.is_leader

    def test_a_lease_that_another_creates_first_is_not_ours(self, elect: Any) -> None:
        election = elect(lease("other"))
        election.server.delete(lease("other"))
        theirs = lease("third")
        election.client.faults.fail(TransportError("reset"), verb="get")
        election.advance(3.5)
        election.server.create(theirs)
        election.advance(3.5)

        assert election.stored.holder_identity == "third"
        assert not election.elector.is_leader

    def test_the_duration_that_counts_is_that_of_the_record(self, elect: Any) -> None:
        election = elect(lease("other", duration=30))
        election.advance(29)
        assert election.stored.holder_identity == "other"
        election.advance(6)
        assert election.stored.holder_identity == "me"

    def test_a_conflict_when_taking_an_expired_lease_leaves_it(self, elect: Any) -> None:
        election = elect(lease("other", duration=1))
        election.client.faults.fail(ConflictError.of("another was first"), verb="update")
        election.advance(3.5)
        assert not election.elector.is_leader
        assert election.heard == ["leader other"]

    def test_an_error_while_acquiring_is_tried_again_after_the_retry_period_and_jitter(
        self, elect: Any, clock: FakeClock
    ) -> None:
        election = elect(lease("", transitions=0))
        election.end()
        second = Election(election.registry, clock)
        second.client.faults.fail(TransportError("refused"), verb="get")
        second.start()
        assert not second.elector.is_leader
        second.advance(3.5)
        assert second.elector.is_leader
        second.end()

    def test_a_lost_lease_is_not_released(self, elect: Any) -> None:
        """Unlike in client-go: something may still work as leader; see the module."""
        election = elect()
        election.client.faults.fail(TransportError("refused"), times=None)
        election.advance(10)
        eventually(lambda: election.heard[-1] == "stopped")
        election.thread.join(10)

        assert election.stored.holder_identity == "me"
