"""Sends requests for the live client: path and parameters in, body or typed error out.

A 429 or 5xx answer that carries Retry-After is tried again after that time, at most ten times (client-go's
rest.Request). `transport` moves the bytes.
"""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import tenacity

from . import cancellation, deadline
from .cancellation import Cancellation
from .clock import Clock, RealClock
from .errors import ApiError, error_from_status
from .kubeconfig import RestConfig
from .metrics import Metrics
from .transport import Response, Stream, Transport

MAX_RETRIES = 10


class Requester:
    """Requests to one API server. Safe to use from many threads; each keeps a connection of its own."""

    def __init__(self, config: RestConfig, *, metrics: Metrics | None = None, clock: Clock | None = None) -> None:
        self.config = config
        self._metrics = metrics
        self._clock = clock or RealClock()
        self._transport = Transport(config)
        self._closing = Cancellation()
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_asks_to_wait),
            wait=lambda state: float(_retry_after(state)),
            stop=lambda state: self._closing.cancelled or _gives_up(state),
            sleep=self._sleep,
            reraise=True,
        )

    def close(self) -> None:
        """Ends every request under way, and every wait for a retry, with an error. Idempotent."""
        self._closing.cancel()
        self._transport.close()

    def stream(self, path: str, parameters: dict[str, Any], *, accept: str, silence: float) -> Stream:
        """An open answer that goes on, of which `silence` seconds without data are an error.

        Raises the typed error of an answer that is not a stream (410, 403, 404, ...).
        """
        code, stream = self._transport.stream(target_of(path, parameters), headers={"Accept": accept}, silence=silence)
        if code != 200:
            try:
                raise error_of(Response(code, stream.read(), stream.headers))
            finally:
                stream.close()
        return stream

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
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        target = target_of(path, parameters or {})
        return self._retrying(self._request_once, method, target, body, headers)

    def _request_once(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        started, code = self._clock.monotonic(), "<error>"
        try:
            response = self._transport.request(method, target, body=body, headers=headers)
            code = str(response.code)
        finally:
            self._observe(method, code, self._clock.monotonic() - started)
        if response.code >= 300:
            raise error_of(response)
        return response.body

    def _sleep(self, seconds: float) -> None:
        """Until the time has passed, the client is closed, or the work in hand is cancelled; then CancelledError."""
        woken = threading.Event()
        with self._closing.waking(woken.set), cancellation.waking(woken.set):
            self._clock.wait_event(woken, seconds)
        cancellation.check()

    def _observe(self, method: str, code: str, seconds: float) -> None:
        if self._metrics:
            self._metrics.rest_requests.labels(code, method, self._host).inc()
            self._metrics.rest_request_duration.labels(method, self._host).observe(seconds)

    @property
    def _host(self) -> str:
        return urlsplit(self.config.server).netloc


def target_of(path: str, parameters: dict[str, Any]) -> str:
    query = urlencode({key: value for key, value in parameters.items() if value != ""})
    return f"{path}?{query}" if query else path


def error_of(response: Response) -> ApiError:
    """The typed error of an answer; a body that is no Status (a proxy's page) becomes its message, shortened."""
    try:
        status = msgspec.json.decode(response.body)
    except msgspec.DecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = response.body[:300].decode(errors="replace").strip()
        status = {"message": text or f"HTTP {response.code}"}
    retry_after = response.headers.get("Retry-After", "")
    if retry_after.isdigit():
        status["details"] = {"retryAfterSeconds": int(retry_after), **(status.get("details") or {})}
    return error_from_status(status, code=response.code)


def _asks_to_wait(error: BaseException) -> bool:
    return isinstance(error, ApiError) and (error.code == 429 or error.code >= 500) and error.retry_after is not None


def _gives_up(state: tenacity.RetryCallState) -> bool:
    """After ten retries, or when there is no time left to wait for as long as the server asks."""
    left = deadline.remaining()
    return state.attempt_number > MAX_RETRIES or (left is not None and _retry_after(state) >= left)


def _retry_after(state: tenacity.RetryCallState) -> int:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after or 1 if isinstance(error, ApiError) else 1
