"""The manager: runtimes.md 2.11."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.eventually import eventually

from localmodel.runtime.builder import Builder
from localmodel.runtime.cache import CacheOptions
from localmodel.runtime.cancellation import CancelledError
from localmodel.runtime.controller import AlreadyStartedError, Controller, ControllerOptions
from localmodel.runtime.errors import CacheSyncTimeoutError, ForbiddenError, TransportError
from localmodel.runtime.handler import EnqueueRequestForObject, EnqueueRequestsFromMapFunc
from localmodel.runtime.leaderelection import LeaderElectionConfig, LeaderElectionLostError
from localmodel.runtime.manager import GracePeriodExpiredError, Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, Lease, Object, ObjectMeta, Secret
from localmodel.runtime.phase import Phase
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.runnable_group import GroupStoppedError
from localmodel.runtime.source import Kind
from localmodel.runtime.testing import FakeClient

TIMEOUT = 20
LEASE = LeaderElectionConfig(
    name="lease", namespace="ns", identity="me", lease_duration=4, renew_deadline=1.5, retry_period=1
)
OFF: dict[str, Any] = {"metrics_addr": "0", "health_probe_addr": "0"}
ELECTED: dict[str, Any] = {"leader_election": True, "lease": LEASE}


@dataclass
class Task:
    """A runnable that notes when it starts and ends."""

    name: str
    log: list[str]
    need_leader_election: bool = True
    error: BaseException | None = None
    linger: threading.Event | None = None
    """If given, the task goes on after it was told to stop, until this is set."""
    on_start: Callable[[], object] = lambda: None

    def start(self, stop: threading.Event) -> None:
        self.log.append(f"+{self.name}")
        self.on_start()
        if self.error is not None:
            raise self.error
        stop.wait()
        if self.linger is not None:
            self.linger.wait(TIMEOUT)
        self.log.append(f"-{self.name}")


@dataclass
class Running:
    """A manager in a thread of its own."""

    manager: Manager
    stop: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name="manager", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.manager.start(self.stop)
        except BaseException as error:  # noqa: BLE001 - what the test looks at
            self.error = error

    def join(self) -> BaseException | None:
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()
        return self.error

    def end(self) -> BaseException | None:
        self.stop.set()
        return self.join()


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def run(client: FakeClient) -> Iterator[Callable[..., Running]]:
    """Runs a manager with the tasks given; afterwards no thread may be left (promise 149)."""
    before = set(threading.enumerate())
    running: list[Running] = []

    def start(*tasks: Task, **options: Any) -> Running:
        manager = Manager(client, ManagerOptions(**{**OFF, **options}))
        for task in tasks:
            manager.add(task)
        running.append(Running(manager))
        return running[-1]

    yield start
    for one in running:
        one.end()
    eventually(lambda: set(threading.enumerate()) <= before, message="149: a thread is left")


class Greeter(Reconciler):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def setup(self, builder: Builder) -> None:
        builder.for_(ConfigMap)

    def reconcile(self, request: Request) -> Result | None:
        self.log.append(str(request))
        return None


class Warm(Task):
    """A task of the leader that also notes its warm-up."""

    enable_warmup = True

    def warm_up(self, stop: threading.Event) -> None:
        self.log.append(f"+warm-up of {self.name}")
        stop.wait()
        self.log.append(f"-warm-up of {self.name}")


class LeaseGate:
    """An API server that refuses leases until it is opened."""

    def __init__(self, *interceptors: Any) -> None:
        self.open = threading.Event()
        self.client = FakeClient(interceptors=[self._intercept, *interceptors])

    def _intercept(self, action: Any, proceed: Callable[[], Any]) -> Any:
        if action.kind is Lease and not self.open.is_set():
            raise TransportError("refused")
        return proceed()


def test_141_servers_then_caches_then_runnables_without_leadership_then_warm_ups_then_leaders(log: list[str]) -> None:
    lists = threading.Event()

    def hold(action: Any, proceed: Callable[[], Any]) -> Any:
        if action.kind is ConfigMap:
            lists.wait(TIMEOUT)
        return proceed()

    gate = LeaseGate(hold)
    manager = Manager(gate.client, ManagerOptions(metrics_addr="0", health_probe_addr="127.0.0.1:0", **ELECTED))
    manager.add_reconciler(Greeter(log))

    def note() -> None:
        log.append(f"synced {manager.cache.has_synced(ConfigMap)}, led {gate.open.is_set()}")

    manager.add(Warm("leader", log, on_start=note))
    manager.add(Task("other", log, need_leader_election=False, on_start=note))
    running = Running(manager)
    eventually(lambda: urllib.request.urlopen(f"{manager.probe_url}/healthz", timeout=TIMEOUT).status == 200)
    assert log == []
    lists.set()
    eventually(lambda: len(log) == 3)
    assert sorted(log) == ["+other", "+warm-up of leader", "synced True, led False"]
    gate.open.set()
    eventually(lambda: len(log) == 5)
    assert log[3:] == ["+leader", "synced True, led True"]

    assert running.end() is None


def test_128_with_warm_up_a_controllers_sources_start_before_leadership_and_only_once(log: list[str]) -> None:
    before = set(threading.enumerate())
    gate = LeaseGate()
    gate.client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="ns")))
    manager = Manager(gate.client, ManagerOptions(**OFF, **ELECTED, controller=ControllerOptions(enable_warmup=True)))
    controller = manager.add_reconciler(Greeter(log))
    running = Running(manager)
    eventually(lambda: len(controller._queue) == 1)
    assert log == []
    gate.open.set()
    eventually(lambda: log == ["ns/a"])
    assert len(manager.cache.get_informer(ConfigMap)._listeners) == 1

    assert running.end() is None
    eventually(lambda: set(threading.enumerate()) <= before)


def test_128_a_manager_that_never_leads_ends_its_warm_ups(log: list[str]) -> None:
    before = set(threading.enumerate())
    gate = LeaseGate()
    manager = Manager(gate.client, ManagerOptions(**OFF, **ELECTED, controller=ControllerOptions(enable_warmup=True)))
    manager.add_reconciler(Greeter(log))
    manager.add(Warm("leader", log))
    running = Running(manager)
    eventually(lambda: log == ["+warm-up of leader"])

    assert running.end() is None
    assert log == ["+warm-up of leader", "-warm-up of leader"]
    eventually(lambda: set(threading.enumerate()) <= before)


def test_who_leads_is_told_by_an_event(run: Callable[..., Running], log: list[str]) -> None:
    first = run(Task("leader", log), **ELECTED)
    eventually(first.manager.elected.is_set)
    second = run(
        Task("other", log, need_leader_election=False), **ELECTED | {"lease": replace(LEASE, identity="other")}
    )
    eventually(lambda: "+other" in log)
    assert not second.manager.elected.is_set()
    second.end()


def test_142_a_runnable_that_does_not_say_otherwise_needs_leadership(log: list[str]) -> None:
    class Silent:
        def start(self, stop: threading.Event) -> None:
            log.append("+silent")

    gate = LeaseGate()
    manager = Manager(gate.client, ManagerOptions(**OFF, **ELECTED))
    manager.add(Silent())
    manager.add(Task("other", log, need_leader_election=False))
    running = Running(manager)
    eventually(lambda: log and any(action.kind is Lease for action in gate.client.actions))
    assert log == ["+other"]
    gate.open.set()
    eventually(lambda: log == ["+other", "+silent"])
    running.end()


def test_143_those_without_leadership_end_before_the_leaders_and_the_cache_after_both(
    run: Callable[..., Running], log: list[str]
) -> None:
    linger = threading.Event()
    other = Task("other", log, need_leader_election=False, linger=linger)
    running = run(other, Task("leader", log), **ELECTED)
    running.manager.cache.get_informer(ConfigMap)
    eventually(lambda: sorted(log) == ["+leader", "+other"])
    running.stop.set()
    running.thread.join(0.05)
    assert "-leader" not in log
    assert Phase.STOPPED not in running.manager.cache.get_informer(ConfigMap).phases
    linger.set()

    assert running.join() is None
    assert log[2:] == ["-other", "-leader"]


def test_143_the_servers_answer_until_every_runnable_has_ended(client: FakeClient, log: list[str]) -> None:
    linger = threading.Event()
    manager = Manager(client, ManagerOptions(metrics_addr="0", health_probe_addr="127.0.0.1:0"))
    manager.add(Task("leader", log, linger=linger))
    running = Running(manager)
    eventually(lambda: log)
    running.stop.set()
    assert urllib.request.urlopen(f"{manager.probe_url}/healthz", timeout=TIMEOUT).status == 200
    linger.set()

    assert running.join() is None
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{manager.probe_url}/healthz", timeout=TIMEOUT)


def test_143_the_lease_is_given_up_after_every_runnable_has_ended(
    run: Callable[..., Running], log: list[str], client: FakeClient
) -> None:
    linger = threading.Event()
    running = run(Task("leader", log, linger=linger), **ELECTED)
    eventually(lambda: log)
    running.stop.set()
    running.thread.join(0.05)
    assert client.get(Lease, "lease", namespace="ns").spec.holder_identity == "me"

    linger.set()
    assert running.join() is None
    assert client.get(Lease, "lease", namespace="ns").spec.holder_identity == ""


def test_144_a_manager_that_stops_without_leading_never_starts_leaders(
    run: Callable[..., Running], log: list[str], client: FakeClient
) -> None:
    other = LeaderElectionConfig(
        name="lease", namespace="ns", identity="other", lease_duration=4, renew_deadline=1.5, retry_period=1
    )
    first = run(Task("first", log), leader_election=True, lease=other)
    eventually(lambda: log == ["+first"])
    second = run(Task("second", log), **ELECTED)
    eventually(lambda: any(action.verb == "get" and action.kind is Lease for action in client.actions))
    assert second.end() is None
    first.end()

    assert "+second" not in log


def test_144_a_lease_that_is_won_while_stopping_starts_no_leaders(log: list[str]) -> None:
    """The others are still ending when the lease comes: the group of the leaders is closed already."""
    gate = LeaseGate()
    linger = threading.Event()
    manager = Manager(gate.client, ManagerOptions(**OFF, **ELECTED))
    manager.add(Task("leader", log))
    manager.add(Task("other", log, need_leader_election=False, linger=linger))
    running = Running(manager)
    eventually(lambda: log == ["+other"])
    running.stop.set()
    eventually(lambda: manager._leaders._closed)
    gate.open.set()
    eventually(lambda: gate.client.find(Lease, "lease", namespace="ns"))
    linger.set()

    assert running.join() is None
    assert log == ["+other", "-other"]


def test_145_a_lost_lease_ends_the_manager_without_grace(client: FakeClient, log: list[str]) -> None:
    broken = threading.Event()

    def refuse(action: Any, proceed: Callable[[], Any]) -> Any:
        if broken.is_set() and action.kind is Lease:
            raise TransportError("refused")
        return proceed()

    linger = threading.Event()
    manager = Manager(FakeClient(interceptors=[refuse]), ManagerOptions(**OFF, **ELECTED))
    manager.add(Task("leader", log, linger=linger))
    running = Running(manager)
    eventually(lambda: log == ["+leader"])
    broken.set()
    error = running.join()
    linger.set()

    assert isinstance(error, LeaderElectionLostError)
    assert "-leader" not in log


def test_146_the_grace_period_is_30_seconds_by_default() -> None:
    assert ManagerOptions().graceful_shutdown_timeout == 30


def test_146_a_runnable_that_outlives_the_grace_period_is_an_error(run: Callable[..., Running], log: list[str]) -> None:
    linger = threading.Event()
    running = run(Task("slow", log, linger=linger), graceful_shutdown_timeout=0.05)
    eventually(lambda: log)
    error = running.end()
    linger.set()

    assert isinstance(error, GracePeriodExpiredError)
    assert "slow" in str(error)


def test_146_the_error_of_a_runnable_comes_first_and_names_the_expired_grace_period(
    run: Callable[..., Running], log: list[str]
) -> None:
    linger = threading.Event()
    slow = Task("slow", log, need_leader_election=False, linger=linger)
    running = run(slow, Task("bad", log, error=RuntimeError("broken")), graceful_shutdown_timeout=0.05)
    error = running.join()
    linger.set()

    assert isinstance(error, RuntimeError)
    assert any("GracePeriodExpiredError" in note for note in error.__notes__)


def test_146_a_grace_period_of_zero_does_not_wait(run: Callable[..., Running], log: list[str]) -> None:
    linger = threading.Event()
    running = run(Task("slow", log, linger=linger), graceful_shutdown_timeout=0)
    eventually(lambda: log)
    assert running.end() is None
    assert "-slow" not in log
    linger.set()


def test_146_a_negative_grace_period_waits(run: Callable[..., Running], log: list[str]) -> None:
    linger = threading.Event()
    running = run(Task("slow", log, linger=linger), graceful_shutdown_timeout=-1)
    eventually(lambda: log)
    running.stop.set()
    running.thread.join(0.05)
    assert running.thread.is_alive()
    linger.set()

    assert running.join() is None


def test_146_an_expired_grace_period_leaves_the_lease_to_run_out(
    run: Callable[..., Running], log: list[str], client: FakeClient
) -> None:
    linger = threading.Event()
    running = run(Task("slow", log, linger=linger), graceful_shutdown_timeout=0.05, **ELECTED)
    eventually(lambda: log)
    running.end()
    linger.set()

    assert client.get(Lease, "lease", namespace="ns").spec.holder_identity == "me"


def test_147_one_failing_runnable_stops_all_and_its_error_is_raised(
    run: Callable[..., Running], log: list[str]
) -> None:
    running = run(Task("good", log, need_leader_election=False), Task("bad", log, error=RuntimeError("broken")))
    error = running.join()

    assert isinstance(error, RuntimeError)
    assert str(error) == "broken"
    assert "-good" in log
    assert running.stop.is_set()


def test_147_a_cancelled_runnable_is_no_error(run: Callable[..., Running], log: list[str]) -> None:
    class Cancelled(Task):
        def start(self, stop: threading.Event) -> None:
            super().start(stop)
            raise CancelledError("GET /x was cancelled")

    running = run(Cancelled("cancelled", log), Task("good", log))
    eventually(lambda: "+good" in log)

    assert running.end() is None


def test_147_a_runnable_that_is_cancelled_while_nothing_stops_does_not_end_in_silence(
    run: Callable[..., Running], log: list[str]
) -> None:
    error = CancelledError("GET /x was cancelled")
    assert run(Task("cancelled", log, error=error), Task("good", log)).join() is error


def test_147_a_runnable_that_returns_early_stops_nothing(run: Callable[..., Running], log: list[str]) -> None:
    class Short:
        def start(self, stop: threading.Event) -> None:
            log.append("short")

    running = run(Task("good", log))
    eventually(lambda: log == ["+good"])
    running.manager.add(Short())
    eventually(lambda: log == ["+good", "short"])

    assert not running.stop.is_set()
    assert running.end() is None


def test_147_system_exit_in_a_runnable_is_raised(run: Callable[..., Running], log: list[str]) -> None:
    assert isinstance(run(Task("bad", log, error=SystemExit(2))).join(), SystemExit)


def test_148_a_runnable_added_while_running_starts_at_once(run: Callable[..., Running], log: list[str]) -> None:
    running = run(Task("first", log))
    eventually(lambda: log == ["+first"])
    running.manager.add(Task("second", log))
    eventually(lambda: log == ["+first", "+second"])
    running.end()

    with pytest.raises(GroupStoppedError, match="third was added after"):
        running.manager.add(Task("third", log))


def test_148_a_second_start_is_an_error(run: Callable[..., Running], log: list[str]) -> None:
    running = run(Task("first", log))
    eventually(lambda: log)

    with pytest.raises(AlreadyStartedError):
        running.manager.start(threading.Event())


@pytest.mark.parametrize(
    "options",
    [{}, ELECTED, {"metrics_addr": "127.0.0.1:0", "health_probe_addr": "127.0.0.1:0"}],
    ids=["plain", "elected", "with servers"],
)
def test_149_no_thread_is_left_after_stop(client: FakeClient, log: list[str], options: dict[str, Any]) -> None:
    before = set(threading.enumerate())
    client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="ns")))
    manager = Manager(client, ManagerOptions(**{**OFF, **options}))
    manager.add_reconciler(Greeter(log), ControllerOptions(workers=4, enable_warmup=True))
    manager.add(Task("other", log, need_leader_election=False))
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            manager.start(stop)
        except BaseException as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    # In a thread that is its own caller: what is alive when `start` returns is left over.
    left: list[set[threading.Thread]] = []
    thread = threading.Thread(target=lambda: (run(), left.append(set(threading.enumerate()))), daemon=True)
    thread.start()
    eventually(lambda: sorted(log) == ["+other", "ns/a"])
    stop.set()
    thread.join(TIMEOUT)

    assert failed == []
    assert left[0] - before == {thread}


@pytest.mark.parametrize("failing", ["leader", "other", "source", "cache"])
def test_149_no_thread_is_left_after_a_failure(client: FakeClient, log: list[str], failing: str) -> None:
    before = set(threading.enumerate())
    if failing in ("source", "cache"):
        client.withdraw(ConfigMap)
    manager = Manager(client, ManagerOptions(**OFF, cache=CacheOptions(sync_timeout=0.2)))
    if failing == "cache":
        manager.add_reconciler(Greeter(log))
    manager.add(Task("other", log, need_leader_election=False, error=OSError("bad") if failing == "other" else None))
    manager.add(Task("leader", log, error=OSError("bad") if failing == "leader" else None))
    if failing == "source":
        options = ControllerOptions(cache_sync_timeout=0.2)
        controller = Controller("late", Greeter(log), options, cache=manager.cache)
        controller.watch(Kind(ConfigMap, EnqueueRequestForObject()))
        manager.add(controller)

    with pytest.raises((OSError, CacheSyncTimeoutError)):
        manager.start(threading.Event())
    assert set(threading.enumerate()) - before == set()


def test_150_a_busy_port_fails_when_the_manager_is_made(client: FakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = f"127.0.0.1:{busy.getsockname()[1]}"
        with pytest.raises(OSError, match="in use"):
            Manager(client, ManagerOptions(metrics_addr="127.0.0.1:0", health_probe_addr=taken))


def test_150_a_manager_that_cannot_be_made_holds_no_port(client: FakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ManagerOptions(
        metrics_addr=f"127.0.0.1:{port}",
        component="no component",
        leader_election=True,
        lease=LeaderElectionConfig(name="lease", namespace="ns"),
    )
    with pytest.raises(ValueError, match="no component") as raised:
        Manager(client, options)
    with socket.create_server(("127.0.0.1", port)):
        del raised


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"leader_election_namespace": "ns"}, "set leader_election_id"),
        ({"leader_election_id": "lease"}, "set leader_election_namespace or [$]POD_NAMESPACE"),
    ],
)
def test_a_lease_that_is_half_named_is_refused_with_the_option_that_is_missing(
    options: dict[str, Any], missing: str, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    with pytest.raises(ValueError, match=missing):
        Manager(client, ManagerOptions(**OFF, leader_election=True, **options))


def test_ports_are_known_before_the_start_and_close_frees_them(client: FakeClient) -> None:
    options = ManagerOptions(metrics_addr="127.0.0.1:0", health_probe_addr="127.0.0.1:0")
    manager = Manager(client, options)
    assert manager.metrics_url.endswith("/metrics")
    port = int(manager.probe_url.rpartition(":")[2])
    manager.close()

    with socket.create_server(("127.0.0.1", port)):
        pass


def test_servers_that_are_switched_off_have_no_address(client: FakeClient) -> None:
    manager = Manager(client, ManagerOptions(metrics_addr="0", health_probe_addr=""))

    assert (manager.metrics_url, manager.probe_url) == ("", "")


def test_151_ready_only_once_the_cache_has_synced_and_checks_pass(client: FakeClient, log: list[str]) -> None:
    open_lists = threading.Event()

    def hold(action: Any, proceed: Callable[[], Any]) -> Any:
        if action.verb in ("list", "watch"):
            open_lists.wait(TIMEOUT)
        return proceed()

    manager = Manager(
        FakeClient(interceptors=[hold]), ManagerOptions(metrics_addr="0", health_probe_addr="127.0.0.1:0")
    )
    manager.add_reconciler(Greeter(log))
    manager.add_readyz_check("certificate", lambda: None)
    running = Running(manager)

    def code(path: str) -> int:
        try:
            with urllib.request.urlopen(manager.probe_url + path, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    eventually(lambda: code("/healthz") == 200)
    assert code("/readyz") == 500
    assert code("/readyz/certificate") == 200
    open_lists.set()
    eventually(lambda: code("/readyz") == 200)
    running.end()


def test_a_kind_that_cannot_be_listed_fails_the_start_and_is_named(client: FakeClient, log: list[str]) -> None:
    client.withdraw(ConfigMap)
    manager = Manager(client, ManagerOptions(**OFF, cache=CacheOptions(sync_timeout=0.2)))
    manager.add_reconciler(Greeter(log))

    with pytest.raises(CacheSyncTimeoutError, match="ConfigMap"):
        manager.start(threading.Event())


def test_being_stopped_while_the_cache_fills_is_no_error(client: FakeClient, log: list[str]) -> None:
    client.withdraw(ConfigMap)
    manager = Manager(client, ManagerOptions(**OFF))
    manager.add_reconciler(Greeter(log))
    running = Running(manager)
    eventually(lambda: manager.cache.get_informer(ConfigMap).last_error)

    assert running.end() is None


def test_a_client_that_cannot_watch_is_refused(client: FakeClient) -> None:
    manager = Manager(client, ManagerOptions(**OFF))

    with pytest.raises(TypeError, match="CachedClient cannot list and watch"):
        Manager(manager.client, ManagerOptions(**OFF))


def test_two_managers_in_one_process_do_not_share_metrics(client: FakeClient, log: list[str]) -> None:
    first, second = (Manager(client, ManagerOptions(**OFF)) for _ in range(2))
    first.add_reconciler(Greeter(log))
    second.add_reconciler(Greeter(log))

    assert first.metrics.registry is not second.metrics.registry


@dataclass
class StuckReader(Reconciler):
    """Reads a kind that cannot be cached, in its map function or in `reconcile`: the read waits for its informer."""

    in_map_function: bool
    reading: threading.Event = field(default_factory=threading.Event)

    def setup(self, builder: Builder) -> None:
        builder.named("stuck").watches(ConfigMap, EnqueueRequestsFromMapFunc(self._map))

    def _map(self, obj: Object) -> list[Request]:
        if self.in_map_function:
            self._read()
        return [obj.key]

    def reconcile(self, request: Request) -> Result | None:
        self._read()
        return None

    def _read(self) -> None:
        self.reading.set()
        self.client.list(Secret)


@pytest.mark.parametrize("in_map_function", [True, False])
def test_a_read_that_waits_for_its_informer_does_not_hold_up_the_stop(
    client: FakeClient, in_map_function: bool
) -> None:
    client.faults.fail(ForbiddenError.of("secrets is forbidden"), verb="list", kind=Secret, times=None)
    client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="ns")))
    manager = Manager(client, ManagerOptions(**OFF))
    reconciler = StuckReader(in_map_function)
    manager.add_reconciler(reconciler)
    before = set(threading.enumerate())
    running = Running(manager)
    assert reconciler.reading.wait(TIMEOUT)

    began = time.monotonic()
    assert running.end() is None
    assert time.monotonic() - began < 5
    eventually(lambda: set(threading.enumerate()) <= before)


def test_the_reason_why_the_cache_has_not_synced_is_logged_with_readyz(client: FakeClient) -> None:
    client.faults.fail(ForbiddenError.of("configmaps is forbidden"), verb="watch", kind=ConfigMap, times=None)
    manager = Manager(client, ManagerOptions(metrics_addr="0", health_probe_addr="127.0.0.1:0"))
    manager.cache.get_informer(ConfigMap)
    running = Running(manager)

    def reasons() -> list[str]:
        with capture_logs() as lines, pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{manager.probe_url}/readyz", timeout=TIMEOUT)
        return [line["error"] for line in lines if line.get("check") == "cache-sync"]

    eventually(lambda: any("Forbidden (403): configmaps is forbidden" in reason for reason in reasons()))
    assert running.end() is None
