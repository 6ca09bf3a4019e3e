"""Leader election: runtimes.md 2.13 and the decision table of 2.20."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from support.eventually import eventually
from support.memory_client import MemoryClient

from localmodel.runtime.errors import ConflictError, TransportError
from localmodel.runtime.leaderelection import LeaderElectionConfig, LeaderElector, NotRenewedError
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import Lease, LeaseSpec, Object, ObjectMeta
from localmodel.runtime.testing.fake_clock import FakeClock

OLD = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Election:
    """One elector in a thread of its own, and what it told."""

    client: MemoryClient
    clock: FakeClock
    identity: str = "me"
    heard: list[str] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    events: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.elector = LeaderElector(
            self.client,
            LeaderElectionConfig(name="lease", namespace="ns", identity=self.identity),
            on_started_leading=lambda: self.heard.append("started"),
            on_stopped_leading=lambda: self.heard.append("stopped"),
            on_new_leader=lambda leader: self.heard.append(f"leader {leader}"),
            recorder=self,
            clock=self.clock,
            metrics=self.metrics,
            jitter=lambda: 0.5,
        )

    def event(self, obj: Object, type_: Any, reason: str, message: str) -> None:
        self.events.append(f"{obj} {type_} {reason}: {message}")

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
        self.stop.set()
        if self.thread is not None:
            self.thread.join(10)
            assert not self.thread.is_alive()

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"name": "lease"})


def lease(holder: str, *, duration: int = 15, transitions: int = 3) -> Lease:
    spec = LeaseSpec(
        holder_identity=holder,
        lease_duration_seconds=duration,
        acquire_time=OLD,
        renew_time=OLD,
        lease_transitions=transitions,
    )
    return Lease(metadata=ObjectMeta(name="lease", namespace="ns"), spec=spec)


def stored(client: MemoryClient) -> LeaseSpec:
    return client._find(Lease, "ns", "lease").spec  # type: ignore[attr-defined,no-any-return]


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
        election = Election(MemoryClient(*objects), clock)
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


def test_162_the_defaults_are_15_10_and_2_seconds() -> None:
    config = LeaderElectionConfig(name="lease", namespace="ns")

    assert (config.lease_duration, config.renew_deadline, config.retry_period) == (15, 10, 2)
    assert config.identity


def test_163_the_age_of_a_lease_counts_from_when_its_content_was_seen_to_change(elect: Any) -> None:
    election = elect(lease("other"))
    election.advance(14)
    assert stored(election.client).holder_identity == "other"

    election.advance(6)
    assert stored(election.client).holder_identity == "me"


def test_164_a_lease_that_another_renews_is_not_taken(elect: Any) -> None:
    election = elect(lease("other"))
    for _ in range(4):
        election.advance(10)
        renewed = election.client._find(Lease, "ns", "lease").deepcopy()
        renewed.spec.renew_time = election.clock.now()
        election.client._put(renewed)

    assert stored(election.client).holder_identity == "other"
    assert "started" not in election.heard


@pytest.mark.parametrize(("found", "seconds"), [(lease(""), 0), (lease("other", duration=1), 6)])
def test_165_an_unowned_or_expired_lease_is_taken_with_one_more_transition(
    elect: Any, found: Lease, seconds: float
) -> None:
    election = elect(found)
    election.advance(seconds)

    spec = stored(election.client)
    assert spec.holder_identity == "me"
    assert spec.lease_transitions == 4
    assert spec.acquire_time != OLD


def test_165_our_own_lease_keeps_its_transitions_and_acquire_time(elect: Any) -> None:
    election = elect(lease("me"))

    spec = stored(election.client)
    assert (spec.lease_transitions, spec.acquire_time) == (3, OLD)
    assert spec.renew_time == election.clock.now()


def test_166_without_a_lease_one_is_created(elect: Any) -> None:
    election = elect()

    spec = stored(election.client)
    assert (spec.holder_identity, spec.lease_duration_seconds) == ("me", 15)
    assert spec.lease_transitions in (0, None)
    assert election.heard == ["leader me", "started"]
    assert election.value("leader_election_master_status") == 1


def test_167_a_leader_renews_without_reading_and_falls_back_to_reading(elect: Any) -> None:
    election = elect()
    election.advance(2)
    assert election.client.calls == ["get", "create", "update"]

    election.client.calls.clear()
    election.client.fail("update", ConflictError.of("changed"))
    election.advance(4)
    assert election.client.calls == ["update", "get", "update", "update"]
    assert election.value("leader_election_slowpath_total") == 1


def test_168_without_success_for_the_renew_deadline_leadership_is_lost(elect: Any) -> None:
    election = elect()
    election.client.before = lambda verb: (_ for _ in ()).throw(TransportError("refused"))
    election.advance(9.5)
    assert election.heard[-1] == "started"

    election.advance(2.5)
    eventually(lambda: election.heard[-1] == "stopped")
    election.thread.join(10)
    assert not election.elector.is_leader
    assert election.value("leader_election_master_status") == 0


def test_168_leadership_is_lost_at_once_when_another_holds_the_lease(elect: Any) -> None:
    election = elect()
    election.client._put(lease("other"))
    election.advance(2)

    eventually(lambda: election.heard[-1] == "stopped")


def test_169_a_follower_waits_the_retry_period_and_its_jitter(elect: Any) -> None:
    election = elect(lease("other"))
    assert election.clock.next_deadline == pytest.approx(2 * (1 + 1.2 * 0.5))


def test_170_on_stopped_leading_is_called_even_without_ever_leading(elect: Any) -> None:
    election = elect(lease("other"))
    election.end()

    assert election.heard == ["leader other", "stopped"]
    assert stored(election.client).holder_identity == "other"


def test_171_a_leader_that_is_told_to_stop_releases_the_lease(elect: Any) -> None:
    election = elect()
    election.client.calls.clear()
    election.end()

    spec = stored(election.client)
    assert (spec.holder_identity, spec.lease_duration_seconds) == ("", 1)
    assert election.client.calls == ["get", "update"]
    assert election.heard[-1] == "stopped"


def test_171_a_release_is_tried_again_on_conflict(elect: Any) -> None:
    election = elect()
    election.client.fail("update", ConflictError.of("changed"))
    election.end()

    assert stored(election.client).holder_identity == ""


def test_172_a_lease_that_is_no_longer_ours_is_not_released(elect: Any) -> None:
    election = elect()
    election.client._put(lease("other"))
    election.end()

    assert stored(election.client).holder_identity == "other"


def test_a_lease_that_is_to_be_kept_runs_out_by_itself(elect: Any) -> None:
    election = elect()
    election.elector.keep_lease()
    election.end()

    assert stored(election.client).holder_identity == "me"


def test_173_the_health_check_fails_when_a_leader_has_not_renewed(clock: FakeClock) -> None:
    election = Election(MemoryClient(), clock)
    election.elector.check()
    blocked, release = threading.Event(), threading.Event()

    def block(verb: str) -> None:
        if verb == "update" and not release.is_set():
            blocked.set()
            release.wait(10)

    election.client.before = block
    election.start()
    clock.advance(2)
    assert blocked.wait(10)
    clock.advance(17)
    election.elector.check()
    clock.advance(2)
    with pytest.raises(NotRenewedError, match="lease was last renewed 21 s ago"):
        election.elector.check()
    release.set()
    election.end()


def test_174_events_on_the_lease_tell_of_won_and_lost_leadership(elect: Any) -> None:
    election = elect()
    election.end()

    assert election.events == [
        "Lease ns/lease Normal LeaderElection: me became leader",
        "Lease ns/lease Normal LeaderElection: me stopped leading",
    ]
