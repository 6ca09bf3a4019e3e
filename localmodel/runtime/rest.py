"""`LiveClient`: typed reads and writes straight at the API server.

It turns kinds and options into requests, and answers into typed objects. `request` sends them, `rest_listwatch` does
the raw lists and watches.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from .client import (
    APPLY_PATCH,
    DEFAULT_WRITE,
    MERGE_PATCH,
    Client,
    PatchType,
    Preconditions,
    Propagation,
    StatusWriter,
    WriteOptions,
)
from .clock import Clock
from .errors import ExpiredError
from .kubeconfig import RestConfig
from .listwatch import ListerWatcher, ListOptions, ListPage, WatchOptions, WatchStream
from .metrics import Metrics
from .objects import Object, T
from .request import Requester
from .rest_listwatch import LiveListerWatcher, accept

PAGE_SIZE = 500


class LiveClient(Client, ListerWatcher):
    """A client without a cache. Safe to use from many threads; each keeps a connection of its own."""

    def __init__(self, config: RestConfig, *, metrics: Metrics | None = None, clock: Clock | None = None) -> None:
        """With `metrics` (those of the manager) requests are counted and timed."""
        self.config = config
        self._requester = Requester(config, metrics=metrics, clock=clock)
        self._lister_watcher = LiveListerWatcher(self._requester)
        self._status = _LiveStatus(self)

    def close(self) -> None:
        """Ends every request under way, and every wait for a retry, with an error. Idempotent."""
        self._requester.close()

    # reads ------------------------------------------------------------------------------------------------------

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        return kind.from_json(self._requester.request("GET", _object_path(kind, namespace, name), accept=accept(kind)))

    def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
        limit: int = 0,
    ) -> list[T]:
        options = ListOptions(
            namespace=namespace,
            label_selector=_selector(labels),
            field_selector=_selector(fields),
            limit=min(limit, PAGE_SIZE) if limit else PAGE_SIZE,
        )
        wanted = limit or None
        try:
            items = list(islice(self._pages(kind, options), wanted))
        except ExpiredError:
            # The continue token outlived the server's history: one consistent list without pages (runtimes.md 2.1).
            items = list(islice(self._pages(kind, _unpaged(options)), wanted))
        return sorted((kind.from_json(item) for item in items), key=lambda obj: obj.key)

    def _pages(self, kind: type[Object], options: ListOptions) -> Iterator[bytes | msgspec.Raw]:
        while True:
            page = self.list_page(kind, options)
            yield from page.items
            if not page.continue_:
                return
            options = _next_page(options, page.continue_)

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage:
        return self._lister_watcher.list_page(kind, options)

    def watch(self, kind: type[Object], options: WatchOptions) -> WatchStream:
        return self._lister_watcher.watch(kind, options)

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
        self._requester.request("DELETE", _path_of(obj), _write_parameters(options), body=msgspec.json.encode(body))

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
        return type(obj).from_json(self._requester.request(method, path, query, body=body, content_type=content_type))


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
