"""`FakeClient`: a `Client` and `ListerWatcher` on a `Registry`, for tests of reconcilers, informers and managers.

It behaves as the API server does, down to resource versions, conflicts and watch semantics, because the registry
beneath is the one that the embedded API server serves. A typed kind is served from its first use on. Every request is
an `Action`: recorded in `actions`, and shown to the interceptors, which may look, refuse, answer, or call through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from localmodel.runtime.client import (
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
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.listwatch import ListerWatcher, ListOptions, ListPage, WatchOptions, WatchStream
from localmodel.runtime.objects import Object, ObjectKey, T
from localmodel.runtime.selectors import FieldSelector, Selector

from .builtins import definition_of
from .definitions import ResourceDefinition
from .faults import Faults
from .registry import Registry
from .writing import Written

Verb = Literal["get", "list", "watch", "create", "update", "patch", "apply", "delete"]
WRITES: frozenset[Verb] = frozenset({"create", "update", "patch", "apply", "delete"})
_DEFAULT_MANAGER = "fake-client"


@dataclass(frozen=True, slots=True)
class Action:
    """One request. `object` is the body: the object of a create, update or apply, the patch of a patch."""

    verb: Verb
    kind: type[Object]
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    object: Any = field(default=None, repr=False)
    options: Any = field(default=None, repr=False)
    """ListOptions, WatchOptions or WriteOptions."""

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.namespace, self.name)

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES

    def __str__(self) -> str:
        resource = "/".join(part for part in (self.kind.mapping.group_resource, self.subresource) if part)
        return f"{self.verb} {resource} {self.key}".rstrip()


Interceptor = Callable[[Action, Callable[[], Any]], Any]
"""(action, proceed) -> the answer. `proceed()` asks the next interceptor, at last the registry."""


class FakeClient(Client, ListerWatcher):
    """An API server in memory, as a client. Thread-safe.

    `objects` are there from the start, with their status, finalizers and (if they have finalizers) deletion timestamp.
    `interceptors` see each request, the first one first; `faults` are injected beneath them.
    """

    def __init__(
        self,
        *objects: Object,
        registry: Registry | None = None,
        clock: Clock | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        if registry is not None and clock is not None:
            raise ValueError("give the clock to the registry: a client of a registry has the registry's clock")
        self.registry = registry or Registry(clock=clock)
        self.faults = Faults(self.registry)
        self.actions: list[Action] = []
        """All requests so far, in the order they were begun."""
        self._interceptors: tuple[Interceptor, ...] = (*interceptors, self.faults.intercept)
        self._status = _FakeStatusWriter(self)
        self._lock = threading.Lock()
        # By kind, so that a request need not look up its resource. Guarded by _lock for changes.
        self._served: dict[type[Object], ResourceDefinition] = {}
        self._withdrawn: set[str] = set()
        for obj in objects:
            self.registry.seed(self.definition(type(obj)), obj.to_dict())

    @property
    def status(self) -> StatusWriter:
        return self._status

    @property
    def writes(self) -> list[Action]:
        """The recorded actions that write."""
        return [action for action in self.actions if action.is_write]

    def definition(self, kind: type[Object]) -> ResourceDefinition:
        """The registry's definition of a kind, registered now if need be. NotFoundError if it was withdrawn."""
        mapping = kind.mapping
        if mapping.group_resource in self._withdrawn:
            raise NotFoundError.of("the server could not find the requested resource")
        known = self._served.get(kind)
        if known is None:
            with self._lock:
                gvk = mapping.gvk
                known = self.registry.lookup(gvk.group, gvk.version, mapping.plural)
                if known is None:
                    known = definition_of(kind)
                    self.registry.register(known)
                self._served[kind] = known
        return known

    def withdraw(self, kind: type[Object]) -> None:
        """Stops serving a kind, as if its CustomResourceDefinition was not installed; ends its watches."""
        self._withdrawn.add(kind.mapping.group_resource)
        self.registry.end_watches(kind.mapping.group_resource)

    def serve(self, kind: type[Object]) -> None:
        """Serves a kind that was withdrawn, with the objects it had."""
        self._withdrawn.discard(kind.mapping.group_resource)

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        def proceed() -> bytes:
            return self.registry.get_raw(self.definition(kind), namespace, name)

        return kind.from_json(self._request(Action("get", kind, namespace, name), proceed))

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
            label_selector=_text(Selector, labels),
            field_selector=_text(FieldSelector, fields),
            limit=limit,
        )
        return [kind.from_json(item) for item in self.list_page(kind, options).items]

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage:
        def proceed() -> ListPage:
            return self.registry.list(self.definition(kind), options)

        action = Action("list", kind, options.namespace, options=options)
        return cast(ListPage, self._request(action, proceed))

    def watch(self, kind: type[Object], options: WatchOptions) -> WatchStream:
        def proceed() -> WatchStream:
            return self.registry.watch(self.definition(kind), options)

        action = Action("watch", kind, options.namespace, options=options)
        return cast(WatchStream, self._request(action, proceed))

    def create(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        def proceed() -> Written:
            return self.registry.create(self.definition(type(obj)), obj.namespace, obj.to_dict(), _managed(options))

        return self._write(obj, "create", proceed, options=options)

    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        return self._update(obj, options, "")

    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T:
        return self._patch(obj, patch, patch_type, options, "")

    def apply(self, obj: T, *, field_owner: str, force: bool = False, options: WriteOptions = DEFAULT_WRITE) -> T:
        def proceed() -> Written:
            return self.registry.patch(
                self.definition(type(obj)),
                obj.namespace,
                obj.name,
                obj.to_dict(),
                APPLY_PATCH,
                replace(options, field_manager=field_owner),
                force=force,
            )

        return self._write(obj, "apply", proceed, options=options)

    def delete(
        self,
        obj: Object,
        *,
        propagation: Propagation = "Background",
        preconditions: Preconditions | None = None,
        grace_period_seconds: int | None = None,
        options: WriteOptions = DEFAULT_WRITE,
    ) -> None:
        def proceed() -> Written:
            return self.registry.delete(
                self.definition(type(obj)),
                obj.namespace,
                obj.name,
                preconditions=preconditions,
                propagation=propagation,
                grace_period_seconds=grace_period_seconds,
                options=options,
            )

        self._request(Action("delete", type(obj), obj.namespace, obj.name, options=options), proceed)

    def _update(self, obj: T, options: WriteOptions, subresource: str) -> T:
        def proceed() -> Written:
            definition = self.definition(type(obj))
            return self.registry.update(
                definition, obj.namespace, obj.name, obj.to_dict(), _managed(options), subresource=subresource
            )

        return self._write(obj, "update", proceed, subresource=subresource, options=options)

    def _patch(self, obj: T, patch: Any, patch_type: PatchType, options: WriteOptions, subresource: str) -> T:
        def proceed() -> Written:
            definition = self.definition(type(obj))
            return self.registry.patch(
                definition,
                obj.namespace,
                obj.name,
                patch,
                patch_type,
                _managed(options),
                subresource=subresource,
            )

        return self._write(obj, "patch", proceed, body=patch, subresource=subresource, options=options)

    def _write(
        self,
        obj: T,
        verb: Verb,
        proceed: Callable[[], Written],
        *,
        body: Any = None,
        subresource: str = "",
        options: WriteOptions,
    ) -> T:
        sent = obj.deepcopy() if body is None else body
        action = Action(verb, type(obj), obj.namespace, obj.name, subresource, sent, options)
        written = self._request(action, proceed)
        return type(obj).from_json(written.raw) if isinstance(written, Written) else cast(T, written)

    def _request(self, action: Action, proceed: Callable[[], Any]) -> Any:
        self.actions.append(action)
        for interceptor in reversed(self._interceptors):
            proceed = _bind(interceptor, action, proceed)
        return proceed()


class _FakeStatusWriter(StatusWriter):
    def __init__(self, client: FakeClient) -> None:
        self._client = client

    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        return self._client._update(obj, options, "status")

    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T:
        return self._client._patch(obj, patch, patch_type, options, "status")


def _bind(interceptor: Interceptor, action: Action, proceed: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: interceptor(action, proceed)


def _managed(options: WriteOptions) -> WriteOptions:
    return options if options.field_manager else replace(options, field_manager=_DEFAULT_MANAGER)


def _text(parser: type[Selector] | type[FieldSelector], selector: str | Mapping[str, str]) -> str:
    """A selector as a request carries it."""
    return selector if isinstance(selector, str) else str(parser.of(selector))
