"""`FakeClient`: a `Client` and `ListerWatcher` on a `Registry`, for tests of reconcilers, informers and managers.

It behaves as the API server does, down to resource versions, conflicts and watch semantics, because the registry
beneath is the one that the embedded API server serves; and it writes to no key for which `rest` has no path. A typed
kind is served from its first use on. Every request is an `Action`: recorded in `actions`, and shown to the
interceptors, which may look, refuse, answer, or call through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from localmodel.runtime.client import APPLY_PATCH, A, Client, Deletion, Write, WriteOptions, selector_text
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import BadRequestError, NoKindMatchError, NotFoundError
from localmodel.runtime.listwatch import ListerWatcher, ListOptions, ListPage, WatchOptions, WatchStream
from localmodel.runtime.objects import Object, ObjectKey, RESTMapping, T
from localmodel.runtime.rest import path_of, path_of_deletion, path_of_write
from localmodel.runtime.restmapper import RESTMapper
from localmodel.runtime.selectors import FieldSelector, Selector

from .builtins import definition_of
from .definitions import ResourceDefinition
from .faults import Faults
from .registry import Registry
from .subresources import read_subresource, write_subresource
from .writerequest import Written

Verb = Literal["get", "list", "watch", "create", "update", "patch", "apply", "delete", "deletecollection"]
WRITES: frozenset[Verb] = frozenset({"create", "update", "patch", "apply", "delete", "deletecollection"})
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
    """ListOptions, WatchOptions, WriteOptions, or the Deletion."""

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
        self._lock = threading.Lock()
        # By kind, so that a request need not look up its resource. Guarded by _lock for changes.
        self._served: dict[type[Object], ResourceDefinition] = {}
        self._withdrawn: set[str] = set()
        self._indexes: dict[tuple[RESTMapping, str], Callable[[Any], Iterable[str]]] = {}
        for obj in objects:
            self.registry.seed(self.definition(type(obj)), obj.to_dict())

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
        selector = FieldSelector.of(fields)
        indexed = [term for term in selector.requirements if (kind.mapping, term.field) in self._indexes]
        options = ListOptions(
            namespace=namespace,
            label_selector=selector_text(Selector, labels),
            field_selector=str(FieldSelector(tuple(term for term in selector.requirements if term not in indexed))),
            limit=0 if indexed else limit,
        )
        try:
            found = [kind.from_json(item) for item in self.list_page(kind, options).items]
        except BadRequestError as error:
            if options.field_selector:
                error.add_note("if the field is an index of the cache, give it to this client: client.index_field(...)")
            raise
        for term in indexed:
            extract = self._indexes[kind.mapping, term.field]
            found = [obj for obj in found if (term.value in extract(obj)) != term.negated]
        return found[:limit] if limit else found

    def index_field(self, kind: type[T], name: str, extract: Callable[[T], Iterable[str]]) -> None:
        """Lets `list(fields={name: value})` find what `extract` files under the value, as `Cache.index_field` does.

        For reconcilers that read an index: a server knows no such field, so without this the list is refused.
        """
        self._indexes[kind.mapping, name] = extract

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

    def read_subresource(self, kind: type[Object], key: ObjectKey, subresource: str, answer: type[A]) -> A:
        def proceed() -> bytes:
            return read_subresource(self.registry, self.definition(kind), key, subresource)

        path_of(kind, key, subresource)
        return answer.from_json(self._request(Action("get", kind, key.namespace, key.name, subresource), proceed))

    @property
    def rest_mapper(self) -> RESTMapper:
        return _RegisteredKinds(self.registry)

    def write(self, write: Write[A]) -> A:
        def proceed() -> Written:
            definition = self.definition(write.kind)
            special = write_subresource(self.registry, definition, write) if write.subresource else None
            return special or self._write(definition, write)

        path_of_write(write)
        is_object = isinstance(write.body, Object)
        sent = write.body.deepcopy() if is_object else write.body
        key = write.key
        action = Action(write.verb, write.kind, key.namespace, key.name, write.subresource, sent, write.options)
        written = self._request(action, proceed)
        return write.answer.from_json(written.raw) if isinstance(written, Written) else cast(A, written)

    def _write(self, definition: ResourceDefinition, write: Write[Any]) -> Written:
        """Of the object itself, or of a subresource that is a part of it."""
        namespace, name, options = write.key.namespace, write.key.name, write.options
        body = write.body.to_dict() if isinstance(write.body, Object) else write.body
        if write.verb == "create":
            return self.registry.create(definition, namespace, body, _managed(options))
        if write.verb == "update":
            return self.registry.update(
                definition, namespace, name, body, _managed(options), subresource=write.subresource
            )
        is_apply = write.verb == "apply"
        return self.registry.patch(
            definition,
            namespace,
            name,
            body,
            APPLY_PATCH if is_apply else write.patch_type,
            options if is_apply else _managed(options),
            force=write.force,
            subresource=write.subresource,
        )

    def remove(self, deletion: Deletion) -> None:
        target = deletion.target

        def proceed() -> object:
            definition = self.definition(deletion.kind)
            if isinstance(target, ListOptions):
                return self.registry.delete_collection(
                    definition,
                    target,
                    propagation=deletion.propagation,
                    grace_period_seconds=deletion.grace_period_seconds,
                    options=deletion.options,
                )
            return self.registry.delete(
                definition,
                target.namespace,
                target.name,
                preconditions=deletion.preconditions,
                propagation=deletion.propagation,
                grace_period_seconds=deletion.grace_period_seconds,
                options=deletion.options,
            )

        path_of_deletion(deletion)
        if isinstance(target, ListOptions):
            action = Action("deletecollection", deletion.kind, target.namespace, options=deletion)
        else:
            action = Action("delete", deletion.kind, target.namespace, target.name, options=deletion)
        self._request(action, proceed)

    def _request(self, action: Action, proceed: Callable[[], Any]) -> Any:
        self.actions.append(action)
        for interceptor in reversed(self._interceptors):
            proceed = _bind(interceptor, action, proceed)
        return proceed()


class _RegisteredKinds(RESTMapper):
    """Knows what the registry serves; the version that was registered first is the preferred one."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def mapping(self, group: str, kind: str, version: str = "") -> RESTMapping:
        for definition in self._registry.definitions():
            gvk = definition.mapping.gvk
            if (gvk.group, gvk.kind) == (group, kind) and version in ("", gvk.version):
                return definition.mapping
        raise NoKindMatchError(
            f"no {kind} of group {group!r} is served by this fake: seed an object of that kind, or call "
            f"client.definition(Unstructured.of(RESTMapping.of({group!r}, {version or 'v1'!r}, {kind!r})))"
        )


def _bind(interceptor: Interceptor, action: Action, proceed: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: interceptor(action, proceed)


def _managed(options: WriteOptions) -> WriteOptions:
    return options if options.field_manager else replace(options, field_manager=_DEFAULT_MANAGER)
