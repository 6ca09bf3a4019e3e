"""The controller loop: runtimes.md 2.9."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, cast

import pytest
import structlog
from support.eventually import eventually

from localmodel.runtime import deadline
from localmodel.runtime.cache import Cache, KindNotServedError
from localmodel.runtime.controller import AlreadyStartedError, Controller, ControllerOptions
from localmodel.runtime.errors import CacheSyncTimeoutError, ConflictError, ForbiddenError, TerminalError
from localmodel.runtime.metrics import RECONCILE_RESULTS, Metrics
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.reconcile import Reconciler, Request, Result, current_reconcile_id, within_run
from localmodel.runtime.source import Func, Source, SourceContext
from localmodel.runtime.testing import FakeClock
from localmodel.runtime.workqueue import AddOptions, ItemExponentialFailureRateLimiter

A, B = Request("ns", "a"), Request("ns", "b")
TIMEOUT = 10


class PushSource(Source):
    """A source that the test feeds, and that syncs when the test says so."""

    def __init__(self, *, synced: bool = True) -> None:
        self.synced = threading.Event()
        self.settled = threading.Event()
        """Synced, or stopped."""
        if synced:
            self.sync()
        self.context: SourceContext | None = None
        self.stopped = False

    def start(self, context: SourceContext) -> None:
        assert self.context is None, "started twice"
        self.context = context

    def add(self, *requests: Request) -> None:
        assert self.context is not None
        for request in requests:
            self.context.queue.add(request)

    def wait_for_sync(self, timeout: float) -> bool:
        assert self.context is not None
        self.context.clock.wait_event(self.settled, timeout)
        return self.synced.is_set()

    def sync(self) -> None:
        self.synced.set()
        self.settled.set()

    def stop(self) -> None:
        self.stopped = True
        self.settled.set()

    @property
    def last_error(self) -> str:
        return "forbidden"

    def __str__(self) -> str:
        return "push source"


class Recording(Reconciler):
    """Notes each request and does what the test sets."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.act: Callable[[Request], Result | None] = lambda request: None

    def setup(self, builder: Any) -> None:
        """Not used here."""

    def reconcile(self, request: Request) -> Result | None:
        self.requests.append(request)
        return self.act(request)


class Harness:
    """One controller in a thread of its own."""

    def __init__(self, options: ControllerOptions | None = None, source: PushSource | None = None) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.source = source or PushSource()
        self.reconciler = Recording()
        self.controller = Controller(
            "test",
            self.reconciler,
            options or ControllerOptions(rate_limiter=ItemExponentialFailureRateLimiter(1, 100)),
            cache=cast("Cache", None),
            kind=ConfigMap,
            clock=self.clock,
            metrics=self.metrics,
            may_act=lambda: self.leads,
        )
        self.leads = True
        self.controller.watch(self.source)
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.controller.start(self.stop)
        except BaseException as error:  # noqa: BLE001 - what the test looks at
            self.error = error

    def start(self, *requests: Request) -> Harness:
        self.thread.start()
        eventually(lambda: self.source.context)
        if self.source.synced.is_set() and len(self.controller.sources) == 1:
            # From here on only the queue waits on the clock, for what is delayed.
            eventually(lambda: self.controller._workers or self.error)
        self.source.add(*requests)
        return self

    def end(self) -> BaseException | None:
        self.stop.set()
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()
        return self.error

    def count(self, name: str, **labels: str) -> float:
        labels = {"controller": "test", **labels}
        value = self.metrics.registry.get_sample_value(f"controller_runtime_{name}", labels)
        assert value is not None, f"{name} does not exist"
        return value

    def results(self) -> dict[str, float]:
        found = {result: self.count("reconcile_total", result=result) for result in RECONCILE_RESULTS}
        return {result: value for result, value in found.items() if value}

    def queue_is_idle(self) -> bool:
        return self.count("active_workers") == 0 and len(self.controller._queue) == 0


@pytest.fixture
def made() -> Iterator[list[Harness]]:
    """Afterwards no thread may be left (promise 149)."""
    before = set(threading.enumerate())
    made: list[Harness] = []
    yield made
    for harness in made:
        harness.source.sync()
        if harness.thread.ident is not None:
            harness.end()
    eventually(lambda: set(threading.enumerate()) <= before, message="149: a thread is left")


@pytest.fixture
def make(made: list[Harness]) -> Callable[..., Harness]:
    def build(*args: Any, **kwargs: Any) -> Harness:
        made.append(Harness(*args, **kwargs))
        return made[-1]

    return build


@pytest.fixture
def harness(make: Callable[..., Harness]) -> Harness:
    return make()


def raises(*errors: BaseException) -> Callable[[Request], Result | None]:
    """Raises each error once, then succeeds."""
    left = list(errors)

    def act(request: Request) -> Result | None:
        if left:
            raise left.pop(0)
        return None

    return act


def test_112_nothing_is_reconciled_before_every_source_has_synced(make: Callable[..., Harness]) -> None:
    harness = make(source=PushSource(synced=False))
    late = PushSource(synced=False)
    harness.controller.watch(late)
    harness.start(A)
    harness.source.sync()
    eventually(lambda: late.context)
    assert harness.reconciler.requests == []

    late.sync()
    eventually(lambda: harness.reconciler.requests == [A])


def test_113_a_source_that_does_not_sync_in_time_is_named(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(cache_sync_timeout=5), source=PushSource(synced=False)).start()
    harness.clock.wait_for_waiters(2)  # the source, and the controller for its source
    harness.clock.advance(5)
    harness.thread.join(TIMEOUT)

    assert isinstance(harness.error, CacheSyncTimeoutError)
    assert "controller test" in str(harness.error)
    assert "5 s" in str(harness.error)
    assert "push source: forbidden" in str(harness.error)
    assert harness.source.stopped


def test_113_sources_have_two_minutes_by_default() -> None:
    assert ControllerOptions().cache_sync_timeout == 120


def test_114_being_stopped_while_waiting_for_sources_is_no_error(make: Callable[..., Harness]) -> None:
    harness = make(source=PushSource(synced=False)).start()

    assert harness.end() is None


def test_115_a_second_start_is_an_error(harness: Harness) -> None:
    harness.start()

    with pytest.raises(AlreadyStartedError, match="controller test"):
        harness.controller.start(threading.Event())


def test_116_a_source_that_blocks_in_start_is_bounded_by_the_same_timeout_and_named(
    make: Callable[..., Harness],
) -> None:
    release = threading.Event()
    blocked = threading.Event()

    def block(queue: object, stop: threading.Event) -> None:
        blocked.set()
        release.wait(TIMEOUT)

    harness = make(ControllerOptions(cache_sync_timeout=5))
    harness.controller.watch(Func(block, name="stubborn"))
    harness.start()
    assert blocked.wait(TIMEOUT)
    eventually(lambda: [one.synced for one in harness.controller._sources._all] == [True, False])
    harness.clock.advance(5)
    harness.thread.join(TIMEOUT)

    assert isinstance(harness.error, CacheSyncTimeoutError)
    assert "within 5 s: func source: stubborn has not returned from its start" in str(harness.error)
    assert "push source" not in str(harness.error)
    assert harness.source.stopped
    release.set()


def test_a_source_whose_start_raises_ends_the_controller(make: Callable[..., Harness]) -> None:
    def refuse(queue: object, stop: threading.Event) -> None:
        raise PermissionError("no directory to watch")

    harness = make()
    harness.controller.watch(Func(refuse))
    harness.start()
    harness.thread.join(TIMEOUT)

    assert isinstance(harness.error, PermissionError)
    assert harness.stop.is_set()


def test_117_an_error_queues_the_request_again_and_other_requests_go_on(harness: Harness) -> None:
    harness.reconciler.act = raises(RuntimeError("first"))
    harness.start(A, B)
    eventually(lambda: harness.reconciler.requests == [A, B])
    harness.clock.wait_for_waiters()
    harness.clock.advance(1)

    eventually(lambda: harness.reconciler.requests == [A, B, A])
    eventually(lambda: harness.results() == {"error": 1, "success": 2})
    assert harness.count("reconcile_errors_total") == 1


def test_118_the_delay_grows_until_a_run_without_error(harness: Harness) -> None:
    harness.reconciler.act = raises(RuntimeError("1"), RuntimeError("2"), RuntimeError("3"))
    harness.start(A)
    waits = []
    for run in range(3):
        eventually(lambda run=run: len(harness.reconciler.requests) == run + 1)
        harness.clock.wait_for_waiters()
        waits.append(harness.clock.next_deadline)
        harness.clock.advance(harness.clock.next_deadline or 0)
    eventually(lambda: harness.results() == {"error": 3, "success": 1})
    assert waits == [1, 2, 4]

    harness.reconciler.act = raises(RuntimeError("4"))
    harness.source.add(A)
    harness.clock.wait_for_waiters()
    assert harness.clock.next_deadline == 1


def test_119_requeue_after_forgets_the_failures_and_comes_back_after_that_time(harness: Harness) -> None:
    answers = iter([RuntimeError("1"), RuntimeError("2"), Result(requeue_after=60), RuntimeError("3")])

    def act(request: Request) -> Result | None:
        answer = next(answers, None)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    harness.reconciler.act = act
    harness.start(A)
    waits = []
    for run in range(4):
        eventually(lambda run=run: len(harness.reconciler.requests) == run + 1)
        harness.clock.wait_for_waiters()
        waits.append(harness.clock.next_deadline)
        harness.clock.advance(harness.clock.next_deadline or 0)

    assert waits == [1, 2, 60, 1]
    eventually(lambda: harness.results() == {"error": 3, "requeue_after": 1, "success": 1})


def test_120_an_error_wins_over_a_result_and_a_log_line_says_so(harness: Harness) -> None:
    """In Python a run returns or raises: an error after the result was made leaves no result to be ignored."""

    def act(request: Request) -> Result:
        with closing(Closing()):
            return Result(requeue_after=60, priority=7)

    class Closing:
        def close(self) -> None:
            raise RuntimeError("cannot close")

    harness.reconciler.act = act
    with structlog.testing.capture_logs() as logs:
        harness.start(A)
        harness.clock.wait_for_waiters()

    assert harness.clock.next_deadline == 1
    assert harness.results() == {"error": 1}
    assert [line["error"] for line in logs if line["event"] == "Reconcile failed"] == ["cannot close"]


def test_requeue_comes_back_with_growing_delay_and_is_no_error(harness: Harness) -> None:
    answers = iter([Result(requeue=True), Result(requeue=True), None])
    harness.reconciler.act = lambda request: next(answers)
    harness.start(A)
    waits = []
    for run in range(2):
        eventually(lambda run=run: len(harness.reconciler.requests) == run + 1)
        harness.clock.wait_for_waiters()
        waits.append(harness.clock.next_deadline)
        harness.clock.advance(harness.clock.next_deadline or 0)

    assert waits == [1, 2]
    eventually(lambda: harness.results() == {"requeue": 2, "success": 1})
    assert harness.count("reconcile_errors_total") == 0


@pytest.mark.parametrize("wrong", [{"requeue_after": "60"}, {"requeue_after": None}, {"priority": "high"}])
def test_a_result_that_the_queue_could_not_take_fails_the_run_and_not_the_program(
    harness: Harness, wrong: dict[str, Any]
) -> None:
    harness.reconciler.act = lambda request: Result(**wrong)
    harness.start(A)
    harness.clock.wait_for_waiters()

    assert harness.results() == {"error": 1}


def test_what_is_no_result_fails_the_run_and_is_named(harness: Harness) -> None:
    harness.reconciler.act = lambda request: cast("Result", True)
    with structlog.testing.capture_logs() as logs:
        harness.start(A)
        harness.clock.wait_for_waiters()

    assert harness.results() == {"error": 1}
    assert "Recording.reconcile returned True; return a Result or None" in str(
        [line for line in logs if line["event"] == "Reconcile failed"]
    )


def test_a_process_that_does_not_lead_at_the_moment_reconciles_nothing(harness: Harness) -> None:
    """A leader that was paused for longer than its lease does not know yet (runtimes.md after 2.20)."""
    harness.leads = False
    harness.start(A)
    harness.clock.wait_for_waiters()
    assert harness.reconciler.requests == []

    harness.leads = True
    harness.clock.advance(1)
    eventually(lambda: harness.reconciler.requests == [A])


def test_121_a_terminal_error_is_counted_and_not_queued_again(harness: Harness) -> None:
    harness.reconciler.act = raises(TerminalError("the spec is wrong"))
    harness.start(A)
    eventually(lambda: harness.results() == {"error": 1})
    eventually(harness.queue_is_idle)

    assert harness.count("reconcile_errors_total") == 1
    assert harness.count("terminal_reconcile_errors_total") == 1
    assert harness.clock.waiters == 0


def test_122_a_success_forgets_the_failures_before_it(harness: Harness) -> None:
    harness.reconciler.act = raises(RuntimeError("first"))
    harness.start(A)
    harness.clock.wait_for_waiters()
    assert harness.controller._queue.num_requeues(A) == 1
    harness.clock.advance(1)
    eventually(lambda: harness.results() == {"error": 1, "success": 1})

    assert harness.controller._queue.num_requeues(A) == 0


def test_122_a_success_is_counted_and_timed(harness: Harness) -> None:
    harness.reconciler.act = lambda request: harness.clock.advance(0.3)
    harness.start(A)
    eventually(lambda: harness.results() == {"success": 1})
    eventually(harness.queue_is_idle)

    assert harness.count("reconcile_time_seconds_count") == 1
    assert harness.count("reconcile_time_seconds_sum") == pytest.approx(0.3)


def test_123_every_series_exists_at_zero_before_the_first_run(harness: Harness) -> None:
    assert [harness.count("reconcile_total", result=result) for result in RECONCILE_RESULTS] == [0, 0, 0, 0]
    for name in ("errors", "panics", "timeouts"):
        assert harness.count(f"reconcile_{name}_total") == 0
    assert harness.count("terminal_reconcile_errors_total") == 0
    assert harness.count("max_concurrent_reconciles") == 1


def test_124_an_error_of_programming_is_counted_as_a_panic_and_tried_again(harness: Harness) -> None:
    harness.reconciler.act = raises(KeyError("spec"))
    with structlog.testing.capture_logs() as logs:
        harness.start(A)
        harness.clock.wait_for_waiters()
    assert harness.results() == {"error": 1}
    assert harness.count("reconcile_panics_total") == 1
    assert [line["error"] for line in logs if line["event"] == "Reconcile failed"] == [
        "panic: KeyError: 'spec' [recovered]"
    ]

    harness.clock.advance(1)
    eventually(lambda: harness.results() == {"error": 1, "success": 1})


def test_124_without_recovery_an_error_of_programming_ends_the_controller(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(recover_panic=False))
    harness.reconciler.act = raises(KeyError("spec"))
    harness.start(A)
    harness.thread.join(TIMEOUT)

    assert isinstance(harness.error, KeyError)
    assert harness.stop.is_set()


def test_system_exit_in_a_reconciler_ends_the_controller(harness: Harness) -> None:
    harness.reconciler.act = raises(SystemExit(3))
    harness.start(A)
    harness.thread.join(TIMEOUT)

    assert isinstance(harness.error, SystemExit)
    assert harness.count("active_workers") == 0


def test_125_what_a_reconciler_calls_knows_the_time_left(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(reconcile_timeout=30))
    seen: list[float | None] = []

    def act(request: Request) -> None:
        seen.append(deadline.remaining())
        harness.clock.advance(31)
        deadline.check("a request")

    harness.reconciler.act = act
    harness.start(A)
    eventually(lambda: harness.count("reconcile_timeouts_total") == 1)

    assert seen == [30]
    eventually(lambda: harness.results() == {"error": 1})


def test_125_only_the_librarys_own_deadline_is_counted(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(reconcile_timeout=30))

    def act(request: Request) -> None:
        with deadline.limit(harness.clock, 5):
            harness.clock.advance(6)
            deadline.check("something else")

    harness.reconciler.act = act
    harness.start(A)
    eventually(lambda: harness.results() == {"error": 1})

    assert harness.count("reconcile_timeouts_total") == 0


def test_125_a_timeout_of_zero_sets_no_deadline(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(reconcile_timeout=0))
    seen: list[float | None] = []
    harness.reconciler.act = lambda request: seen.append(deadline.remaining())
    harness.start(A)

    eventually(lambda: seen == [None])


COMES_BACK: dict[str, tuple[Callable[[int | None], Result | None], float]] = {
    "error": (lambda priority: fail(), 1),
    "requeue": (lambda priority: Result(requeue=True, priority=priority), 1),
    "requeue_after": (lambda priority: Result(requeue_after=60, priority=priority), 60),
}


def fail() -> Result | None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("way", COMES_BACK)
def test_126_a_request_that_comes_back_keeps_its_priority(harness: Harness, way: str) -> None:
    answer, delay = COMES_BACK[way]
    assert came_back(harness, lambda: answer(None), delay) == [-100]


@pytest.mark.parametrize("way", ["requeue", "requeue_after"])
def test_126_the_priority_of_the_result_takes_the_place_of_the_requests(harness: Harness, way: str) -> None:
    answer, delay = COMES_BACK[way]
    assert came_back(harness, lambda: answer(7), delay) == [7]


def came_back(harness: Harness, answer: Callable[[], Result | None], delay: float) -> list[int]:
    """The priorities, by the metric, of what is queued when a request of low priority has come back."""
    hold, busy = threading.Event(), threading.Event()

    def act(request: Request) -> Result | None:
        if request == B:  # keeps the only worker until A is back in the queue
            busy.set()
            hold.wait(TIMEOUT)
            return None
        return answer() if harness.reconciler.requests.count(A) == 1 else None

    harness.reconciler.act = act
    harness.start()
    assert harness.source.context is not None
    harness.source.context.queue.add_with_options(AddOptions(priority=-100), A)
    harness.clock.wait_for_waiters()
    harness.source.add(B)
    assert busy.wait(TIMEOUT)
    harness.clock.advance(delay)
    eventually(lambda: len(harness.controller._queue) == 1)
    depths = {
        int(sample.labels["priority"]): sample.value
        for family in harness.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "workqueue_depth"
    }
    hold.set()
    eventually(lambda: harness.reconciler.requests == [A, B, A])
    return [priority for priority, depth in depths.items() if depth]


@pytest.mark.parametrize(("use_priority_queue", "order"), [(True, [B, A]), (False, [A, B])])
def test_110_what_is_live_is_reconciled_before_the_initial_list_with_a_priority_queue(
    make: Callable[..., Harness], use_priority_queue: bool, order: list[Request]
) -> None:
    harness = make(ControllerOptions(use_priority_queue=use_priority_queue), source=PushSource(synced=False))
    harness.start()
    assert harness.source.context is not None
    harness.source.context.queue.add_with_options(AddOptions(priority=harness.source.context.low_priority), A)
    harness.source.add(B)
    harness.source.sync()

    eventually(lambda: harness.reconciler.requests == order)


def test_127_every_run_has_an_id_of_its_own_in_its_context_and_in_every_line_of_its_log(harness: Harness) -> None:
    library = structlog.get_logger("some.library")
    ids: list[str] = []
    lines: list[dict[str, Any]] = []

    def note(logger: object, method: str, event: dict[str, Any]) -> None:
        if event["event"] in ("working", "Reconcile failed"):
            lines.append(dict(event))
        raise structlog.DropEvent

    def act(request: Request) -> None:
        ids.append(current_reconcile_id())
        library.info("working")
        helper = threading.Thread(target=within_run(lambda: library.info("working", where="helper")))
        helper.start()
        helper.join()
        raise TerminalError("enough")

    harness.reconciler.act = act
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, note])
    try:
        harness.start(A, B)
        eventually(lambda: len(lines) == 6)
        eventually(harness.queue_is_idle)
    finally:
        structlog.reset_defaults()

    assert len(set(ids)) == 2
    assert current_reconcile_id() == ""
    for run, request in enumerate((A, B)):
        for line in lines[3 * run : 3 * run + 3]:
            assert (
                line.items()
                >= {
                    "controller": "test",
                    "controller_group": "",
                    "controller_kind": "ConfigMap",
                    "ConfigMap": {"namespace": "ns", "name": request.name},
                    "namespace": "ns",
                    "name": request.name,
                    "reconcile_id": ids[run],
                }.items()
            )


def test_127_what_a_run_binds_is_not_in_the_log_of_the_next(harness: Harness) -> None:
    bound: list[dict[str, Any]] = []

    def act(request: Request) -> None:
        bound.append(structlog.contextvars.get_contextvars())
        structlog.contextvars.bind_contextvars(leaked=request.name)

    harness.reconciler.act = act
    harness.start(A, B)
    eventually(lambda: len(bound) == 2)

    assert not any("leaked" in fields for fields in bound)


def test_a_helper_thread_within_a_run_has_its_deadline(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(reconcile_timeout=30))
    seen: list[float | None] = []

    def act(request: Request) -> None:
        with ThreadPoolExecutor(2) as pool:
            seen.extend(pool.map(within_run(lambda _: deadline.remaining()), range(4)))

    harness.reconciler.act = act
    harness.start(A)

    eventually(lambda: seen == [30] * 4)


def test_128_with_warm_up_sources_start_before_leadership_and_only_once_overall(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(enable_warmup=True))  # PushSource refuses a second start
    warming = [threading.Thread(target=harness.controller.warm_up, args=(harness.stop,)) for _ in range(4)]
    for thread in warming:
        thread.start()
    eventually(lambda: harness.source.context)
    harness.source.add(A)
    assert harness.reconciler.requests == []

    harness.start()
    eventually(lambda: harness.reconciler.requests == [A])
    assert harness.end() is None
    for thread in warming:
        thread.join(TIMEOUT)
    assert harness.source.stopped


def test_128_a_warm_up_that_never_comes_to_lead_ends_its_sources(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(enable_warmup=True), source=PushSource(synced=False))
    warming = threading.Thread(target=harness.controller.warm_up, args=(harness.stop,))
    warming.start()
    eventually(lambda: harness.source.context)
    harness.stop.set()
    warming.join(TIMEOUT)

    assert not warming.is_alive()
    assert harness.source.stopped


def test_128_a_source_that_fails_in_the_warm_up_fails_the_start_too(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(enable_warmup=True, cache_sync_timeout=5), source=PushSource(synced=False))
    raised: list[CacheSyncTimeoutError] = []

    def warm_up() -> None:
        try:
            harness.controller.warm_up(threading.Event())
        except CacheSyncTimeoutError as error:
            raised.append(error)

    warming = threading.Thread(target=warm_up)
    warming.start()
    harness.clock.wait_for_waiters(2)  # the source, and the controller for its source
    harness.clock.advance(5)
    warming.join(TIMEOUT)
    harness.start()
    harness.thread.join(TIMEOUT)

    assert "push source: forbidden" in str(raised[0])
    assert isinstance(harness.error, CacheSyncTimeoutError)


def test_128_a_start_while_the_warm_up_fails_leaves_no_source_behind(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(enable_warmup=True, cache_sync_timeout=5), source=PushSource(synced=False))

    class WonTheLeaseJustThen(threading.Event):
        def set(self) -> None:
            harness.start()
            harness.thread.join(TIMEOUT)
            super().set()

    def warm_up() -> None:
        with pytest.raises(CacheSyncTimeoutError):
            harness.controller.warm_up(WonTheLeaseJustThen())

    warming = threading.Thread(target=warm_up)
    warming.start()
    harness.clock.wait_for_waiters(2)  # the source, and the controller for its source
    harness.clock.advance(5)
    warming.join(TIMEOUT)

    assert not warming.is_alive()
    assert isinstance(harness.error, CacheSyncTimeoutError)
    assert harness.source.stopped


def test_129_a_source_added_after_the_warm_up_is_started_and_synced(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(enable_warmup=True))
    warming = threading.Thread(target=harness.controller.warm_up, args=(harness.stop,))
    warming.start()
    eventually(lambda: harness.source.context)
    late = PushSource()
    harness.controller.watch(late)
    assert late.context is not None

    late.add(B)
    harness.start()
    eventually(lambda: harness.reconciler.requests == [B])
    harness.end()
    warming.join(TIMEOUT)
    assert late.stopped


def test_129_a_source_added_while_running_is_started_and_synced(harness: Harness) -> None:
    harness.start(A)
    eventually(lambda: harness.reconciler.requests == [A])
    late = PushSource(synced=False)
    adding = threading.Thread(target=harness.controller.watch, args=(late,))
    adding.start()
    eventually(lambda: late.context)
    assert adding.is_alive()
    late.sync()
    adding.join(TIMEOUT)
    late.add(B)

    eventually(lambda: harness.reconciler.requests == [A, B])
    harness.end()
    assert late.stopped


def test_79_one_request_is_never_reconciled_by_two_workers(make: Callable[..., Harness]) -> None:
    harness = make(ControllerOptions(workers=4))
    running: list[Request] = []
    most: list[int] = []
    twice: list[Request] = []
    lock = threading.Lock()
    all_busy = threading.Barrier(2)

    def act(request: Request) -> None:
        with lock:
            if request in running:
                twice.append(request)
            running.append(request)
            most.append(len(running))
        if request in (A, B) and harness.reconciler.requests.count(request) == 1:
            all_busy.wait(TIMEOUT)
        with lock:
            running.remove(request)

    harness.reconciler.act = act
    harness.start(A, B)
    for _ in range(200):
        harness.source.add(A, B)
    eventually(harness.queue_is_idle)

    assert twice == []
    assert max(most) == 2


def test_a_conflict_is_tried_again_without_a_traceback_in_the_log(harness: Harness) -> None:
    harness.reconciler.act = raises(ConflictError.of("the object has been modified"))
    with structlog.testing.capture_logs() as logs:
        harness.start(A)
        eventually(lambda: harness.results() == {"error": 1})
        harness.clock.wait_for_waiters()
    assert [line["log_level"] for line in logs if "conflict" in line["event"]] == ["info"]
    assert not [line for line in logs if line["event"] == "Reconcile failed"]


def test_other_errors_are_logged_with_their_traceback(harness: Harness) -> None:
    harness.reconciler.act = raises(RuntimeError("broken"))
    with structlog.testing.capture_logs() as logs:
        harness.start(A)
        eventually(lambda: harness.results() == {"error": 1})
        harness.clock.wait_for_waiters()
    failed = [line for line in logs if line["event"] == "Reconcile failed"]

    assert [(line["error"], line["log_level"]) for line in failed] == [("broken", "error")]
    assert isinstance(failed[0]["exc_info"], RuntimeError)


def traces(harness: Harness, error: Exception, failures: int) -> list[object]:
    """Whether each of the first failures was logged with a traceback."""
    harness.reconciler.act = raises(*[error] * failures)
    with structlog.testing.capture_logs() as logs:
        harness.start(A)
        for count in range(1, failures + 1):
            eventually(lambda count=count: harness.results() == {"error": count})  # type: ignore[misc]
            harness.clock.wait_for_waiters()
            harness.clock.advance(100)
    return [line["exc_info"] is not None for line in logs if line["event"] == "Reconcile failed"][:failures]


def test_an_error_of_the_library_is_logged_with_its_traceback_once_in_a_row(harness: Harness) -> None:
    assert traces(harness, ForbiddenError.of("no right to do that"), 3) == [True, False, False]


def test_another_error_is_logged_with_its_traceback_each_time(harness: Harness) -> None:
    assert traces(harness, RuntimeError("broken"), 2) == [True, True]


def test_a_kind_that_cannot_be_read_is_logged_in_a_line(harness: Harness) -> None:
    assert traces(harness, KindNotServedError("the server does not serve it"), 2) == [False, False]


def test_what_is_queued_when_the_controller_stops_is_left(harness: Harness) -> None:
    harness.reconciler.act = lambda request: harness.stop.set()
    harness.start(A, B)
    harness.thread.join(TIMEOUT)

    assert harness.error is None
    assert harness.reconciler.requests == [A]
    assert harness.source.stopped


@pytest.mark.parametrize("refused", ["test-source", "test-1"])
def test_a_machine_without_threads_to_spare_fails_the_start(
    make: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    start = threading.Thread.start

    def start_some(thread: threading.Thread) -> None:
        if thread.name == refused:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    harness = make(ControllerOptions(workers=3))
    harness.thread.start()
    harness.thread.join(TIMEOUT)

    assert str(harness.error) == "can't start new thread"
    assert harness.source.stopped


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"workers": 0}, ValueError, "at least one worker, not 0"),
        ({"workers": "2"}, TypeError, "write a whole number"),
        ({"reconcile_timeout": -1.0}, ValueError, "below zero"),
    ],
)
def test_options_that_cannot_work_are_refused_where_they_are_written(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ControllerOptions(**options)
