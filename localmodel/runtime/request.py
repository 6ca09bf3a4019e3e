"""Sends requests for the live client: path and parameters in, body or typed error out.

A 429 or 5xx answer that carries Retry-After is tried again after that time, at most ten times (client-go's
rest.Request). `transport` moves the bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from . import cancellation, deadline
from .answer import Answer, Stream
from .cancellation import Cancellation
from .clock import Clock, RealClock
from .errors import ApiError, error_from_status, is_too_large_resource_version
from .kubeconfig import DEFAULT_BURST, DEFAULT_QPS, RestConfig
from .metrics import Metrics
from .request_metrics import RequestMetrics
from .transport import AnswerT, Transport
from .warning import WarningLogger
from .workqueue.rate_limiters import BucketRateLimiter

MAX_RETRIES = 10


class Requester:
    """Requests to one API server. Safe to use from many threads; each keeps a connection of its own.

    Every method raises ApiError for an answer that is no success, and what `transport.Transport` raises.
    """

    def __init__(self, config: RestConfig, *, metrics: Metrics | None = None, clock: Clock | None = None) -> None:
        self.config = config
        self._clock = clock or RealClock()
        self._transport = Transport(config)
        self._closing = Cancellation()
        self._warnings = WarningLogger()
        self._metrics = RequestMetrics(metrics, urlsplit(config.server).netloc)
        self._limiter = _limiter(config, self._clock)

    def close(self) -> None:
        """Ends every request under way, and every wait for a retry, with an error. Idempotent."""
        self._closing.cancel()
        self._transport.close()

    def request(
        self,
        method: str,
        path: str,
        parameters: dict[str, Any] | None = None,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        """The body of the answer."""
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        target = target_of(path, parameters or {})
        answer = self._retrying(
            lambda: self._transport.request(method, target, body=body, headers=headers), method
        ).read()
        self._metrics.sized(method, len(body or b""), len(answer))
        return answer

    def open(self, path: str, parameters: dict[str, Any], *, accept: str) -> Answer:
        """The answer to a GET whose body is still to be read, because it may be too large to be held whole."""
        target, headers = target_of(path, parameters), {"Accept": accept}
        return self._retrying(lambda: self._transport.request("GET", target, headers=headers), "GET")

    def stream(self, path: str, parameters: dict[str, Any], *, accept: str, silence: float) -> Stream:
        """An open answer that goes on, of which `silence` seconds without data are an error. Never tried again."""
        target, headers = target_of(path, parameters), {"Accept": accept}
        return self._once(lambda: self._transport.stream(target, headers=headers, silence=silence), "GET")

    def _retrying(self, send: Callable[[], Answer], method: str) -> Answer:
        for _ in range(MAX_RETRIES):
            try:
                return self._once(send, method)
            except ApiError as error:
                if not _asks_to_wait(error) or not self._may_wait(error.retry_after or 0):
                    raise
                self._metrics.retried(method, error.code)
                self._sleep(error.retry_after or 0)
        return self._once(send, method)

    def _once(self, send: Callable[[], AnswerT], method: str) -> AnswerT:
        if self._limiter is not None:
            self._wait_for_turn(self._limiter, method)
        started, code = self._clock.monotonic(), "<error>"
        try:
            answer = send()
            code = str(answer.code)
        finally:
            self._metrics.answered(method, code, self._clock.monotonic() - started)
        self._warnings.log(answer.headers)
        if answer.code >= 300:
            raise error_of(answer)
        return answer

    def _may_wait(self, seconds: float) -> bool:
        """Not once the client is closed, nor for longer than there is time left for the work in hand."""
        left = deadline.remaining()
        return not self._closing.cancelled and (left is None or seconds < left)

    def _sleep(self, seconds: float) -> None:
        """Until the time has passed, the client is closed, or the work in hand is cancelled; then CancelledError."""
        woken = threading.Event()
        with self._closing.waking(woken.set), cancellation.waking(woken.set):
            self._clock.wait_event(woken, seconds)
        cancellation.check()

    def _wait_for_turn(self, limiter: BucketRateLimiter, method: str) -> None:
        """Raises DeadlineExceededError at once if the request's turn comes after the deadline of the work in hand."""
        seconds = limiter.when(method)
        if seconds:
            left = deadline.remaining()
            if left is not None and left <= seconds:
                raise deadline.DeadlineExceededError(
                    f"a {method} would wait {seconds:.1f} s for the client's own rate limit, but only "
                    f"{max(0.0, left):.1f} s are left for the work in hand"
                )
            self._sleep(seconds)
        self._metrics.limited(method, seconds)


def _limiter(config: RestConfig, clock: Clock) -> BucketRateLimiter | None:
    if config.qps < 0:
        return None
    return BucketRateLimiter(config.qps or DEFAULT_QPS, config.burst or DEFAULT_BURST, clock=clock)


def target_of(path: str, parameters: dict[str, Any]) -> str:
    query = urlencode({key: value for key, value in parameters.items() if value != ""})
    return f"{path}?{query}" if query else path


def error_of(answer: Answer | Stream) -> ApiError:
    """The typed error of an answer; a body that is no Status (a proxy's page) becomes its message, shortened."""
    body = answer.read()
    try:
        status = msgspec.json.decode(body)
    except msgspec.DecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = body[:300].decode(errors="replace").strip()
        status = {"message": text or f"HTTP {answer.code}"}
    retry_after = answer.headers.get("Retry-After", "")
    if retry_after.isdecimal():
        status["details"] = {"retryAfterSeconds": int(retry_after), **(status.get("details") or {})}
    return error_from_status(status, code=answer.code)


def _asks_to_wait(error: ApiError) -> bool:
    """With Retry-After; a wait of no time is none, or the retries were a tight loop. A version from the future is
    asked for by a reflector that knows better than to wait (runtimes.md 2.1 no. 4)."""
    is_temporary = error.code == 429 or error.code >= 500
    return is_temporary and error.retry_after is not None and not is_too_large_resource_version(error)
