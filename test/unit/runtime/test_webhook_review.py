"""AdmissionReviews over the route: runtimes.md 2.17 no. 204, and the metrics of webhooks."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import structlog

from localmodel.runtime import deadline
from localmodel.runtime.httpserver import HttpRequest
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.webhook import AdmissionRequest, AdmissionResponse, Handler, allowed, denied, patched
from localmodel.runtime.webhook.review import ReviewRoute

Json = dict[str, Any]
PATH = "/validate-example-com-v1-greeter"
JSON_HEADERS = {"content-type": "application/json"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def review(**request: Any) -> bytes:
    content = {
        "uid": "u-1",
        "kind": {"group": "example.com", "version": "v1", "kind": "Greeter"},
        "resource": {"group": "example.com", "version": "v1", "resource": "greeters"},
        "name": "a",
        "namespace": "ns",
        "operation": "CREATE",
        "userInfo": {"username": "admin", "groups": ["system:masters"], "extra": {"k": ["v"]}},
        "object": {"metadata": {"name": "a"}},
        "dryRun": False,
        "options": None,
        "fieldOfTheFuture": 1,
        **request,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": content}).encode()


class Asking:
    """Posts to a route and reads its answers."""

    def __init__(self, clock: FakeClock, metrics: Metrics) -> None:
        self.clock = clock
        self.metrics = metrics

    def __call__(
        self,
        handler: Handler,
        body: bytes,
        headers: dict[str, str] | None = None,
        query: dict[str, list[str]] | None = None,
    ) -> tuple[int, Json]:
        route = ReviewRoute(PATH, handler, clock=self.clock, metrics=self.metrics)
        request = HttpRequest(body=body, headers=JSON_HEADERS if headers is None else headers, query=query or {})
        response = route(request)
        answer = json.loads(response.body)
        assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        assert response.content_type == "application/json"
        return response.code, answer["response"]


@pytest.fixture
def ask(clock: FakeClock, metrics: Metrics) -> Asking:
    return Asking(clock, metrics)


def test_a_request_is_read_whole(ask: Asking) -> None:
    seen: list[AdmissionRequest] = []
    ask(lambda request: seen.append(request) or allowed(), review(oldObject={"a": 1}, dryRun=True))  # type: ignore[func-returns-value]
    (request,) = seen
    assert (request.uid, request.operation, request.name, request.namespace) == ("u-1", "CREATE", "a", "ns")
    assert (request.kind.kind, request.resource.resource) == ("Greeter", "greeters")
    assert (request.user_info.username, request.user_info.extra) == ("admin", {"k": ["v"]})
    assert (request.object, request.old_object, request.dry_run) == ({"metadata": {"name": "a"}}, {"a": 1}, True)


def test_a_null_is_as_if_it_were_not_there(ask: Asking) -> None:
    code, response = ask(
        lambda request: allowed(), review(dryRun=None, userInfo=None, oldObject=None, subResource=None)
    )
    assert (code, response["allowed"]) == (200, True)


def test_the_answer_of_an_allowed_a_refused_and_a_patched_request(ask: Asking) -> None:
    assert ask(lambda _: allowed(), review()) == (200, {"uid": "u-1", "allowed": True, "status": {"code": 200}})
    code, refused = ask(lambda _: denied("no"), review())
    assert (code, refused["uid"], refused["allowed"]) == (200, "u-1", False)
    assert (refused["status"]["code"], refused["status"]["message"]) == (403, "no")
    _, changed = ask(lambda _: patched({}, {"a": 1}).with_warnings(["careful"]), review())
    assert (changed["allowed"], changed["patchType"], changed["warnings"]) == (True, "JSONPatch", ["careful"])
    assert json.loads(base64.b64decode(changed["patch"])) == [{"op": "add", "path": "/a", "value": 1}]


def test_a_review_is_answered_in_its_own_version(clock: FakeClock, metrics: Metrics) -> None:
    route = ReviewRoute(PATH, lambda _: allowed(), clock=clock, metrics=metrics)
    body = json.dumps({**json.loads(review()), "apiVersion": "admission.k8s.io/v1beta1"}).encode()
    answer = json.loads(route(HttpRequest(body=body, headers=JSON_HEADERS, query={})).body)
    assert (answer["apiVersion"], answer["response"]["allowed"]) == ("admission.k8s.io/v1beta1", True)


def test_audit_annotations_are_sent(ask: Asking) -> None:
    response = AdmissionResponse(allowed=True, audit_annotations={"why": "because"})
    assert ask(lambda _: response, review())[1]["auditAnnotations"] == {"why": "because"}


def test_204_the_request_uid_is_echoed_even_on_panic(ask: Asking, metrics: Metrics) -> None:
    def panic(request: AdmissionRequest) -> AdmissionResponse:
        raise ZeroDivisionError("oops")

    code, response = ask(panic, review(uid="u-2"))
    assert (code, response["uid"], response["allowed"], response["status"]["code"]) == (200, "u-2", False, 500)
    assert response["status"]["message"] == "panic: oops [recovered]"
    assert metrics.registry.get_sample_value("controller_runtime_webhook_panics_total") == 1


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"", JSON_HEADERS, "request body is empty"),
        (review(), {"content-type": "text/plain"}, "contentType=text/plain, expected application/json"),
        (review(), {}, "contentType=, expected application/json"),
        (b"{", JSON_HEADERS, "the body is not JSON"),
        (b"[" * 100_000, JSON_HEADERS, "the body is not JSON, or too deep"),
        (b"[]", JSON_HEADERS, "not an AdmissionReview"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}', JSON_HEADERS, "cannot be read"),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1alpha1"}', JSON_HEADERS, "speaks .*/v1:"),
        (review(userInfo=5), JSON_HEADERS, "cannot be read"),
    ],
)
def test_204_wrong_content_type_or_empty_body_error_response(
    ask: Asking, metrics: Metrics, body: bytes, headers: dict[str, str], said: str
) -> None:
    """The HTTP code is that of the review too: without the request's uid, which is not known, an API server would
    report the answer under 200 as one to another request (controller-runtime's is 200)."""

    def never(request: AdmissionRequest) -> AdmissionResponse:
        raise AssertionError("was asked")

    code, response = ask(never, body, headers)
    assert (code, response["allowed"], response["status"]["code"]) == (400, False, 400)
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(response["status"]["message"])
    assert value(metrics, "requests_total", code="400") == 1


def test_a_content_type_may_have_parameters(ask: Asking) -> None:
    code, _ = ask(lambda _: allowed(), review(), {"content-type": "application/json; charset=utf-8"})
    assert code == 200


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"controller_runtime_webhook_{name}", {"webhook": PATH, **labels})


def test_the_metrics_of_a_webhook(ask: Asking, metrics: Metrics, clock: FakeClock) -> None:
    def slow(request: AdmissionRequest) -> AdmissionResponse:
        assert value(metrics, "requests_in_flight") == 1
        clock.advance(2)
        return denied("no")

    ReviewRoute(PATH, slow, clock=clock, metrics=metrics)
    assert value(metrics, "requests_total", code="200") == 0
    assert value(metrics, "requests_total", code="500") == 0
    assert value(metrics, "requests_in_flight") == 0
    ask(slow, review())
    assert value(metrics, "requests_total", code="403") == 1
    assert value(metrics, "requests_in_flight") == 0
    assert value(metrics, "latency_seconds_sum") == 2
    assert value(metrics, "latency_seconds_count") == 1


@pytest.mark.parametrize(("query", "left"), [({"timeout": ["3s"]}, 3), ({}, 30), ({"timeout": ["soon"]}, 30)])
def test_the_handler_has_the_time_that_the_api_server_waits(
    ask: Asking, query: dict[str, list[str]], left: float
) -> None:
    seen: list[float | None] = []
    ask(lambda _: seen.append(deadline.remaining()) or allowed(), review(), query=query)  # type: ignore[func-returns-value]
    assert seen == [left]


def test_the_lines_of_a_handler_say_what_it_was_asked(ask: Asking) -> None:
    seen: list[Json] = []
    ask(lambda _: seen.append(structlog.contextvars.get_contextvars()) or allowed(), review())  # type: ignore[func-returns-value]
    (context,) = seen
    assert context == {
        "webhook": PATH,
        "operation": "CREATE",
        "kind": "Greeter",
        "namespace": "ns",
        "name": "a",
        "user": "admin",
        "request_id": "u-1",
    }


def test_nothing_is_served_below_a_webhooks_path(clock: FakeClock, metrics: Metrics) -> None:
    route = ReviewRoute(PATH, lambda _: allowed(), clock=clock, metrics=metrics)
    assert route(HttpRequest(path="/below", body=review(), headers=JSON_HEADERS)).code == 404
