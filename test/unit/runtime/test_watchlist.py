"""Streamed lists, stepped by hand against a scripted server. Numbers are statements of reference/runtimes.md 2.3.

Promise 39, that test servers send the marker, is in runtime_testing/test_registry_watches.py.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.reflecting import ONE, Rig, rig
from support.scripted import EOF, OPEN, bookmark, config_map, error_event, event, eventually, marker, page

from localmodel.runtime.errors import (
    ApiError,
    BadRequestError,
    ExpiredError,
    ForbiddenError,
    InternalError,
    InvalidError,
    MethodNotAllowedError,
    NotFoundError,
    ServerTimeoutError,
    TooManyRequestsError,
    TransportError,
)
from localmodel.runtime.listwatch import WatchEvent
from localmodel.runtime.phase import Phase
from localmodel.runtime.reflector import ReflectorOptions, Stopped, Streaming, Waiting, Watching

EXPIRED = ExpiredError.of("too old resource version: 10 (20)")
TOO_LARGE = ServerTimeoutError.of("Timeout", details={"causes": [{"reason": "ResourceVersionTooLarge"}]})
ADDED = event("ADDED", ONE)
REFUSED = TransportError("connection refused")


def added(name: str, version: int) -> WatchEvent:
    return event("ADDED", config_map(name, version))


def test_30_the_request_asks_for_initial_events_and_bookmarks_without_a_version_or_with_the_last() -> None:
    """That the first becomes sendInitialEvents=true and resourceVersionMatch=NotOlderThan is in test_list_over_http."""
    r = rig(streams=[[ADDED, marker(10), error_event(EXPIRED.status)], [marker(20)]], labels="a=b", namespace="n")
    r.step(3)
    assert r.server.requests == ["stream -", "stream 10"]
    for options in r.server.watches:
        assert (options.send_initial_events, options.allow_bookmarks) == (True, True)
        assert (options.label_selector, options.namespace) == ("a=b", "n")
        assert 300 <= options.timeout_seconds < 600


def test_30_lists_are_streamed_unless_that_is_switched_off() -> None:
    assert ReflectorOptions().use_watch_list
    r = rig(watches=[[EOF]])
    assert not r.reflector.options.use_watch_list
    r.step(2)
    assert r.server.requests == ["list 0", "watch 10"]


def test_31_nothing_reaches_the_store_before_the_marker() -> None:
    seen: list[Any] = []
    r = rig(streams=[[ADDED, added("b", 6), lambda: seen.extend(r.sink.calls), marker(10)]])
    r.step()
    assert seen == []
    assert r.sink.calls == [("replace", ["a", "b"], "10")]


@pytest.mark.parametrize("no_marker", [marker(10, "false"), marker(10, ""), bookmark(10)])
def test_32_only_the_annotation_with_the_value_true_is_the_marker(no_marker: WatchEvent) -> None:
    r = rig(streams=[[ADDED, no_marker, added("b", 6), marker(11), EOF]])
    r.step()
    assert r.sink.calls == [("replace", ["a", "b"], "11")]


def test_33_at_the_marker_the_store_is_replaced_once_and_the_stream_goes_on_as_the_watch() -> None:
    r = rig(streams=[[ADDED, marker(10), added("b", 11), bookmark(12), EOF]], watches=[[EOF]])
    r.step()
    assert r.reflector.resource_version == "10"
    assert isinstance(r.reflector.state, Watching)
    assert r.reflector.state.opened is not None
    assert r.reflector.phase is Phase.WATCHING
    r.step(2)
    assert r.server.requests == ["stream -", "watch 12"]
    assert r.sink.calls == [("replace", ["a"], "10"), ("ADDED", "b", "11"), ("bookmark", "12")]
    assert [stream.closes for stream in r.server.streams] == [1, 1]


def test_33_the_markers_version_is_where_the_next_watch_starts() -> None:
    r = rig(streams=[[added("a", 55), marker(32), EOF]], watches=[[EOF]])
    r.step(3)
    assert r.server.requests == ["stream -", "watch 32"]
    assert r.clock.waits == [], "a stream that ends behind the marker has brought something"


def test_34_changes_before_the_marker_go_to_the_temporary_store() -> None:
    stream = [
        added("a", 5),
        added("b", 6),
        event("MODIFIED", config_map("a", 7)),
        event("DELETED", config_map("b", 8)),
        event("DELETED", config_map("c", 9)),
        event("MODIFIED", config_map("d", 10)),
        marker(10),
    ]
    r = rig(streams=[stream])
    r.step()
    assert r.sink.calls == [("replace", ["a", "d"], "10")]


@pytest.mark.parametrize("end", [EOF, TransportError("reset")])
def test_35_a_stream_that_ends_before_the_marker_is_asked_for_again(end: Any) -> None:
    r = rig(streams=[[ADDED, end], [ADDED, added("b", 6), marker(10)]])
    r.step(3)
    assert r.server.requests == ["stream -", "stream -"]
    assert r.sink.calls == [("replace", ["a", "b"], "10")], "nothing of the first stream is left over"
    assert len(r.clock.waits) == 1
    assert (r.reflector.last_error, r.server.streams[0].closes) == ("", 1)


@pytest.mark.parametrize(
    "refusal",
    [
        InvalidError.of("sendInitialEvents is forbidden"),
        BadRequestError.of("unknown parameter"),
        MethodNotAllowedError.of("watch is not supported"),
    ],
)
@pytest.mark.parametrize("within", [False, True])
def test_35_what_is_invalid_or_unsupported_is_listed_and_watched_at_once_and_for_good(
    refusal: ApiError, within: bool
) -> None:
    r = rig(streams=[[ADDED, error_event(refusal.status)] if within else refusal], watches=[EXPIRED])
    with capture_logs() as logs:
        r.step(4)
    assert r.server.requests == ["stream -", "list 0", "watch 10", "list 10"]
    assert (r.clock.waits, r.reflector.stats.failures) == ([], 0)
    assert r.sink.calls[0] == ("replace", ["a"], "10")
    assert {entry["log_level"] for entry in logs} == {"info", "debug"}


@pytest.mark.parametrize("within", [False, True])
def test_36_429_is_retried_as_a_stream(within: bool) -> None:
    busy = TooManyRequestsError.of("slow", details={"retryAfterSeconds": 17})
    r = rig(streams=[[ADDED, error_event(busy.status)] if within else busy] * 5 + [[marker(10)]])
    r.step(11)
    assert r.server.requests == ["stream -"] * 6
    assert r.clock.waits[0] == 17
    assert len(r.clock.waits) == 5


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("error", [EXPIRED, TOO_LARGE])
def test_36_expired_or_too_large_is_streamed_again_at_once_for_the_newest_state(error: ApiError, within: bool) -> None:
    answer = [ADDED, error_event(error.status)] if within else error
    r = rig(streams=[[ADDED, marker(99), error_event(EXPIRED.status)], answer, [marker(20)]])
    r.step(4)
    assert r.server.requests == ["stream -", "stream 99", "stream -"]
    assert r.clock.waits == []


def test_36_an_expired_stream_of_the_newest_state_is_backed_off() -> None:
    r = rig(streams=[EXPIRED, EXPIRED, EXPIRED])
    r.step(3)
    assert r.server.requests == ["stream -", "stream -"]
    assert r.reflector.state == Streaming(newest=True)
    assert len(r.clock.waits) == 1


def slow(r: Rig, count: int, seconds: float) -> list[Any]:
    """A stream that brings a new object every so many seconds."""
    return [step for number in range(count) for step in (r.pause(seconds), added(f"m{number}", number + 1))]


def test_37_without_a_marker_a_warning_every_ten_seconds_names_the_reflector() -> None:
    r = rig(streams=[], namespace="team")
    r.server.then_stream([*slow(r, 14, 2), marker(20)])
    with capture_logs() as logs:
        r.step()
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [(entry["kind"], entry["namespace"], entry["seconds"]) for entry in warnings] == [
        ("ConfigMap", "team", 10),
        ("ConfigMap", "team", 20),
    ]
    assert len(r.sink.calls[0][1]) == 14


def test_38_after_three_incomplete_streams_in_a_row_the_reflector_lists_for_good() -> None:
    r = rig(streams=[[ADDED, EOF]] * 99, watches=[EXPIRED])
    r.step(8)
    assert r.server.requests == ["stream -"] * 3 + ["list 0", "watch 10", "list 10"]
    assert sum(r.clock.waits) < 5, "nobody waits longer for a server that cannot do it"
    assert r.reflector.last_error == ""


def test_38_a_complete_stream_makes_up_for_incomplete_ones() -> None:
    complete = [marker(10), error_event(EXPIRED.status)]
    r = rig(streams=[[EOF], [EOF], complete, [EOF], [EOF], complete])
    r.step(11)
    assert r.server.requests == ["stream -"] * 3 + ["stream 10"] * 3


def test_38_a_stream_that_falls_silent_before_the_marker_is_given_up_at_once_for_a_list() -> None:
    """So does a server that ignores the option: it sends its objects and waits for changes."""
    r = rig(streams=[])
    r.server.then_stream([ADDED, added("leaked", 6), r.pause(5), TransportError("silent for too long")])
    r.step(2)
    assert r.server.watches[0].silence_seconds == 5.0
    assert r.server.requests == ["stream -", "list 0"]
    assert (r.clock.waits, r.sink.calls) == ([], [("replace", ["a"], "10")])
    assert r.server.streams[0].closes == 1


def test_38_a_server_that_does_not_even_answer_is_given_up_at_once_for_a_list() -> None:
    r = rig(streams=[])
    request = r.server.watch

    def slow_watch(kind: Any, options: Any) -> Any:
        r.clock.advance(5)
        request(kind, options)
        raise TransportError("timed out")

    r.server.watch = slow_watch  # type: ignore[method-assign]
    r.step(2)
    assert r.server.requests == ["stream -", "list 0"]


def test_38_changes_of_objects_that_were_sent_do_not_keep_a_stream_going() -> None:
    changes = [step for n in range(9) for step in (lambda: r.clock.advance(1), event("MODIFIED", config_map("a", n)))]
    r = rig(streams=[[ADDED, bookmark(6), *changes]])
    r.step(2)
    assert r.server.requests == ["stream -", "list 0"]
    assert r.clock.elapsed < 1006


def test_38_a_stream_that_always_brings_something_new_has_thirty_seconds() -> None:
    r = rig(streams=[])
    r.server.then_stream(slow(r, 99, 4))
    r.step(2)
    assert r.server.requests == ["stream -", "list 0"]
    assert r.clock.elapsed < 1036


def test_38_silent_streams_end_the_streaming_for_good_as_well() -> None:
    r = rig(streams=[])
    r.server.then_watch(*[r.lasting(bookmark(11), error_event(EXPIRED.status))] * 3)
    r.server.then_stream(*[[r.pause(5), TransportError("silent")]] * 9)
    r.step(10)
    assert r.server.requests == ["stream -", "list 0", "watch 10", *["stream 11", "list 11", "watch 10"] * 2, "list 11"]


@pytest.mark.parametrize("within", [False, True])
def test_38_a_server_error_counts_as_an_incomplete_stream(within: bool) -> None:
    oops = InternalError.of("oops")
    r = rig(streams=[[error_event(oops.status)] if within else oops] * 3)
    r.step(6)
    assert r.server.requests == ["stream -"] * 3 + ["list 0"]


@pytest.mark.parametrize("error", [REFUSED, ForbiddenError.of("no"), NotFoundError.of("no such kind")])
def test_what_a_list_would_meet_too_is_waited_for_and_streamed_again(error: Exception) -> None:
    r = rig(streams=[error] * 8 + [[marker(10)]])
    r.step(16)
    assert isinstance(r.reflector.state, Streaming)
    assert r.reflector.last_error.startswith("failed to list configmaps: ")
    assert r.reflector.phase is Phase.of_failure(error)
    r.step()
    assert r.server.requests == ["stream -"] * 9
    assert (r.reflector.phase, r.reflector.last_error) == (Phase.WATCHING, "")


def test_a_new_list_is_streamed_from_the_last_version_after_an_error() -> None:
    r = rig(streams=[[ADDED, marker(10), error_event(InternalError.of("oops").status)], [marker(11)]])
    r.step(4)
    assert r.server.requests == ["stream -", "stream 10"]
    assert [call[0] for call in r.sink.calls] == ["replace", "replace"]


def test_410_right_after_the_marker_is_backed_off_and_the_newest_state_streamed() -> None:
    stream = [marker(10), error_event(EXPIRED.status)]
    r = rig(streams=[stream, stream, stream])
    r.step(6)
    assert r.server.requests == ["stream -", "stream 10", "stream -"]
    assert len(r.clock.waits) == 1


def test_26_an_unreadable_initial_event_is_dropped_and_the_rest_is_kept() -> None:
    bad = [event("ADDED", b'{"metadata":{}}'), event("RENAMED", ONE), event("BOOKMARK", b"{}"), event("ADDED", b"{")]
    r = rig(streams=[[*bad, ADDED, marker(10)]])
    with capture_logs():
        r.step()
    assert r.sink.calls == [("replace", ["a"], "10")]
    assert r.reflector.stats.dropped == 4


def test_28_behind_the_marker_which_is_a_bookmark_silence_is_limited_to_90_seconds() -> None:
    r = rig(streams=[[ADDED, marker(10), bookmark(11), EOF]])
    r.step(2)
    assert r.server.streams[0].silences == [90.0]


@pytest.mark.parametrize(
    "script", [[EOF], [REFUSED], [error_event(EXPIRED.status)], [RuntimeError("bug")], [ADDED, RuntimeError("bug")]]
)
def test_27_an_incomplete_stream_is_closed_exactly_once_on_every_path_out(script: Any) -> None:
    r = rig(streams=[script])
    with capture_logs():
        r.step()
    assert [stream.closes for stream in r.server.streams] == [1]


def test_an_unexpected_error_in_the_sink_is_backed_off_and_streamed_again() -> None:
    r = rig(streams=[[ADDED, marker(10)], [ADDED, marker(10)]])
    replace = r.sink.replace
    r.sink.replace = lambda *args: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with capture_logs():
        r.step()
    assert isinstance(r.reflector.state, Waiting)
    assert r.server.streams[0].closes == 1
    r.sink.replace = replace  # type: ignore[method-assign]
    r.step(2)
    assert r.sink.calls == [("replace", ["a"], "10")]


def test_12_13_a_stop_during_a_streamed_list_hands_nothing_to_the_store() -> None:
    r = rig(streams=[[ADDED, OPEN]])
    thread = threading.Thread(target=r.reflector.run)
    thread.start()
    eventually(lambda: r.server.streams)
    r.reflector.stop()
    thread.join(5.0)
    assert not thread.is_alive()
    assert (r.sink.calls, r.reflector.state, r.reflector.stats.failures) == ([], Stopped(), 0)
    assert r.server.streams[0].closes == 1


def test_a_stop_between_the_list_and_its_watch_closes_the_stream() -> None:
    r = rig(streams=[[ADDED, marker(10), OPEN]])
    r.step()
    r.reflector.stop()
    r.step()
    assert r.reflector.state == Stopped()
    assert r.server.streams[0].closes == 1


@pytest.mark.parametrize(
    "streams",
    [
        [[EOF]],
        [[ADDED, EOF]],
        [[marker(10), EOF]],
        [[marker(10), error_event(EXPIRED.status)]],
        [[marker(10), bookmark(11), error_event(EXPIRED.status)]],
        [EXPIRED],
        [TOO_LARGE],
        [InternalError.of("oops")],
        [REFUSED],
        [[RuntimeError("bug")]],
        [[marker(10), RuntimeError("bug")]],
    ],
    ids=lambda streams: str(streams)[:40],
)
@pytest.mark.parametrize("watches", [[[EOF]], [EXPIRED], [REFUSED]], ids=["eof", "expired", "refused"])
def test_nothing_a_server_does_makes_a_tight_loop(streams: list[Any], watches: list[Any]) -> None:
    r = rig(page(10), streams=streams * 99, watches=watches * 99)
    with capture_logs():
        r.step(60)
    assert len(r.server.requests) <= 3 * len(r.clock.waits) + 4
