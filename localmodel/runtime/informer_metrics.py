"""What informers hold and do, as metrics that are gathered when they are scraped: nothing is counted in between.

The names are client-go's where it has one (`reflector_...`, `store_resource_version`, `informer_queued_items`). The
label `name` is the Python type, since one resource may have several informers: typed, unstructured, metadata only.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .phase import Phase

if TYPE_CHECKING:
    from .informer import SharedInformer

_INFORMER_LABELS = ("name", "group", "version", "resource")
_SCOPE_LABELS = (*_INFORMER_LABELS, "namespace")


class InformerMetrics(Collector):
    """The metric families of one cache's informers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._informers: Callable[[], Callable[[], Iterable[SharedInformer[Any]]] | None] = lambda: None
        """Gives what lists the informers, while that lives."""
        registry.register(self)

    def observe(self, informers: Callable[[], Iterable[SharedInformer[Any]]]) -> None:
        """From now on the metrics are of the informers that this bound method lists, as long as its object lives.

        Raises ValueError if another's are already: their series would be the same.
        """
        if self._informers() is not None:
            raise ValueError("these metrics are of another cache: give each cache a `Metrics` of its own")
        self._informers = weakref.WeakMethod(informers)

    def describe(self) -> Iterable[Metric]:
        return _Families().all()

    def collect(self) -> Iterable[Metric]:
        families = _Families()
        list_informers = self._informers()
        for informer in list_informers() if list_informers is not None else ():
            families.add(informer)
        return families.all()


class _Families:
    """The families of one scrape."""

    def __init__(self) -> None:
        self.objects = _gauge("localmodel_informer_objects", "Number of objects in the store", _INFORMER_LABELS)
        self.synced = _gauge("localmodel_informer_synced", "1 once the first list is in the store", _INFORMER_LABELS)
        self.queued = _gauge("informer_queued_items", "Number of events waiting for handlers", _INFORMER_LABELS)
        self.handler_failures = _counter(
            "localmodel_informer_handler_failures", "Total number of events lost to a failing handler", _INFORMER_LABELS
        )
        self.version = _gauge(
            "store_resource_version", "Resource version up to which the store follows the server", _SCOPE_LABELS
        )
        self.phase = _gauge(
            "localmodel_informer_phase",
            "1 for what the reflector is doing, 0 for everything else",
            (*_SCOPE_LABELS, "phase"),
        )
        self.lists = _counter("reflector_lists", "Total number of API lists done by the reflectors", _SCOPE_LABELS)
        self.watches = _counter(
            "reflector_watches", "Total number of API watches done by the reflectors", _SCOPE_LABELS
        )
        self.events = _counter("localmodel_reflector_events", "Total number of watch events received", _SCOPE_LABELS)
        self.failures = _counter(
            "localmodel_reflector_failures", "Total number of failed requests and broken streams", _SCOPE_LABELS
        )
        self.dropped = _counter(
            "localmodel_reflector_dropped", "Total number of items that could not be read", _SCOPE_LABELS
        )

    def all(self) -> list[Metric]:
        return list(vars(self).values())

    def add(self, informer: SharedInformer[Any]) -> None:
        kind = informer.kind
        gvk = kind.mapping.gvk
        labels = (f"{kind.__module__}.{kind.__qualname__}", gvk.group, gvk.version, kind.mapping.plural)
        self.objects.add_metric(labels, len(informer.store))
        self.synced.add_metric(labels, informer.has_synced)
        self.queued.add_metric(labels, informer.pending)
        self.handler_failures.add_metric(labels, informer.handler_failures)
        for namespace, phase, stats in zip(informer.namespaces, informer.phases, informer.stats, strict=True):
            scope = (*labels, namespace)
            version = informer.last_synced_resource_version(namespace)
            if version.isdecimal():
                self.version.add_metric(scope, int(version))
            for known in Phase:
                self.phase.add_metric((*scope, known.value), known is phase)
            self.lists.add_metric(scope, stats.lists)
            self.watches.add_metric(scope, stats.watches)
            self.events.add_metric(scope, stats.events)
            self.failures.add_metric(scope, stats.failures)
            self.dropped.add_metric(scope, stats.dropped)


def _gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)
