"""Counts and times the requests to one API server, under client-go's names.

The series are looked up once for each method and code: a lookup by labels costs more than what is counted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

    from .metrics import Metrics


class RequestMetrics:
    """Thread-safe. Without families it does nothing."""

    def __init__(self, families: Metrics | None, host: str) -> None:
        self._families = families
        self._host = host
        self._requests = lru_cache(maxsize=None)(self._requests_of)
        self._verbs = lru_cache(maxsize=None)(self._verb_of)

    def answered(self, method: str, code: str, seconds: float) -> None:
        """A request was answered, with `<error>` if by nothing, after so long until the headers of the answer."""
        if self._families is not None:
            self._requests(code, method).inc()
            self._verbs("rest_request_duration", method).observe(seconds)

    def limited(self, method: str, seconds: float) -> None:
        """A request waited so long for the limiter of the client."""
        if self._families is not None:
            self._verbs("rest_rate_limiter_duration", method).observe(seconds)

    def sized(self, method: str, sent: int, received: int) -> None:
        """Bytes of the bodies of a request that was read whole: no watch and no list."""
        if self._families is not None:
            self._verbs("rest_request_size", method).observe(sent)
            self._verbs("rest_response_size", method).observe(received)

    def retried(self, method: str, code: int) -> None:
        """A request is sent again because of such an answer."""
        if self._families is not None:
            self._families.rest_request_retries.labels(str(code), method, self._host).inc()

    def _requests_of(self, code: str, method: str) -> Counter:
        assert self._families is not None
        return self._families.rest_requests.labels(code, method, self._host)

    def _verb_of(self, family: str, method: str) -> Histogram:
        histogram: Histogram = getattr(self._families, family)
        return histogram.labels(method, self._host)
