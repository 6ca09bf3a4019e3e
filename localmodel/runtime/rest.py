"""`LiveClient`: typed reads and writes straight at the API server.

It turns kinds and options into requests, and answers into typed objects. `request` sends them, `rest_listwatch` does
the raw lists and watches.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import pydantic

from .client import APPLY_PATCH, A, Client, Deletion, Write, WriteOptions, selector_text
from .clock import Clock
from .errors import ExpiredError, ObjectDecodeError
from .kubeconfig import RestConfig
from .listwatch import ListerWatcher, ListOptions, ListPage, WatchOptions, WatchStream
from .metrics import Metrics
from .objects import Object, ObjectKey, T
from .request import Requester
from .rest_listwatch import LiveListerWatcher, accept
from .restmapper import DiscoveryRESTMapper, RESTMapper
from .selectors import FieldSelector, Selector

PAGE_SIZE = 500


class LiveClient(Client, ListerWatcher):
    """A client without a cache. Safe to use from many threads; each keeps a connection of its own."""

    def __init__(self, config: RestConfig, *, metrics: Metrics | None = None, clock: Clock | None = None) -> None:
        """With `metrics` (those of the manager) requests are counted and timed."""
        self.config = config
        self._requester = Requester(config, metrics=metrics, clock=clock)
        self._lister_watcher = LiveListerWatcher(self._requester)
        self._rest_mapper = DiscoveryRESTMapper(self._requester, clock=clock)

    def close(self) -> None:
        """Ends every request under way, and every wait for a retry, with an error. Idempotent."""
        self._requester.close()

    # reads ------------------------------------------------------------------------------------------------------

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        path = path_of(kind, ObjectKey(namespace, name))
        return _decoded(kind, self._requester.request("GET", path, accept=accept(kind)), path)

    def read_subresource(self, kind: type[Object], key: ObjectKey, subresource: str, answer: type[A]) -> A:
        path = path_of(kind, key, subresource)
        return _decoded(answer, self._requester.request("GET", path), path)

    @property
    def rest_mapper(self) -> RESTMapper:
        return self._rest_mapper

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
            label_selector=selector_text(Selector, labels),
            field_selector=selector_text(FieldSelector, fields),
            limit=min(limit, PAGE_SIZE) if limit else PAGE_SIZE,
        )
        wanted = limit or None
        try:
            items = list(islice(self._pages(kind, options), wanted))
        except ExpiredError:
            # The continue token outlived the server's history: one consistent list without pages (runtimes.md 2.1).
            items = list(islice(self._pages(kind, _unpaged(options)), wanted))
        path = kind.mapping.path(namespace)
        return sorted((_decoded(kind, item, path) for item in items), key=lambda obj: obj.key)

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

    def write(self, write: Write[A]) -> A:
        method = _METHODS[write.verb]
        path = path_of_write(write)
        parameters = _write_parameters(write.options)
        content_type = "application/json"
        if write.verb == "patch":
            content_type = write.patch_type
        elif write.verb == "apply":
            content_type = APPLY_PATCH
            parameters["force"] = "true" if write.force else "false"
        answer = self._requester.request(
            method,
            path,
            parameters,
            body=_encoded(write.body),
            content_type=content_type,
            accept=accept(write.answer),
        )
        return _decoded(write.answer, answer, path)

    def remove(self, deletion: Deletion) -> None:
        target, parameters = deletion.target, _write_parameters(deletion.options)
        path = path_of_deletion(deletion)
        if isinstance(target, ListOptions):
            parameters |= {"labelSelector": target.label_selector, "fieldSelector": target.field_selector}
        body = msgspec.json.encode(_delete_options(deletion))
        self._requester.request("DELETE", path, parameters, body=body)


_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "apply": "PATCH"}


def _decoded(kind: type[T], data: bytes | msgspec.Raw, path: str) -> T:
    """Raises ObjectDecodeError. A write that was answered so has happened all the same."""
    try:
        return kind.from_json(data)
    except (msgspec.MsgspecError, pydantic.ValidationError, RecursionError) as error:
        text = f"the answer of {path} is no {kind.__name__}: {error}; it begins with {bytes(data)[:100]!r}"
        raise ObjectDecodeError(text) from error


def _encoded(body: Any) -> bytes:
    return body.to_json() if isinstance(body, Object) else msgspec.json.encode(body)


def _delete_options(deletion: Deletion) -> dict[str, Any]:
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": deletion.propagation,
    }
    if deletion.options.dry_run:
        body["dryRun"] = ["All"]  # kube-apiserver does not look at the query of a deletion that has a body
    if deletion.grace_period_seconds is not None:
        body["gracePeriodSeconds"] = deletion.grace_period_seconds
    if deletion.preconditions:
        pairs = {
            "uid": deletion.preconditions.uid,
            "resourceVersion": deletion.preconditions.resource_version,
        }
        body["preconditions"] = {key: value for key, value in pairs.items() if value is not None}
    return body


def path_of_write(write: Write[Any]) -> str:
    """Raises as `path_of`."""
    is_new = write.verb == "create" and not write.subresource
    return path_of(write.kind, write.key, write.subresource, collection=is_new)


def path_of_deletion(deletion: Deletion) -> str:
    """Raises as `path_of`."""
    target = deletion.target
    if isinstance(target, ObjectKey):
        return path_of(deletion.kind, target)
    return path_of(deletion.kind, ObjectKey(target.namespace, ""), collection=True)


def path_of(kind: type[Object], key: ObjectKey, subresource: str = "", *, collection: bool = False) -> str:
    """Raises ValueError for a key that lacks what the path needs: the shorter path would be that of a collection."""
    if not key.name and not collection:
        raise ValueError(f"a {kind.mapping.gvk.kind} without a name: give the name of the object")
    if kind.mapping.namespaced and not key.namespace:
        raise ValueError(f"{kind.mapping.gvk.kind} {key.name or '(new)'} has no namespace: set metadata.namespace")
    return kind.mapping.path(key.namespace, "" if collection else key.name, subresource)


def _write_parameters(options: WriteOptions) -> dict[str, Any]:
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
