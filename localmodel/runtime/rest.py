"""`LiveClient`: typed reads and writes, raw lists and watches of any kind, straight at the API server.

It turns kinds and options into requests and answers into typed objects and typed errors; `transport` moves the bytes. A
429 or 5xx answer that carries Retry-After is tried again after that time, at most ten times (client-go's
rest.Request).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import msgspec
import tenacity

from . import cancellation, deadline
from .cancellation import Cancellation
from .client import (
    APPLY_PATCH,
    DEFAULT_WRITE,
    MERGE_PATCH,
    Client,
    ListerWatcher,
    ListOptions,
    ListPage,
    PatchType,
    Preconditions,
    Propagation,
    StatusWriter,
    WatchEvent,
    WatchOptions,
    WatchStream,
    WriteOptions,
)
from .clock import Clock, RealClock
from .errors import ApiError, ExpiredError, TransportError, error_from_status
from .kubeconfig import RestConfig
from .metrics import Metrics
from .objects import Object, T
from .transport import Response, Stream, Transport

PAGE_SIZE = 500
MAX_RETRIES = 10
_METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1,application/json"


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_decode_list = msgspec.json.Decoder(_List).decode
_decode_event = msgspec.json.Decoder(_Event).decode


class LiveClient(Client, ListerWatcher):
    """A client without a cache. Safe to use from many threads; each keeps a connection of its own."""

    def __init__(self, config: RestConfig, *, metrics: Metrics | None = None, clock: Clock | None = None) -> None:
        """With `metrics` (those of the manager) requests are counted and timed."""
        self.config = config
        self._metrics = metrics
        self._clock = clock or RealClock()
        self._transport = Transport(config)
        self._closing = Cancellation()
        self._status = _LiveStatus(self)
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

    # reads ------------------------------------------------------------------------------------------------------

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        return kind.from_json(self._request("GET", _object_path(kind, namespace, name), accept=_accept(kind)))

    def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
    ) -> list[T]:
        options = ListOptions(
            namespace=namespace, label_selector=_selector(labels), field_selector=_selector(fields), limit=PAGE_SIZE
        )
        try:
            items = list(self._pages(kind, options))
        except ExpiredError:
            # The continue token outlived the server's history: one consistent list without pages (runtimes.md 2.1).
            items = list(self._pages(kind, _unpaged(options)))
        return sorted((kind.from_json(item) for item in items), key=lambda obj: obj.key)

    def _pages(self, kind: type[Object], options: ListOptions) -> Iterator[bytes | msgspec.Raw]:
        while True:
            page = self.list_page(kind, options)
            yield from page.items
            if not page.continue_:
                return
            options = _next_page(options, page.continue_)

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage:
        parameters = {
            "labelSelector": options.label_selector,
            "fieldSelector": options.field_selector,
            "resourceVersion": options.resource_version,
            "resourceVersionMatch": options.resource_version_match,
            "limit": options.limit or "",
            "continue": options.continue_,
        }
        path = kind.mapping.path(options.namespace)
        body = _decode_list(self._request("GET", path, parameters, accept=_accept(kind, "List")))
        return ListPage(body.items or [], body.metadata.resource_version, body.metadata.continue_)

    def watch(self, kind: type[Object], options: WatchOptions) -> WatchStream:
        """Raises the typed error of an answer that is not a stream (410, 403, 404, ...)."""
        parameters = {
            "watch": "true",
            "labelSelector": options.label_selector,
            "fieldSelector": options.field_selector,
            "resourceVersion": options.resource_version,
            "allowWatchBookmarks": "true" if options.allow_bookmarks else "",
            "timeoutSeconds": options.timeout_seconds,
        }
        if options.send_initial_events:
            parameters |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        target = _target(kind.mapping.path(options.namespace), parameters)
        code, stream = self._transport.stream(
            target, headers={"Accept": _accept(kind)}, silence=options.silence_seconds
        )
        if code != 200:
            try:
                raise _error(Response(code, stream.read(), stream.headers))
            finally:
                stream.close()
        return _LiveWatch(stream)

    # writes -----------------------------------------------------------------------------------------------------

    @property
    def status(self) -> StatusWriter:
        return self._status

    def create(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        path = obj.mapping.path(_namespace(obj))
        return self._write("POST", path, obj, obj.to_json(), options)

    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        return self._write("PUT", _path_of(obj), obj, obj.to_json(), options)

    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T:
        return self._write("PATCH", _path_of(obj), obj, msgspec.json.encode(patch), options, content_type=patch_type)

    def apply(self, obj: T, *, field_owner: str, force: bool = False, options: WriteOptions = DEFAULT_WRITE) -> T:
        parameters = {"fieldManager": field_owner, "force": "true" if force else "false"}
        return self._write(
            "PATCH", _path_of(obj), obj, obj.to_json(), options, content_type=APPLY_PATCH, parameters=parameters
        )

    def delete(
        self,
        obj: Object,
        *,
        propagation: Propagation = "Background",
        preconditions: Preconditions | None = None,
        grace_period_seconds: int | None = None,
        options: WriteOptions = DEFAULT_WRITE,
    ) -> None:
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if grace_period_seconds is not None:
            body["gracePeriodSeconds"] = grace_period_seconds
        if preconditions:
            pairs = {"uid": preconditions.uid, "resourceVersion": preconditions.resource_version}
            body["preconditions"] = {key: value for key, value in pairs.items() if value is not None}
        self._request("DELETE", _path_of(obj), _write_parameters(options), body=msgspec.json.encode(body))

    def _write(
        self,
        method: str,
        path: str,
        obj: T,
        body: bytes,
        options: WriteOptions,
        *,
        content_type: str = "application/json",
        parameters: dict[str, str] | None = None,
    ) -> T:
        query = _write_parameters(options) | (parameters or {})
        return type(obj).from_json(self._request(method, path, query, body=body, content_type=content_type))

    def _request(
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
        target = _target(path, parameters or {})
        return self._retrying(self._request_once, method, target, body, headers)

    def _request_once(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        started, code = self._clock.monotonic(), "<error>"
        try:
            response = self._transport.request(method, target, body=body, headers=headers)
            code = str(response.code)
        finally:
            self._observe(method, code, self._clock.monotonic() - started)
        if response.code >= 300:
            raise _error(response)
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


class _LiveStatus(StatusWriter):
    def __init__(self, client: LiveClient) -> None:
        self._client = client

    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        return self._client._write("PUT", _path_of(obj, "status"), obj, obj.to_json(), options)

    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T:
        body = msgspec.json.encode(patch)
        return self._client._write("PATCH", _path_of(obj, "status"), obj, body, options, content_type=patch_type)


class _LiveWatch(WatchStream):
    """Decodes a stream's lines; a line that is no event breaks the watch, because what it hid is lost."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[WatchEvent]:
        for line in self._stream.lines():
            try:
                event = _decode_event(line)
            except msgspec.DecodeError as error:
                raise TransportError(f"a watch event is not JSON: {error}") from error
            yield WatchEvent(event.type, event.object)

    def close(self) -> None:
        self._stream.close()


def _accept(kind: type[Object], suffix: Literal["", "List"] = "") -> str:
    return _METADATA.format(list=suffix) if kind.metadata_only else "application/json"


def _selector(selector: str | dict[str, str]) -> str:
    return selector if isinstance(selector, str) else ",".join(f"{key}={value}" for key, value in selector.items())


def _namespace(obj: Object) -> str:
    if obj.mapping.namespaced and not obj.namespace:
        raise ValueError(f"{obj} has no namespace: set metadata.namespace")
    return obj.namespace


def _object_path(kind: type[Object], namespace: str, name: str) -> str:
    if not name:
        raise ValueError(f"a {kind.mapping.gvk.kind} without a name: give the name of the object")
    if kind.mapping.namespaced and not namespace:
        raise ValueError(f"{kind.mapping.gvk.kind} {name} has no namespace: give the namespace of the object")
    return kind.mapping.path(namespace, name)


def _path_of(obj: Object, subresource: str = "") -> str:
    path = _object_path(type(obj), obj.namespace, obj.name)
    return f"{path}/{subresource}" if subresource else path


def _write_parameters(options: WriteOptions) -> dict[str, str]:
    return {
        "dryRun": "All" if options.dry_run else "",
        "fieldManager": options.field_manager,
        "fieldValidation": options.field_validation,
    }


def _target(path: str, parameters: dict[str, Any]) -> str:
    query = urlencode({key: value for key, value in parameters.items() if value != ""})
    return f"{path}?{query}" if query else path


def _unpaged(options: ListOptions) -> ListOptions:
    return ListOptions(
        namespace=options.namespace, label_selector=options.label_selector, field_selector=options.field_selector
    )


def _next_page(options: ListOptions, token: str) -> ListOptions:
    """Continuation requests carry the token and no resource version (runtimes.md 2.1 no. 8)."""
    return ListOptions(
        namespace=options.namespace,
        label_selector=options.label_selector,
        field_selector=options.field_selector,
        limit=options.limit,
        continue_=token,
    )


def _error(response: Response) -> ApiError:
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
