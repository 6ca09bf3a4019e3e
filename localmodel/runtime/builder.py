"""`Builder`: the declaration of a controller, which a reconciler writes in its `setup`.

    def setup(self, builder: Builder) -> None:
        builder.for_(Greeter).owns(ConfigMap)

Which objects of a kind are watched at all (namespaces, selectors) belongs to the cache: `CacheOptions.by_kind`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .controller import Controller, ControllerOptions
from .errors import RuntimeLibraryError
from .handler import EnqueueRequestForObject, EnqueueRequestForOwner, EventHandler
from .objects import Object, T
from .predicate import Predicate
from .reconcile import Reconciler
from .source import Kind, Source

if TYPE_CHECKING:
    from .manager import Manager


class BuilderError(RuntimeLibraryError):
    """The declaration of a controller is incomplete or contradicts itself."""


@dataclass(frozen=True, slots=True)
class _Watch:
    """One declared kind; `handler` None stands for the owner handler, which needs to know the `for_` kind."""

    kind: type[Object]
    handler: EventHandler | None
    predicates: tuple[Predicate, ...]
    match_every_owner: bool = False


class Builder:
    """Collects what a controller watches, then makes the controller and gives it to the manager."""

    def __init__(self, manager: Manager, options: ControllerOptions | None = None) -> None:
        self._manager = manager
        self._options = options or ControllerOptions()
        self._name = ""
        self._for: type[Object] | None = None
        self._watches: list[_Watch] = []
        self._sources: list[Source] = []
        self._global_predicates: tuple[Predicate, ...] = ()

    def named(self, name: str) -> Self:
        """The controller's name, unique in a manager (ControllerOptions.skip_name_validation); by default the `for_`
        kind in lower case."""
        self._name = name
        return self

    def for_(self, kind: type[Object], *predicates: Predicate) -> Self:
        """Reconciles objects of this kind: each event queues its object. At most once."""
        if self._for is not None:
            raise BuilderError(f"for_ was called with {self._for.__name__} already; watch {kind.__name__} instead")
        self._for = kind
        self._watches.append(_Watch(kind, EnqueueRequestForObject(), predicates))
        return self

    def owns(self, kind: type[Object], *predicates: Predicate, match_every_owner: bool = False) -> Self:
        """Watches objects made by the reconciler: each event queues the controlling owner of the `for_` kind.

        With `match_every_owner`, every owner of that kind.
        """
        self._watches.append(_Watch(kind, None, predicates, match_every_owner))
        return self

    def watches(self, kind: type[Object], handler: EventHandler, *predicates: Predicate) -> Self:
        """Watches other objects; the handler says which requests an event concerns."""
        self._watches.append(_Watch(kind, handler, predicates))
        return self

    def watches_source(self, source: Source) -> Self:
        """Adds a source as it is; `with_event_filter` does not apply to it."""
        self._sources.append(source)
        return self

    def index_field(self, kind: type[T], name: str, extract: Callable[[T], Iterable[str]]) -> Self:
        """Files objects of the kind under the values that `extract` gives: `client.list(kind, fields={name: value})`.

        Raises ValueError for a name in use. A test gives its FakeClient the same index.
        """
        self._manager.cache.index_field(kind, name, extract)
        return self

    def index_parts(self, kind: type[T], extract: Callable[[T], Mapping[str, Any]]) -> Self:
        """Files parts of objects of the kind, for `client.parts(kind, extract, value)` and `Event.parts`."""
        self._manager.cache.index_parts(kind, extract)
        return self

    def with_event_filter(self, *predicates: Predicate) -> Self:
        """Predicates for every kind of `for_`, `owns` and `watches`, beside their own."""
        self._global_predicates += predicates
        return self

    def with_options(self, options: ControllerOptions) -> Self:
        self._options = options
        return self

    def complete(self, reconciler: Reconciler) -> Controller:
        """Makes the controller and adds it to the manager; raises BuilderError, ValueError for a name that is taken."""
        self._check()
        if inspect.iscoroutinefunction(reconciler.reconcile):
            raise BuilderError(
                f"{type(reconciler).__name__}.reconcile is async: write def, with asyncio.run within for what is async"
            )
        controller = Controller(
            self._name or self._for_kind.mapping.gvk.kind.lower(),
            reconciler,
            self._options,
            cache=self._manager.cache,
            kind=self._for,
            clock=self._manager.clock,
            metrics=self._manager.metrics,
            may_act=self._manager.may_act if self._options.need_leader_election else None,
        )
        for watch in self._watches:
            controller.watch(Kind(watch.kind, self._handler(watch), self._global_predicates + watch.predicates))
            # Known to the cache from the start, its list is loaded while this process waits to lead.
            self._manager.cache.get_informer(watch.kind)
        for source in self._sources:
            controller.watch(source)
        self._manager.add(controller)
        return controller

    @property
    def _for_kind(self) -> type[Object]:
        if self._for is None:
            raise BuilderError("call for_ first: owns and the default name depend on its kind")
        return self._for

    def _handler(self, watch: _Watch) -> EventHandler:
        return watch.handler or EnqueueRequestForOwner(
            self._for_kind, only_controller_owner=not watch.match_every_owner
        )

    def _check(self) -> None:
        if not self._watches and not self._sources:
            raise BuilderError("a controller must watch something: call for_, watches or watches_source")
        if self._for is None and not self._name:
            raise BuilderError("a controller without for_ needs a name: call named")
        if self._for is None and any(watch.handler is None for watch in self._watches):
            raise BuilderError("owns needs for_: it queues owners of that kind")
        for watch in self._watches:
            self._check_watch(watch)

    def _check_watch(self, watch: _Watch) -> None:
        """A mistake here would otherwise show as a lost event, each time one comes."""
        if not (isinstance(watch.kind, type) and issubclass(watch.kind, Object) and hasattr(watch.kind, "mapping")):
            raise BuilderError(f"{watch.kind!r} is no kind: give a class made from Object, with a mapping")
        if not isinstance(watch.handler, EventHandler | None):
            raise BuilderError(
                f"{watch.handler!r} is no handler of {watch.kind.__name__}: give a function of an object as "
                "EnqueueRequestsFromMapFunc(function)"
            )
        for predicate in self._global_predicates + watch.predicates:
            if not isinstance(predicate, Predicate):
                raise BuilderError(
                    f"{predicate!r} is no predicate of {watch.kind.__name__}: give a function of an object as "
                    "new_predicate_funcs(function), an instance and not its class"
                )
