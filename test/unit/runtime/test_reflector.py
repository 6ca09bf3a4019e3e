"""The reflector, stepped by hand against a scripted server. Numbers are statements of reference/runtimes.md 2.1, 2.2.

Streamed lists (2.3) are in test_watchlist.py.
"""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.reflecting import ONE, Rig, rig
from support.scripted import (
    EOF,
    OPEN,
    ScriptedListerWatcher,
    StepClock,
    bookmark,
    config_map,
    error_event,
    event,
    eventually,
    page,
)

from localmodel.runtime.backoff import Backoff
from localmodel.runtime.errors import (
    ApiError,
    ExpiredError,
    ForbiddenError,
    InternalError,
    NotFoundError,
    ServerTimeoutError,
    ServiceUnavailableError,
    TooManyRequestsError,
    TransportError,
    UnauthorizedError,
    make_status,
)
from localmodel.runtime.listwatch import WatchEvent
from localmodel.runtime.phase import Phase
from localmodel.runtime.reflector import Listing, Stopped, Waiting, Watching

EXPIRED = ExpiredError.of("too old resource version: 10 (20)")
BUSY = TooManyRequestsError.of("slow down")
REFUSED = TransportError("connection refused")
BUG = RuntimeError("bug")


def too_large(shape: str) -> ApiError:
    message = "Too large resource version: 99, current: 10"
    if shape == "reason":
        return ServerTimeoutError.of("Timeout", details={"causes": [{"reason": "ResourceVersionTooLarge"}]})
    if shape == "cause message":
        return ServerTimeoutError.of("Timeout", details={"causes": [{"message": message}]})
    return ServerTimeoutError.of(f"Timeout: {message}")


# 2.1 list


def test_1_the_first_list_asks_version_0_and_a_relist_the_last_synced_one() -> None:
    r = rig(watches=[[error_event(EXPIRED.status)]])
    r.step(3)
    assert r.server.requests == ["list 0", "watch 10", "list 10"]


def test_2_after_expired_the_next_list_goes_out_at_once_for_the_newest_state() -> None:
    r = rig(page(10, ONE), EXPIRED, page(20), watches=[EXPIRED])
    r.step(4)
    assert r.server.requests == ["list 0", "watch 10", "list 10", "list -"]
    assert r.clock.waits == []


def test_2_an_expired_list_of_the_newest_state_is_backed_off() -> None:
    r = rig(EXPIRED)
    r.step(3)
    assert r.server.requests == ["list 0", "list -"]
    assert len(r.clock.waits) == 1
    assert r.reflector.state == Listing(newest=True)


def test_3_an_expired_later_page_is_made_up_for_by_one_full_list_at_the_same_version() -> None:
    r = rig(page(30, ONE, continue_="next"), EXPIRED, page(31, ONE, config_map("b", 6)))
    r.step()
    assert [(o.resource_version, o.limit, o.continue_) for o in r.server.lists] == [
        ("0", 500, ""),
        ("", 500, "next"),
        ("0", 0, ""),
    ]
    assert r.sink.calls == [("replace", ["a", "b"], "31")]


def test_3_only_when_the_full_list_expires_too_is_the_newest_state_asked_for() -> None:
    r = rig(page(30, ONE, continue_="next"), EXPIRED, EXPIRED, page(31))
    r.step(2)
    assert r.server.requests == ["list 0", "list next", "list 0", "list -"]


@pytest.mark.parametrize("shape", ["reason", "cause message", "old timeout"])
def test_4_too_large_a_version_in_any_shape_leads_to_an_immediate_list_of_the_newest_state(shape: str) -> None:
    r = rig(page(99, ONE), too_large(shape), page(10), watches=[EXPIRED])
    r.step(4)
    assert r.server.requests == ["list 0", "watch 99", "list 99", "list -"]
    assert r.clock.waits == []


def test_5_a_list_at_a_known_version_is_not_paginated_and_of_the_newest_state_it_is() -> None:
    r = rig(page(10), EXPIRED, page(20), watches=[EXPIRED])
    r.step(4)
    assert [(o.resource_version, o.limit) for o in r.server.lists] == [("0", 500), ("10", 0), ("", 500)]


def test_6_a_server_that_cuts_a_list_at_version_0_gets_paginated_lists_later() -> None:
    r = rig(page(10, continue_="next"), page(10), watches=[EXPIRED])
    r.step(3)
    assert [(o.resource_version, o.limit) for o in r.server.lists][-1] == ("10", 500)


def test_7_a_configured_page_size_replaces_500_on_all_lists() -> None:
    r = rig(page(10, continue_="next"), page(10), EXPIRED, page(10), watches=[EXPIRED], page_size=4)
    r.step(4)
    assert [o.limit for o in r.server.lists] == [4, 4, 4, 4]


def test_8_a_continuation_carries_the_token_and_no_version() -> None:
    r = rig(page(10, ONE, continue_="next"), page(10))
    r.step()
    following = r.server.lists[1]
    assert (following.continue_, following.resource_version, following.resource_version_match) == ("next", "", "")


def test_9_an_expired_first_page_is_never_a_silent_full_list() -> None:
    r = rig(EXPIRED, page(10))
    r.step()
    assert r.server.requests == ["list 0"]
    assert r.sink.calls == []


@pytest.mark.parametrize(
    "error",
    [UnauthorizedError.of("who?"), InternalError.of("oops"), ServiceUnavailableError.of("soon"), REFUSED, BUG],
)
def test_10_a_list_error_is_reported_and_backed_off_and_listed_again(error: Exception) -> None:
    r = rig(error, page(10, ONE))
    r.step()
    assert "list" in r.reflector.last_error or "unexpected" in r.reflector.last_error
    assert str(error) in r.reflector.last_error
    assert (r.reflector.phase, r.reflector.stats.failures) == (Phase.FAILING, 1)
    r.step(2)
    assert r.server.requests == ["list 0", "list 0"]
    assert (r.reflector.last_error, r.reflector.phase) == ("", Phase.WATCHING)


def test_10_a_list_error_starts_with_failed_to_list_and_names_the_resource() -> None:
    r = rig(ForbiddenError.of('configmaps is forbidden: User "x" cannot list resource'), namespace="team")
    r.step()
    assert r.reflector.last_error.startswith("failed to list configmaps in namespace team: Forbidden (403): ")


def test_a_missing_kind_is_asked_for_at_least_every_ten_seconds() -> None:
    r = rig(*[NotFoundError.of("the server could not find the requested resource")] * 10)
    delays = []
    while len(delays) < 10:
        r.step()
        if isinstance(r.reflector.state, Waiting):
            delays.append(r.reflector.state.delay)
    assert max(delays) == 10.0


def test_a_missing_kind_is_a_visible_state_that_ends_when_the_crd_arrives() -> None:
    r = rig(NotFoundError.of("the server could not find the requested resource"), page(10))
    r.step()
    assert r.reflector.phase is Phase.KIND_MISSING
    assert "is its CRD installed?" in r.reflector.last_error
    r.step()
    assert r.reflector.phase is Phase.KIND_MISSING, "the state stays while the list is tried again"
    r.step()
    assert r.reflector.phase is Phase.WATCHING


def test_forbidden_is_a_visible_state_that_ends_when_the_right_is_granted() -> None:
    r = rig(ForbiddenError.of("no"), page(10))
    r.step()
    assert r.reflector.phase is Phase.FORBIDDEN
    r.step(2)
    assert r.reflector.phase is Phase.WATCHING


def test_11_delays_start_at_800_ms_double_to_30_s_with_up_to_full_jitter() -> None:
    clock = StepClock()
    backoff = Backoff(clock=clock, rng=random.Random(3))
    delays = [backoff.next_delay() for _ in range(9)]
    for delay, base in zip(delays, [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30], strict=True):
        assert base <= delay <= 2 * base


def test_11_delays_start_anew_after_two_minutes_without_failure() -> None:
    clock = StepClock()
    backoff = Backoff(clock=clock)
    for _ in range(5):
        backoff.next_delay()
    clock.advance(119)
    assert backoff.next_delay() >= 25.6
    clock.advance(121)
    assert backoff.next_delay() <= 1.6


def test_the_servers_retry_after_is_honoured() -> None:
    r = rig(TooManyRequestsError.of("slow", details={"retryAfterSeconds": 17}), page(10))
    r.step(2)
    assert r.clock.waits == [17]


def test_12_a_stop_before_the_run_makes_no_request() -> None:
    r = rig()
    r.reflector.stop()
    r.reflector.run()
    assert r.server.requests == []
    assert r.reflector.state == Stopped()


def test_13_a_stop_during_a_slow_list_hands_nothing_to_the_store() -> None:
    def slow() -> Any:
        r.reflector.stop()
        return page(10, ONE)

    r = rig(slow)
    r.reflector.run()
    assert r.sink.calls == []


def test_26_an_unreadable_item_of_a_list_is_dropped_and_the_rest_is_kept() -> None:
    r = rig(page(10, b'{"metadata":{}}', ONE))
    r.step()
    assert r.sink.calls == [("replace", ["a"], "10")]


# 2.2 watch


def test_14_the_watch_starts_at_the_version_of_the_list_and_asks_for_bookmarks() -> None:
    r = rig(watches=[[EOF]], namespace="n", labels="a=b", fields="metadata.name=x")
    r.step(2)
    (options,) = r.server.watches
    assert (options.resource_version, options.allow_bookmarks, options.send_initial_events) == ("10", True, None)
    assert (options.namespace, options.label_selector, options.field_selector) == ("n", "a=b", "metadata.name=x")


@pytest.mark.parametrize(("minimum", "low"), [(300, 300), (100, 300), (900, 900)])
def test_15_the_servers_timeout_is_random_between_one_and_two_times_the_minimum(minimum: int, low: int) -> None:
    r = rig(watches=[[event("ADDED", config_map("a", n)), EOF] for n in range(11, 111)], min_watch_timeout=minimum)
    r.step(101)
    timeouts = [options.timeout_seconds for options in r.server.watches]
    assert len(timeouts) == 100
    assert low <= min(timeouts) < low * 1.1
    assert low * 1.9 < max(timeouts) < low * 2


def test_16_a_clean_end_is_followed_by_a_watch_from_the_last_version_without_a_list() -> None:
    r = rig(watches=[[event("ADDED", config_map("b", 12)), EOF], [EOF]])
    r.step(3)
    assert r.server.requests == ["list 0", "watch 10", "watch 12"]
    assert r.clock.waits == []


def test_16_a_quiet_watch_that_ran_to_its_timeout_is_a_clean_end() -> None:
    r = rig()
    r.server.then_watch(r.lasting(EOF), r.lasting(EOF))
    r.step(3)
    assert r.server.requests == ["list 0", "watch 10", "watch 10"]
    assert r.clock.waits == []


def test_17_a_stream_that_ends_within_a_second_without_news_is_a_failure() -> None:
    r = rig(watches=[[EOF], [bookmark(10), EOF]])
    r.step(2)
    assert isinstance(r.reflector.state, Waiting)
    assert "very short watch" in r.reflector.last_error
    r.step(2)
    assert isinstance(r.reflector.state, Waiting)
    assert r.server.requests == ["list 0", "watch 10", "watch 10"]


def test_short_watches_in_a_row_are_taken_for_a_stale_version() -> None:
    """3.1 no. 14: some servers close a watch at once instead of answering 410."""
    r = rig(watches=[[EOF], [EOF], [EOF]])
    r.step(8)
    assert r.server.requests == ["list 0", "watch 10", "watch 10", "watch 10", "list -"]
    assert len(r.clock.waits) == 3


@pytest.mark.parametrize("error", [REFUSED, BUSY])
def test_18_refused_or_429_at_watch_start_waits_and_watches_again_without_a_list(error: Exception) -> None:
    r = rig(watches=[error, error, error, error, [EOF]])
    r.step(10)
    assert r.server.requests == ["list 0"] + ["watch 10"] * 5
    assert r.clock.waits[0] < r.clock.waits[-1]


def test_19_429_within_the_stream_is_treated_alike() -> None:
    r = rig(watches=[[error_event(BUSY.status)], [EOF]])
    r.step(4)
    assert r.server.requests == ["list 0", "watch 10", "watch 10"]
    assert len(r.clock.waits) == 1


@pytest.mark.parametrize("answer", [EXPIRED, [error_event(EXPIRED.status)]])
def test_20_410_leads_to_a_list_and_is_no_failure(answer: Any) -> None:
    r = rig(watches=[answer])
    with capture_logs() as logs:
        r.step(3)
    assert r.server.requests == ["list 0", "watch 10", "list 10"]
    assert (r.reflector.stats.failures, r.clock.waits) == (0, [])
    assert {entry["log_level"] for entry in logs} == {"debug"}


def test_410_right_after_a_list_is_backed_off_and_the_newest_state_listed() -> None:
    """3.1 no. 18: a server whose lists are older than its watch history must not be asked in a tight loop."""
    r = rig(watches=[EXPIRED, EXPIRED, EXPIRED])
    r.step(6)
    assert r.server.requests == ["list 0", "watch 10", "list 10", "watch 10", "list -"]
    assert len(r.clock.waits) == 1


def internal_errors(r: Rig, seconds: list[float]) -> None:
    """Steps through watches that each end by an InternalError after so many seconds, and what follows on each."""
    for pause in seconds:
        r.server.then_watch([r.pause(pause), error_event(InternalError.of("oops").status)])
        r.step(2)


def test_21_an_internal_error_within_a_watch_is_listed_again_by_default() -> None:
    r = rig()
    r.step()
    internal_errors(r, [5])
    r.step()
    assert r.server.requests == ["list 0", "watch 10", "list 10"]
    assert len(r.clock.waits) == 1


def test_21_an_internal_error_is_retried_on_the_watch_path_for_at_most_the_configured_time() -> None:
    r = rig(internal_error_retry_seconds=60)
    r.step()
    internal_errors(r, [5, 5, 5, 5, 40])
    assert r.server.requests == ["list 0"] + ["watch 10"] * 5
    r.step()
    assert r.server.requests[-1] == "list 10", "the window was open for a minute since the first error"
    assert len(r.clock.waits) == 5


def test_21_an_error_after_a_quiet_minute_opens_the_window_anew() -> None:
    r = rig(internal_error_retry_seconds=30)
    r.step()
    internal_errors(r, [5, 100, 200])
    assert r.reflector.state == Watching()
    assert r.server.requests == ["list 0"] + ["watch 10"] * 3


def test_21_an_internal_error_instead_of_a_watch_is_not_retried_on_the_watch_path() -> None:
    r = rig(watches=[InternalError.of("oops")], internal_error_retry_seconds=60)
    r.step(4)
    assert r.server.requests == ["list 0", "watch 10", "list 10"]


@pytest.mark.parametrize(
    "status",
    [make_status("StoreReadError", 500, "unsafe delete"), UnauthorizedError.of("who?").status, {"message": "odd"}],
)
def test_22_any_other_error_event_is_a_warning_and_then_a_list_and_a_replace(status: dict[str, Any]) -> None:
    r = rig(page(10, ONE), page(20), watches=[[event("ADDED", config_map("b", 12)), error_event(status)]])
    with capture_logs() as logs:
        r.step(4)
    assert r.server.requests == ["list 0", "watch 10", "list 12"]
    assert len(r.clock.waits) == 1
    assert [entry["log_level"] for entry in logs] == ["warning", "info"]
    assert r.sink.calls == [("replace", ["a"], "10"), ("ADDED", "b", "12"), ("replace", [], "20")]


def test_an_error_event_without_a_status_is_an_error_like_any_other() -> None:
    r = rig(watches=[[event("ERROR", b"nonsense")]])
    r.step(2)
    assert "without a Status" in r.reflector.last_error


@pytest.mark.parametrize("error", [ForbiddenError.of("no"), NotFoundError.of("gone"), InternalError.of("oops")])
def test_any_other_refusal_of_a_watch_is_backed_off_and_listed_again(error: ApiError) -> None:
    r = rig(watches=[error])
    r.step(4)
    assert r.server.requests == ["list 0", "watch 10", "list 10"]
    assert len(r.clock.waits) == 1


def test_23_a_failure_that_repeats_is_logged_loudly_once() -> None:
    """A refused dial included, which client-go hides: a program whose server is away should say so."""
    r = rig(watches=[REFUSED, REFUSED, REFUSED])
    with capture_logs() as logs:
        r.step(7)
    assert [entry["log_level"] for entry in logs] == ["warning", "debug", "debug"]


def test_23_an_unexpected_end_of_a_stream_is_quiet() -> None:
    r = rig(watches=[[event("ADDED", config_map("b", 12)), TransportError("IncompleteRead")]])
    r.server.then_watch(r.lasting(TransportError("IncompleteRead")))
    with capture_logs() as logs:
        r.step(3)
    assert {entry["log_level"] for entry in logs} <= {"debug"}
    assert (r.reflector.last_error, r.clock.waits) == ("", [])


def test_24_the_version_to_resume_from_is_that_of_the_last_event_whatever_its_value() -> None:
    r = rig(watches=[[event("ADDED", config_map("a", 55)), event("ADDED", config_map("b", 32)), EOF]])
    r.step(2)
    assert r.reflector.resource_version == "32"


def test_25_a_bookmark_moves_the_version_and_is_no_event() -> None:
    r = rig(watches=[[bookmark(40), EOF]])
    r.step(2)
    assert r.reflector.resource_version == "40"
    assert r.sink.calls[1:] == [("bookmark", "40")]


@pytest.mark.parametrize(
    "bad",
    [
        event("ADDED", b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","resourceVersion":"11"}}'),
        event("ADDED", b"{"),
        event("BOOKMARK", b"{}"),
        bookmark(""),
        event("RENAMED", ONE),
    ],
)
def test_26_an_unexpected_event_is_dropped_with_an_error_line_and_the_stream_goes_on(bad: WatchEvent) -> None:
    r = rig(watches=[[bad, event("ADDED", config_map("b", 12)), EOF]])
    with capture_logs() as logs:
        r.step(2)
    assert r.sink.calls[1:] == [("ADDED", "b", "12")]
    assert r.reflector.stats.dropped == 1
    assert [entry["log_level"] for entry in logs] == ["error"]


class NoEvent(WatchEvent, frozen=True):
    """What a broken stream brought."""

    def verify(self) -> None:
        raise TransportError("not JSON")


@pytest.mark.parametrize("use_watch_list", [True, False])
def test_what_is_no_event_at_all_breaks_the_watch_and_is_not_dropped(use_watch_list: bool) -> None:
    bad = [NoEvent("MODIFIED", b"{")]
    r = rig(streams=[bad]) if use_watch_list else rig(watches=[[event("ADDED", config_map("b", 12)), *bad]])
    r.step(2 - use_watch_list)
    assert r.reflector.stats.dropped == 0
    assert r.sink.calls[1:] == ([] if use_watch_list else [("ADDED", "b", "12")])
    assert r.server.streams[0].closes == 1


@pytest.mark.parametrize("script", [[EOF], [REFUSED], [error_event(EXPIRED.status)], [RuntimeError("bug")]])
def test_27_the_stream_is_closed_exactly_once_on_every_path_out(script: Any) -> None:
    r = rig(watches=[script])
    r.step(2)
    assert [stream.closes for stream in r.server.streams] == [1]


def test_27_a_stop_closes_the_stream_once_too() -> None:
    r = rig()
    r.server.then_watch([event("ADDED", config_map("b", 12)), r.reflector.stop, OPEN])
    r.step(2)
    assert [stream.closes for stream in r.server.streams] == [1]
    assert (r.reflector.stats.failures, r.reflector.state) == (0, Stopped())


def test_28_silence_is_limited_by_the_end_that_the_server_was_asked_for_until_a_bookmark_was_seen() -> None:
    r = rig(watches=[[event("ADDED", config_map("b", 12)), bookmark(13), bookmark(14), EOF]])
    r.step(2)
    (options,) = r.server.watches
    assert options.silence_seconds == options.timeout_seconds + 30
    assert r.server.streams[0].silences == [90.0]


def test_28_a_silent_stream_is_dropped_and_watched_again_at_once_the_first_time_only() -> None:
    silence = TransportError("silent for too long")
    r = rig()
    r.server.then_watch(r.lasting(silence), r.lasting(silence))
    r.step(2)
    assert r.clock.waits == []
    r.step(2)
    assert len(r.clock.waits) == 1
    assert r.server.requests == ["list 0", "watch 10", "watch 10"]


def test_a_stream_that_breaks_after_news_is_watched_again_at_once() -> None:
    r = rig(watches=[[event("ADDED", config_map("b", 12)), TransportError("reset")]])
    r.step(2)
    assert (r.reflector.state, r.clock.waits) == (Watching(), [])


def test_an_unexpected_exception_is_logged_counted_and_healed_by_a_list() -> None:
    r = rig(watches=[[RuntimeError("bug")]])
    with capture_logs() as logs:
        r.step(4)
    assert r.server.requests == ["list 0", "watch 10", "list 10"]
    assert (r.reflector.stats.failures, len(r.clock.waits)) == (1, 1)
    assert logs[0]["exc_info"] is True


@pytest.mark.parametrize(
    "watches",
    [
        [],
        [EXPIRED] * 99,
        [[EOF]] * 99,
        [REFUSED] * 99,
        [[RuntimeError("bug")]] * 99,
        [[bookmark(10)]] * 99,
        [[bookmark(11), error_event(EXPIRED.status)]] * 99,
    ],
)
@pytest.mark.parametrize("lists", [[page(10)], [EXPIRED], [REFUSED], [ForbiddenError.of("no")], [RuntimeError("bug")]])
def test_nothing_a_server_does_makes_a_tight_loop(lists: list[Any], watches: list[Any]) -> None:
    r = rig(*lists, watches=[[*w, EOF] if isinstance(w, list) else w for w in watches] or [[EOF]] * 99)
    with capture_logs():
        r.step(60)
    assert len(r.server.requests) <= 2 * len(r.clock.waits) + 4


def test_stop_closes_an_open_watch_from_another_thread_and_the_run_ends() -> None:
    r = rig(watches=[[OPEN]])
    thread = threading.Thread(target=r.reflector.run)
    thread.start()
    eventually(lambda: r.server.streams)
    r.reflector.stop()
    thread.join(1.0)
    assert not thread.is_alive()
    assert r.reflector.phase is Phase.STOPPED


def test_a_stop_while_the_watch_is_being_opened_closes_it() -> None:
    class Racing(ScriptedListerWatcher):
        def watch(self, kind: Any, options: Any) -> Any:
            r.reflector.stop()
            return super().watch(kind, options)

    r = rig()
    r.reflector.lister_watcher = Racing([page(10)])
    r.step(2)
    assert r.reflector.state == Stopped()
