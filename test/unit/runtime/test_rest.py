"""The live client over HTTP: paths, options, typed errors, credentials, connections, watches."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from support.http import Answer, answer, scripted_server
from support.scripted import StepClock

from localmodel.runtime import deadline
from localmodel.runtime.client import Preconditions, WriteOptions
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.errors import (
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    ObjectDecodeError,
    TooManyRequestsError,
    TransportError,
    UnauthorizedError,
    make_status,
)
from localmodel.runtime.kubeconfig import RestConfig
from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import ConfigMap, Node, ObjectMeta, PartialObjectMetadata, RESTMapping, Unstructured
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.selectors import SelectorError


class Token:
    """Gives another token after each refresh."""

    def __init__(self) -> None:
        self.refreshed = 0

    def __call__(self, *, refresh: bool = False) -> str:
        self.refreshed += refresh
        return f"Bearer token-{self.refreshed}"


NODE = {"metadata": {"name": "n"}}


def client_for(url: str, *, clock: Clock | None = None, **options: float) -> LiveClient:
    config = RestConfig(server=url, authorization=Token(), user_agent="localmodel-test/1", **options)
    return LiveClient(config, clock=clock)


def config_map(name: str = "a", **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="ns"), data=data)


def ok(obj: object) -> Answer:
    return answer(200, json.dumps(obj).encode(), {"Content-Type": "application/json"})


def failure(reason: str, code: int, message: str = "no", **headers: str) -> Answer:
    return answer(code, json.dumps(make_status(reason, code, message)).encode(), headers)


def test_get_asks_for_the_object_and_gives_it_typed() -> None:
    with scripted_server(ok(config_map(key="value").to_dict())) as server:
        got = client_for(server.url).get(ConfigMap, "a", namespace="ns")
    assert got.data == {"key": "value"}
    assert server.seen[0].path == "/api/v1/namespaces/ns/configmaps/a"
    assert server.seen[0].headers["User-Agent"] == "localmodel-test/1"
    assert server.seen[0].headers["Authorization"] == "Bearer token-0"


@pytest.mark.parametrize(
    ("reason", "code", "error"),
    [
        ("NotFound", 404, NotFoundError),
        ("Forbidden", 403, ForbiddenError),
        ("Conflict", 409, ConflictError),
        ("Invalid", 422, InvalidError),
        ("Expired", 410, ExpiredError),
    ],
)
def test_a_status_becomes_its_typed_error(reason: str, code: int, error: type[Exception]) -> None:
    with scripted_server(failure(reason, code, "why it failed")) as server, pytest.raises(error, match="why it failed"):
        client_for(server.url).get(Node, "n")


def test_an_answer_that_is_no_status_keeps_its_code_and_text() -> None:
    with scripted_server(answer(503, b"<html>proxy down</html>")) as server, pytest.raises(Exception) as caught:  # noqa: PT011
        client_for(server.url).get(Node, "n")
    assert caught.value.code == 503
    assert "proxy down" in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>log in</html>", b'{"metadata": []}', b'{"data": 7}'])
def test_an_answer_that_is_no_object_says_so(body: bytes) -> None:
    with (
        scripted_server(answer(200, body)) as server,
        pytest.raises(ObjectDecodeError, match=r"the answer of /api/v1/namespaces/d/configmaps/a is no ConfigMap"),
    ):
        client_for(server.url).get(ConfigMap, "a", namespace="d")


def test_186_a_401_drops_the_cached_token_and_tries_once_more() -> None:
    with scripted_server(failure("Unauthorized", 401), ok({"metadata": {"name": "n"}})) as server:
        client_for(server.url).get(Node, "n")
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer token-0", "Bearer token-1"]


def test_a_second_401_is_the_error() -> None:
    with scripted_server(failure("Unauthorized", 401)) as server, pytest.raises(UnauthorizedError):
        client_for(server.url).get(Node, "n")
    assert len(server.seen) == 2


def test_184_429_and_5xx_with_retry_after_are_tried_again_after_that_time_at_most_ten_times() -> None:
    busy = failure("TooManyRequests", 429, **{"Retry-After": "3"})
    with scripted_server(busy, failure("InternalError", 500, **{"Retry-After": "2"}), ok(NODE)) as server:
        clock = StepClock()
        assert client_for(server.url, clock=clock).get(Node, "n").name == "n"
        assert clock.waits == [3, 2]
    with scripted_server(busy) as server:
        clock = StepClock()
        with pytest.raises(TooManyRequestsError):
            client_for(server.url, clock=clock).get(Node, "n")
        assert (len(server.seen), clock.waits) == (11, [3] * 10)


@pytest.mark.parametrize("code", [429, 500, 503])
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}])
def test_184_without_a_time_to_wait_nothing_is_tried_again(code: int, headers: dict[str, str]) -> None:
    """Nor with a time of 0, which client-go retries at once, ten times in a row."""
    with scripted_server(failure("", code, **headers)) as server, pytest.raises(ApiError):
        client_for(server.url).get(Node, "n")
    assert len(server.seen) == 1


def test_a_list_follows_its_pages_without_repeating_the_resource_version() -> None:
    first = {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [{"metadata": {"name": "b"}}]}
    second = {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]}
    with scripted_server(ok(first), ok(second)) as server:
        nodes = client_for(server.url).list(Node, labels={"pool": "gpu"})
    assert [node.name for node in nodes] == ["a", "b"]
    assert server.seen[0].path == "/api/v1/nodes?labelSelector=pool%3Dgpu&limit=500"
    assert server.seen[1].path == "/api/v1/nodes?labelSelector=pool%3Dgpu&limit=500&continue=more"


def test_a_list_with_a_limit_asks_for_no_more_than_that() -> None:
    first = {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}
    with scripted_server(ok(first)) as server:
        nodes = client_for(server.url).list(Node, limit=2)
    assert [node.name for node in nodes] == ["a", "b"]
    assert [seen.path for seen in server.seen] == ["/api/v1/nodes?limit=2"]


def test_a_list_whose_token_expired_starts_again_without_pages() -> None:
    first = {"metadata": {"continue": "old"}, "items": [{"metadata": {"name": "a"}}]}
    whole = {"metadata": {}, "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}
    with scripted_server(ok(first), failure("Expired", 410), ok(whole)) as server:
        assert len(client_for(server.url).list(Node)) == 2
    assert server.seen[2].path == "/api/v1/nodes"


def test_metadata_only_kinds_ask_for_partial_objects() -> None:
    partial = PartialObjectMetadata.of(Node.mapping)
    with scripted_server(ok({"metadata": {"resourceVersion": "1"}, "items": []})) as server:
        page = client_for(server.url).list_page(partial, ListOptions(resource_version="0"))
        assert list(page.items) == []
    assert page.resource_version == "1"
    assert "as=PartialObjectMetadataList" in server.seen[0].headers["Accept"]


def test_writes_carry_their_options() -> None:
    with scripted_server(ok(config_map().to_dict())) as server:
        client = client_for(server.url)
        client.create(config_map(), options=WriteOptions(dry_run=True, field_validation="Strict"))
        client.status.update(config_map())
        client.patch(config_map(), {"data": {"k": None}})
        client.apply(config_map(), field_owner="me", force=True)
        client.delete(config_map(), preconditions=Preconditions(uid="u"), grace_period_seconds=0)
    create, status, patch, apply, delete = server.seen
    assert (create.method, create.path) == (
        "POST",
        "/api/v1/namespaces/ns/configmaps?dryRun=All&fieldValidation=Strict",
    )
    assert (status.method, status.path) == ("PUT", "/api/v1/namespaces/ns/configmaps/a/status")
    assert (patch.headers["Content-Type"], patch.body) == ("application/merge-patch+json", b'{"data":{"k":null}}')
    assert apply.path.endswith("?fieldManager=me&force=true")
    assert json.loads(delete.body) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
    }


def test_subresources_and_collections_are_written_at_their_paths() -> None:
    scale_kind = Unstructured.of(RESTMapping.of("autoscaling", "v1", "Scale"))
    scale = scale_kind.from_dict({"spec": {"replicas": 2}})
    with scripted_server(ok(scale.to_dict())) as server:
        client = client_for(server.url)
        scales = client.subresource("scale")
        assert scales.get(config_map(), scale_kind).content["spec"] == {"replicas": 2}
        scales.update(config_map(), scale)
        scales.create(config_map(), scale)
        client.status.apply(config_map(), field_owner="me")
        client.delete_all_of(ConfigMap, namespace="ns", labels={"a": "b"}, fields="metadata.name!=c")
        client.delete_all_of(Node, options=WriteOptions(dry_run=True))
    base = "/api/v1/namespaces/ns/configmaps"
    assert [(seen.method, seen.path) for seen in server.seen] == [
        ("GET", f"{base}/a/scale"),
        ("PUT", f"{base}/a/scale"),
        ("POST", f"{base}/a/scale"),
        ("PATCH", f"{base}/a/status?fieldManager=me&force=false"),
        ("DELETE", f"{base}?labelSelector=a%3Db&fieldSelector=metadata.name%21%3Dc"),
        ("DELETE", "/api/v1/nodes?dryRun=All"),
    ]
    assert json.loads(server.seen[5].body)["dryRun"] == ["All"], "a server with a body does not look at the query"
    assert json.loads(server.seen[1].body) == scale.to_dict()
    assert server.seen[3].headers["Content-Type"] == "application/apply-patch+yaml"


@pytest.mark.parametrize("name", ["a/b", "..", "a?watch=true", "a b", "a\r\nX: y", "a%2Fb", "caf\u00e9"])
def test_a_name_that_would_lead_to_another_path_is_refused_before_a_request(name: str) -> None:
    client = client_for("http://127.0.0.1:1")
    with pytest.raises(ValueError, match="is no part of a path"):
        client.get(ConfigMap, name, namespace="ns")
    with pytest.raises(ValueError, match="is no part of a path"):
        client.delete(ConfigMap(metadata=ObjectMeta(name="a", namespace=name)))


def test_a_header_cannot_carry_another_one() -> None:
    with scripted_server(ok(NODE)) as server:
        config = RestConfig(server=server.url, authorization=lambda **_: "Bearer a\r\nX-Other: b", user_agent="t/1")
        with pytest.raises(ValueError, match="a header must not contain a line break"):
            LiveClient(config).get(Node, "n")
        assert server.seen == []


def test_what_has_no_name_or_namespace_is_refused_before_a_request() -> None:
    """The path without it would be that of a collection: a delete would delete everything."""
    client = client_for("http://127.0.0.1:1")
    with pytest.raises(ValueError, match="ConfigMap a has no namespace"):
        client.get(ConfigMap, "a")
    with pytest.raises(ValueError, match="a ConfigMap without a name"):
        client.delete(config_map(""))
    with pytest.raises(ValueError, match=r"ConfigMap .* has no namespace"):
        client.delete_all_of(ConfigMap)
    with pytest.raises(ValueError, match="a ConfigMap without a name"):
        client.status.patch(config_map(""), {})


def test_one_thread_keeps_its_connection_and_another_has_its_own() -> None:
    with scripted_server(ok({"metadata": {"name": "n"}})) as server:
        client = client_for(server.url)
        client.get(Node, "n")
        client.get(Node, "n")
        thread = threading.Thread(target=client.get, args=(Node, "n"))
        thread.start()
        thread.join()
        client.close()
    ports = [seen.client_port for seen in server.seen]
    assert ports[0] == ports[1] != ports[2]


def test_a_refused_connection_is_a_transport_error() -> None:
    with pytest.raises(TransportError, match="cannot connect"):
        client_for("http://127.0.0.1:1").get(Node, "n")


def test_a_server_that_hangs_is_given_up() -> None:
    release = threading.Event()
    with scripted_server(lambda handler: release.wait(10) and None) as server:
        with pytest.raises(TransportError, match=r"TimeoutError|timed out"):
            client_for(server.url, request_timeout=0.2).get(Node, "n")
        release.set()


def chunked(*chunks: bytes, until: threading.Event | None = None) -> Answer:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            handler.wfile.flush()
        if until is not None:
            until.wait(10)
        handler.wfile.write(b"0\r\n\r\n")

    return send


def test_a_watch_gives_events_whatever_the_chunks_and_ends_on_eof() -> None:
    added = b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n'
    deleted = b'{"type":"DELETED","object":{"metadata":{"name":"a"}}}\n'
    with scripted_server(chunked(added[:10], added[10:] + deleted[:5], deleted[5:])) as server:
        stream = client_for(server.url).watch(Node, WatchOptions(resource_version="5", timeout_seconds=9))
        events = list(stream)
        stream.close()
    assert [event.type for event in events] == ["ADDED", "DELETED"]
    assert Node.from_json(events[0].object).name == "a"
    assert server.seen[0].path == "/api/v1/nodes?watch=true&resourceVersion=5&allowWatchBookmarks=true&timeoutSeconds=9"


def test_a_watch_refused_raises_its_error() -> None:
    with scripted_server(failure("Expired", 410)) as server, pytest.raises(ExpiredError):
        client_for(server.url).watch(Node, WatchOptions(resource_version="1"))


def test_28_a_silent_watch_is_dropped() -> None:
    release = threading.Event()
    with scripted_server(chunked(until=release)) as server:
        stream = client_for(server.url).watch(Node, WatchOptions(silence_seconds=0.2))
        with pytest.raises(TransportError, match="silent for too long"):
            list(stream)
        release.set()


def test_close_wakes_a_blocked_reader_and_ends_it_quietly() -> None:
    release, seen = threading.Event(), threading.Event()
    events: list[str] = []
    with scripted_server(chunked(b'{"type":"ADDED","object":{}}\n', until=release)) as server:
        stream = client_for(server.url).watch(Node, WatchOptions())

        def read() -> None:
            for event in stream:
                events.append(event.type)
                seen.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert seen.wait(5)
        stream.close()
        thread.join(5)
        assert not thread.is_alive()
        release.set()
    assert events == ["ADDED"]


def test_a_request_stays_within_the_deadline_of_the_work_in_hand() -> None:
    release = threading.Event()
    with scripted_server(lambda handler: release.wait(10) and None) as server:
        client = client_for(server.url)
        with deadline.limit(RealClock(), 0.2), pytest.raises(TransportError, match=r"TimeoutError|timed out"):
            client.get(Node, "n")
        with deadline.limit(RealClock(), 0), pytest.raises(deadline.DeadlineExceededError, match="GET /api/v1/nodes/n"):
            client.get(Node, "n")
        release.set()


def test_no_time_is_spent_waiting_for_a_server_that_asks_for_more_than_is_left() -> None:
    busy = failure("TooManyRequests", 429, **{"Retry-After": "60"})
    with (
        scripted_server(busy) as server,
        deadline.limit(RealClock(), 5),
        pytest.raises(TooManyRequestsError),
    ):
        client_for(server.url).get(Node, "n")
    assert len(server.seen) == 1


def test_requests_are_counted_under_client_go_s_names() -> None:
    metrics = Metrics()
    with scripted_server(failure("NotFound", 404)) as server:
        config = RestConfig(server=server.url, authorization=Token(), user_agent="t/1")
        assert LiveClient(config, metrics=metrics).find(Node, "n") is None
        labels = {"code": "404", "method": "GET", "host": server.url.removeprefix("http://")}
    assert metrics.registry.get_sample_value("rest_client_requests_total", labels) == 1


def test_sizes_and_retries_are_counted_too() -> None:
    metrics = Metrics()
    busy = failure("TooManyRequests", 429, **{"Retry-After": "3"})
    with scripted_server(busy, ok(NODE)) as server:
        config = RestConfig(server=server.url, authorization=Token(), user_agent="t/1")
        client = LiveClient(config, metrics=metrics, clock=StepClock())
        client.status.patch(Node.from_dict(NODE), {"status": {}})
        host = server.url.removeprefix("http://")
    sample = metrics.registry.get_sample_value
    verb = {"verb": "PATCH", "host": host}
    assert sample("rest_client_request_retries_total", {"code": "429", **verb}) == 1
    assert sample("rest_client_request_size_bytes_sum", verb) == len(b'{"status":{}}')
    assert sample("rest_client_response_size_bytes_sum", verb) == len(json.dumps(NODE))
    assert sample("rest_client_rate_limiter_duration_seconds_count", verb) is None


def test_187_the_client_side_limiter_is_5_per_second_burst_10_and_off_when_negative() -> None:
    """It is off by default, as controller-runtime has it; 0 gives client-go's default."""
    metrics, clock = Metrics(), StepClock()
    with scripted_server(ok(NODE)) as server:
        config = RestConfig(server=server.url, authorization=Token(), user_agent="t/1", qps=0)
        limited = LiveClient(config, metrics=metrics, clock=clock)
        for _ in range(12):
            limited.get(Node, "n")
        assert clock.waits == pytest.approx([0.2, 0.2])
        with deadline.limit(clock, 0.1), pytest.raises(deadline.DeadlineExceededError, match="would wait"):
            limited.get(Node, "n")
        assert len(server.seen) == 12
        free = client_for(server.url, clock=clock)
        for _ in range(20):
            free.get(Node, "n")
        assert len(clock.waits) == 2
        labels = {"verb": "GET", "host": server.url.removeprefix("http://")}
    sample = metrics.registry.get_sample_value
    assert sample("rest_client_rate_limiter_duration_seconds_count", labels) == 12
    assert sample("rest_client_rate_limiter_duration_seconds_sum", labels) == pytest.approx(0.4)


def test_twenty_watches_do_not_starve_the_writers() -> None:
    """Each watch owns a connection, and each thread that writes keeps one."""
    release = threading.Event()
    watching = chunked(b'{"type":"ADDED","object":{}}\n', until=release)

    def serve(handler: BaseHTTPRequestHandler) -> None:
        (watching if "watch=true" in handler.path else ok(NODE))(handler)

    with scripted_server(serve) as server:
        client = client_for(server.url)
        streams = [client.watch(Node, WatchOptions()) for _ in range(20)]
        node = Node.from_dict(NODE)

        def write() -> None:
            for _ in range(20):
                client.status.patch(node, {"status": {}})

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        ports = {seen.client_port for seen in server.seen if seen.method == "PATCH"}
        assert len(ports) == 8
        assert ports.isdisjoint(seen.client_port for seen in server.seen if seen.method == "GET")
        release.set()
        for stream in streams:
            stream.close()
        client.close()


def test_close_ends_a_request_under_way() -> None:
    asked, release = threading.Event(), threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        release.wait(10)

    with scripted_server(hang) as server:
        client = client_for(server.url)
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                client.get(Node, "n")
            except TransportError as error:
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(5)
        client.close()
        thread.join(5)
        assert not thread.is_alive()
        release.set()
    assert len(errors) == 1


def test_a_request_cut_off_half_way_does_not_spoil_the_next_one() -> None:
    class Interrupt(BaseException):
        pass

    with scripted_server(ok({"metadata": {"name": "n"}})) as server:
        client = client_for(server.url)
        client.get(Node, "n")
        connection = client._requester._transport._local.connection
        ask = connection.ask

        def interrupted(*args: object, **options: object) -> None:
            raise Interrupt

        connection.ask = interrupted
        with pytest.raises(Interrupt):
            client.get(Node, "n")
        connection.ask = ask
        assert client.get(Node, "n").name == "n"


@pytest.mark.parametrize("labels", [{"app": "x,tier=z"}, {"app in (x)": ""}])
def test_a_label_of_a_map_cannot_be_another_term_of_the_selector(labels: dict[str, str]) -> None:
    with scripted_server() as server:
        client = client_for(server.url)
        with pytest.raises(SelectorError):
            client.list(ConfigMap, namespace="ns", labels=labels)
        with pytest.raises(SelectorError):
            client.delete_all_of(ConfigMap, namespace="ns", labels=labels)
        assert not server.seen
