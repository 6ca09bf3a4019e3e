"""What a program tells about itself over HTTP: `/metrics`, `/healthz`, `/readyz`.

`HealthChecks` is one endpoint made of named checks, `metrics_route` serves a registry; `httpserver` has the server that
they are routes of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .httpserver import HttpRequest, HttpResponse, Route

log = structlog.get_logger(__name__)

Check = Callable[[], object]
"""Raises when something is unhealthy; the message is logged, not served."""


class HealthChecks:
    """An endpoint such as /healthz: healthy while none of its named checks raises.

    200 "ok", or 500 with the list of checks and the reason withheld. `?verbose` gives the list in any case,
    `?exclude=NAME` leaves checks out, and the path /NAME below the endpoint runs one check.
    """

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is its name in answers and logs, such as healthz."""
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._checks: dict[str, Check] = {}
        self._failing: dict[str, str] = {}
        """By check, the message that was logged last: probes come every few seconds, and say the same."""

    def add(self, name: str, check: Check) -> None:
        """Adds or replaces the check of that name."""
        with self._lock:
            self._checks[name] = check

    def serve(self, request: HttpRequest) -> HttpResponse:
        with self._lock:
            checks = dict(self._checks) or {"ping": lambda: None}
        name = request.path.strip("/")
        if name:
            return self._serve_one(name, checks.get(name))

        excluded = set(request.query.get("exclude", ()))
        lines, failed = [], False
        for name, check in sorted(checks.items()):
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif self._passes(name, check):
                lines.append(f"[+]{name} ok")
            else:
                failed = True
                lines.append(f"[-]{name} failed: reason withheld")
        lines += [
            f"warn: some health checks cannot be excluded: no matches for {name!r}"
            for name in sorted(excluded - set(checks))
        ]
        if failed:
            return HttpResponse("\n".join([*lines, f"{self._endpoint} check failed\n"]).encode(), 500)
        if "verbose" in request.query:
            return HttpResponse("\n".join([*lines, f"{self._endpoint} check passed\n"]).encode())
        return HttpResponse(b"ok")

    def _serve_one(self, name: str, check: Check | None) -> HttpResponse:
        if check is None:
            return HttpResponse(b"404 page not found\n", 404)
        if self._passes(name, check):
            return HttpResponse(b"ok")
        return HttpResponse(b"internal server error: reason withheld\n", 500)

    def _passes(self, name: str, check: Check) -> bool:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - any failure of a check means unhealthy
            with self._lock:
                is_news = self._failing.get(name) != str(error)
                self._failing[name] = str(error)
            if is_news:
                log.info("Health check failed", endpoint=self._endpoint, check=name, error=str(error))
            return False
        with self._lock:
            had_failed = self._failing.pop(name, None) is not None
        if had_failed:
            log.info("Health check passes again", endpoint=self._endpoint, check=name)
        return True


def metrics_route(registry: CollectorRegistry) -> Route:
    """The metrics of a registry, in OpenMetrics or in Prometheus' text format as the client asks.

    Nothing below the path: there are rights to paths, and who may get /metrics/other may not get this.
    """

    def serve(request: HttpRequest) -> HttpResponse:
        if request.path:
            return HttpResponse(b"404 page not found\n", 404)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return HttpResponse(encode(registry), content_type=content_type)

    return serve
