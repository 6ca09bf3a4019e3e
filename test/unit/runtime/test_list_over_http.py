"""Lists and watches over HTTP: taken while they arrive, broken off, refused, tried again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.http import Answer, answer, scripted_server
from support.scripted import StepClock

from localmodel.runtime.cancellation import Cancellation, CancelledError
from localmodel.runtime.errors import (
    ServerTimeoutError,
    TransportError,
    is_too_large_resource_version,
    make_status,
)
from localmodel.runtime.kubeconfig import RestConfig
from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.objects import ConfigMap, Node
from localmodel.runtime.pager import Pager
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.rest_listwatch import LiveListerWatcher
from localmodel.runtime.store import Trimmer
from localmodel.runtime.typedwatch import watch

COUNT = 300
ITEM = json.dumps({"metadata": {"name": "n", "annotations": {"note": "x" * 2000}}}, separators=(",", ":")).encode()
HEAD = b'{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"more"},"items":['
BODY = HEAD + b",".join([ITEM] * COUNT) + b"]}\n"


def client_for(url: str, **options: Any) -> LiveClient:
    def no_token(*, refresh: bool = False) -> None:
        return None

    return LiveClient(RestConfig(server=url, authorization=no_token, user_agent="t/1"), **options)


def sending(*pieces: bytes | Callable[[], object], chunked: bool = True, length: int = len(BODY)) -> Answer:
    """An answer in pieces, with what is called between them; without its end."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(length))))
        handler.end_headers()
        for piece in pieces:
            if callable(piece):
                piece()
            else:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        handler.close_connection = True

    return send


@pytest.mark.parametrize("chunked", [True, False])
def test_the_items_of_a_list_are_taken_before_it_has_ended(chunked: bool) -> None:
    taken = threading.Event()
    half = len(BODY) // 2
    rest = (BODY[half:], b"") if chunked else (BODY[half:],)
    with scripted_server(sending(BODY[:half], lambda: taken.wait(10), *rest, chunked=chunked)) as server:
        page = client_for(server.url).list_page(Node, ListOptions())
        items = iter(page.items)
        assert bytes(next(items)) == ITEM
        assert page.resource_version == "", "it stands in front, but a list that breaks off has none"
        taken.set()
        assert len(list(items)) == COUNT - 1
    assert (page.resource_version, page.continue_) == ("7", "more")


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("end", [20, len(BODY) // 2, len(BODY) - 3])
def test_a_list_that_breaks_off_is_a_transport_error(chunked: bool, end: int) -> None:
    with scripted_server(sending(BODY[:end], chunked=chunked)) as server, pytest.raises(TransportError):
        list(client_for(server.url).list_page(Node, ListOptions()).items)


@pytest.mark.parametrize(
    "body", [b"<html>a proxy</html>", b"[]", b"{}", b'{"kind":"Status"}', b'{"items":7}', BODY[:-3]]
)
def test_an_answer_that_is_no_whole_list_is_a_transport_error(body: bytes) -> None:
    with scripted_server(answer(200, body)) as server, pytest.raises(TransportError, match="not a list"):
        list(client_for(server.url).list_page(Node, ListOptions()).items)


def test_a_list_leaves_its_connection_to_the_next_request_and_none_to_one_in_between() -> None:
    with scripted_server(answer(200, BODY), answer(200, ITEM), answer(200, BODY)) as server:
        client = client_for(server.url)
        items = iter(client.list_page(Node, ListOptions()).items)
        next(items)
        client.get(Node, "n")
        list(items)
        client.get(Node, "n")
        client.get(Node, "n")
    ports = [seen.client_port for seen in server.seen]
    assert ports[0] != ports[1] == ports[2] == ports[3]


def test_a_list_given_up_half_way_does_not_spoil_the_next_request() -> None:
    with scripted_server(answer(200, BODY), answer(200, ITEM)) as server:
        client = client_for(server.url)
        items = iter(client.list_page(Node, ListOptions()).items)
        next(items)
        items.close()  # type: ignore[attr-defined]
        assert client.get(Node, "n").name == "n"
    assert server.seen[0].client_port != server.seen[1].client_port


def test_cancel_ends_a_list_that_has_begun() -> None:
    work, release = Cancellation(), threading.Event()
    with scripted_server(sending(BODY[: len(BODY) // 2], lambda: release.wait(10))) as server, work.scope():
        items = iter(client_for(server.url).list_page(Node, ListOptions()).items)
        next(items)
        threading.Timer(0.05, work.cancel).start()
        with pytest.raises(CancelledError):
            list(items)
        release.set()


def test_184_a_list_is_tried_again_when_the_server_asks_for_it() -> None:
    busy = answer(429, json.dumps(make_status("TooManyRequests", 429, "slow")).encode(), {"Retry-After": "3"})
    clock = StepClock()
    with scripted_server(busy, answer(200, BODY)) as server:
        assert len(list(client_for(server.url, clock=clock).list_page(Node, ListOptions()).items)) == COUNT
    assert clock.waits == [3]


def test_4_a_version_from_the_future_is_an_error_at_once_although_the_server_asks_to_wait() -> None:
    """kube-apiserver sends Retry-After with it; a reflector does better to ask for the newest state."""
    status = make_status(
        "Timeout", 504, "Too large resource version", {"causes": [{"reason": "ResourceVersionTooLarge"}]}
    )
    clock = StepClock()
    with scripted_server(answer(504, json.dumps(status).encode(), {"Retry-After": "1"})) as server:
        with pytest.raises(ServerTimeoutError) as caught:
            client_for(server.url, clock=clock).list_page(Node, ListOptions(resource_version="99"))
        assert is_too_large_resource_version(caught.value)
        assert (len(server.seen), clock.waits) == (1, [])


def test_6_8_pages_that_arrive_piece_by_piece_are_followed_and_remembered() -> None:
    last = b'{"items":[{"metadata":{"name":"last"}}],"metadata":{"resourceVersion":"8"}}'
    with scripted_server(answer(200, BODY), answer(200, last)) as server:
        pager = Pager(
            lister_watcher=LiveListerWatcher(client_for(server.url)._requester),
            trimmer=Trimmer(Node),
            scope=ListOptions(),
        )
        items, version = pager.list("0", threading.Event())
        pager.list("8", threading.Event())
    assert (len(items), version) == (COUNT + 1, "8")
    assert [seen.path.partition("?")[2] for seen in server.seen] == [
        "resourceVersion=0&limit=500",
        "limit=500&continue=more",
        "resourceVersion=8&limit=500",
    ]


def test_30_a_streamed_list_is_asked_for_with_initial_events_and_a_match_and_bookmarks() -> None:
    with scripted_server(answer(200, b"")) as server:
        list(client_for(server.url).watch(Node, WatchOptions(send_initial_events=True, timeout_seconds=9)))
    assert server.seen[0].path == (
        "/api/v1/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=9"
        "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    )


def test_a_line_that_is_no_event_breaks_the_watch() -> None:
    """Where client-go skips it (2.19): a watch from the last version brings again what the line hid."""
    added = b'{"type":"ADDED","object":{}}\n'
    with scripted_server(answer(200, added + b"nonsense\n" + added)) as server:
        events = iter(client_for(server.url).watch(Node, WatchOptions()))
        assert next(events).type == "ADDED"
        with pytest.raises(TransportError, match="not JSON"):
            next(events)


@pytest.mark.parametrize(
    "rest", [b"", b'{"kind":"Node","metadata":{"name":"n"}', b'{"metadata":{"name":"n"}},"more":{}', b"[}"]
)
def test_a_line_that_is_no_event_but_looks_like_one_breaks_the_watch_when_it_is_read(rest: bytes) -> None:
    """The object is cut out of the line, so only its reader finds out."""
    good = b'{"type":"ADDED","object":{"metadata":{"name":"n","resourceVersion":"7"}}}\n'
    with scripted_server(answer(200, good + b'{"type":"MODIFIED","object":' + rest + b"}\n" + good)) as server:
        first, second, _ = list(client_for(server.url).watch(Node, WatchOptions()))
        first.verify()
        with pytest.raises(TransportError, match="not JSON"):
            second.verify()
        with pytest.raises(TransportError, match="not JSON"):
            list(watch(client_for(server.url), Node))


def test_a_line_without_its_end_is_not_an_event() -> None:
    with scripted_server(answer(200, b'{"type":"ADDED","object":{}}\n{"type":"ADD')) as server:
        assert len(list(client_for(server.url).watch(Node, WatchOptions()))) == 1


def test_28_the_limit_of_silence_can_be_changed_while_a_watch_is_open() -> None:
    release = threading.Event()
    with scripted_server(sending(b'{"type":"ADDED","object":{}}\n', lambda: release.wait(10))) as server:
        stream = client_for(server.url).watch(Node, WatchOptions(silence_seconds=600))
        events = iter(stream)
        next(events)
        stream.limit_silence(0.05)
        with pytest.raises(TransportError, match="silent for too long"):
            next(events)
        stream.close()
        stream.limit_silence(1)
        release.set()


def test_warnings_of_the_server_are_logged_once_each() -> None:
    old = 'v1beta1 is deprecated, use "v1"'
    first = {"Warning": '299 - "v1beta1 is deprecated, use \\"v1\\"", 299 - "unknown field"'}
    with scripted_server(answer(200, ITEM, first), answer(200, ITEM, {"Warning": '299 kube "again"'})) as server:
        client = client_for(server.url)
        with capture_logs() as logs:
            for _ in range(3):
                client.get(Node, "n")
    assert [entry["warning"] for entry in logs] == [old, "unknown field", "again"]
    assert {entry["log_level"] for entry in logs} == {"warning"}


@pytest.mark.parametrize("namespace", ["..", "a/secrets?x=", "a%2f", "a b"])
def test_a_namespace_that_leads_to_another_collection_is_not_asked_for(namespace: str) -> None:
    with scripted_server(answer(200, BODY)) as server:
        client = client_for(server.url)
        asked: list[Callable[[], object]] = [
            lambda: client.list(ConfigMap, namespace=namespace),
            lambda: client.list_page(ConfigMap, ListOptions(namespace=namespace)),
            lambda: client.watch(ConfigMap, WatchOptions(namespace=namespace)),
        ]
        for ask in asked:
            with pytest.raises(ValueError, match="no part of a path"):
                ask()
        assert not server.seen
