"""Protects a route with the cluster's own users and rights (controller-runtime's pkg/metrics/filters).

A scraper sends its bearer token; a TokenReview says whose it is, a SubjectAccessReview whether that user may `get` the
path, as the ClusterRole of a Prometheus grants it with `nonResourceURLs: ["/metrics"]`. Both answers are remembered for
a short time, so that a scrape costs no request as a rule. 401 without a valid token, 403 without the right, 500 if the
reviews themselves fail. The program's own account needs `create` on tokenreviews and subjectaccessreviews.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import structlog
from pydantic import Field

from .client import Client
from .clock import Clock, RealClock
from .errors import ApiError, TransportError
from .httpserver import HttpRequest, HttpResponse, Route
from .objects import Object, RESTMapping

log = structlog.get_logger(__name__)

TOKEN_SECONDS = 60.0
"""How long a token is believed."""
ALLOWED_SECONDS = 300.0
DENIED_SECONDS = 30.0
CACHE_SIZE = 1024
"""Answers remembered of each kind."""

Json = dict[str, Any]
V = TypeVar("V")


class TokenReview(Object):
    """authentication.k8s.io/v1."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("authentication.k8s.io", "v1", "TokenReview", namespaced=False)
    spec: Json = Field(default_factory=dict)
    status: Json = Field(default_factory=dict)


class SubjectAccessReview(Object):
    """authorization.k8s.io/v1."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of(
        "authorization.k8s.io", "v1", "SubjectAccessReview", namespaced=False
    )
    spec: Json = Field(default_factory=dict)
    status: Json = Field(default_factory=dict)


class AuthFilter:
    """Wraps routes. Thread-safe."""

    def __init__(self, client: Client, *, clock: Clock | None = None) -> None:
        """`client` writes at the API server."""
        self._client = client
        clock = clock or RealClock()
        self._users: _Remembered[Json] = _Remembered(clock)
        self._verdicts: _Remembered[bool] = _Remembered(clock)

    def protect(self, prefix: str, route: Route) -> Route:
        """The route at `prefix`, for those who have the right to `get` the path."""

        def serve(request: HttpRequest) -> HttpResponse:
            path = prefix + request.path
            try:
                user = self._authenticate(request.headers.get("authorization", ""))
                if user is None:
                    return HttpResponse(b"Unauthorized\n", 401)
                if not self._authorize(user, path):
                    return HttpResponse(f"Authorization denied for user {user.get('username', '')}\n".encode(), 403)
            except (ApiError, TransportError) as error:
                log.error("Cannot tell who may read this path", path=path, error=str(error))
                return HttpResponse(b"Authentication failed: the review could not be made\n", 500)
            return route(request)

        return serve

    def _authenticate(self, header: str) -> Json | None:
        """The user of a bearer token; None without one that the cluster accepts."""
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        # Not the token itself: memory is dumped and debugged.
        key = hashlib.sha256(token.encode()).digest()
        user = self._users.get(key)
        if user is None:
            status = self._client.create(TokenReview(spec={"token": token})).status
            if not status.get("authenticated"):
                return None
            user = status.get("user") or {}
            self._users.put(key, user, TOKEN_SECONDS)
        return user

    def _authorize(self, user: Json, path: str) -> bool:
        groups = tuple(user.get("groups") or ())
        # With the extra part: authorizers look at it, OpenShift's for what a token is limited to.
        extra = msgspec.json.encode(user.get("extra") or {}, order="deterministic")
        key = (user.get("username"), user.get("uid"), groups, extra, path)
        allowed = self._verdicts.get(key)
        if allowed is None:
            spec: Json = {
                "user": user.get("username", ""),
                "uid": user.get("uid", ""),
                "groups": list(groups),
                "extra": user.get("extra") or {},
                "nonResourceAttributes": {"path": path, "verb": "get"},
            }
            allowed = bool(self._client.create(SubjectAccessReview(spec=spec)).status.get("allowed"))
            self._verdicts.put(key, allowed, ALLOWED_SECONDS if allowed else DENIED_SECONDS)
        return allowed


class _Remembered(Generic[V]):
    """Answers that expire; the least recently used go first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()
        """By key: when the answer expires, on the clock's monotonic time, and the answer."""

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            expires, value = self._answers.get(key, (0.0, None))
            if value is None or self._clock.monotonic() >= expires:
                return None
            self._answers.move_to_end(key)
            return value

    def put(self, key: Hashable, value: V, seconds: float) -> None:
        with self._lock:
            self._answers[key] = (self._clock.monotonic() + seconds, value)
            self._answers.move_to_end(key)
            while len(self._answers) > CACHE_SIZE:
                self._answers.popitem(last=False)
