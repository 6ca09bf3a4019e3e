"""A handler behind HTTP: an AdmissionReview comes in, one goes out, and the metrics know of it.

A request that can be read is answered with HTTP 200 and its uid, whatever the verdict, also when the handler fails. One
that cannot be read has no uid to echo; its answer is a review as well, with the code of the fault as HTTP code, because
an API server would report one under 200 as a wrong uid only. (In controller-runtime all are 200.) For the same reason
`controller_runtime_webhook_requests_total` counts by the verdict's code.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec
import structlog
from pydantic import ValidationError

from localmodel.runtime import deadline
from localmodel.runtime.clock import Clock
from localmodel.runtime.httpserver import HttpRequest, HttpResponse
from localmodel.runtime.metrics import Metrics

from .admission import AdmissionRequest, AdmissionResponse, Handler, answer, errored

log = structlog.get_logger(__name__)

API_VERSIONS = ("admission.k8s.io/v1", "admission.k8s.io/v1beta1")
"""A review is answered in the version that it has; both have the same fields."""
_SECONDS = re.compile(r"^\d{1,4}s$")


class _UnreadableError(Exception):
    """What came is not a review."""


class ReviewRoute:
    """The HTTP route of one webhook; its path is the `webhook` label of the metrics."""

    def __init__(self, path: str, handler: Handler, *, clock: Clock, metrics: Metrics) -> None:
        self._path = path
        self._handler = handler
        self._clock = clock
        self._metrics = metrics
        for code in (200, 500):
            metrics.webhook_requests.labels(path, str(code))
        self._in_flight = metrics.webhook_requests_in_flight.labels(path)
        self._latency = metrics.webhook_latency.labels(path)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path:
            return HttpResponse(b"404 page not found\n", 404)
        began = self._clock.monotonic()
        with self._in_flight.track_inprogress():
            uid, http_code, version = "", 200, API_VERSIONS[0]
            try:
                version, asked = _read(request)
            except _UnreadableError as error:
                log.warning("Admission request not readable", webhook=self._path, error=str(error))
                response = errored(400, str(error))
                http_code = 400
            else:
                uid, response = asked.uid, self._judge(asked, request)
            body = _encoded(version, uid, response)
        self._latency.observe(self._clock.monotonic() - began)
        self._metrics.webhook_requests.labels(self._path, str(response.code)).inc()
        return HttpResponse(body, http_code, "application/json")

    def _judge(self, asked: AdmissionRequest, request: HttpRequest) -> AdmissionResponse:
        """Within the time that the API server waits for the answer."""
        fields = {
            "webhook": self._path,
            "operation": asked.operation,
            "kind": asked.kind.kind,
            "namespace": asked.namespace,
            "name": asked.name,
            "user": asked.user_info.username,
            "request_id": asked.uid,
        }
        timeout = request.query.get("timeout", [""])[0]
        seconds = float(timeout[:-1]) if _SECONDS.match(timeout) else 30.0
        with structlog.contextvars.bound_contextvars(**fields), deadline.limit(self._clock, seconds):
            response = answer(self._handler, asked, self._metrics)
            log.debug("Admission request answered", allowed=response.allowed, code=response.code)
            return response


def _read(asked: HttpRequest) -> tuple[str, AdmissionRequest]:
    """The review's version and request. Raises _UnreadableError."""
    if not asked.body:
        raise _UnreadableError("request body is empty")
    content_type = asked.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise _UnreadableError(f"contentType={content_type}, expected application/json")
    try:
        review = msgspec.json.decode(asked.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _UnreadableError(f"the body is not JSON, or too deep: {error}") from error
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview":
        raise _UnreadableError("the body is not an AdmissionReview")
    version = review.get("apiVersion")
    if version not in API_VERSIONS:
        raise _UnreadableError(f"this webhook speaks {API_VERSIONS[0]}: put v1 into its admissionReviewVersions")
    request = review.get("request")
    if isinstance(request, dict):
        # Go writes a null where nothing is said.
        request = {key: value for key, value in request.items() if value is not None}
    try:
        return version, AdmissionRequest.model_validate(request)
    except ValidationError as error:
        raise _UnreadableError(f"the review's request cannot be read: {error}") from error


def _encoded(version: str, uid: str, response: AdmissionResponse) -> bytes:
    content: dict[str, Any] = {"uid": uid, "allowed": response.allowed, "status": response.status}
    if response.patch:
        content["patchType"] = "JSONPatch"
        content["patch"] = base64.b64encode(msgspec.json.encode(response.patch)).decode()
    if response.warnings:
        content["warnings"] = response.warnings
    if response.audit_annotations:
        content["auditAnnotations"] = response.audit_annotations
    return msgspec.json.encode({"apiVersion": version, "kind": "AdmissionReview", "response": content})
