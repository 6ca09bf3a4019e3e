"""What an informer holds: namespaces, selectors, transform; and how its reflectors list and watch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from .reflector import ReflectorOptions
from .selectors import FieldSelector, Selector
from .store import Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceOptions:
    """What is held of one namespace, where that differs from the others; what is empty does not differ.

    Raises SelectorError for selectors that no API server would take.
    """

    labels: str = ""
    fields: str = ""
    transform: Transform | None = None

    def __post_init__(self) -> None:
        Selector.of(self.labels)
        FieldSelector.of(self.fields)

    @classmethod
    def of(cls, namespaces: Namespaces, namespace: str) -> NamespaceOptions:
        """What is said of one of the namespaces."""
        own = namespaces.get(namespace) if isinstance(namespaces, Mapping) else None
        return own or cls()

    def or_else(self, other: NamespaceOptions) -> NamespaceOptions:
        """These, and the other's where these say nothing."""
        return NamespaceOptions(
            labels=self.labels or other.labels,
            fields=self.fields or other.fields,
            transform=self.transform or other.transform,
        )


Namespaces: TypeAlias = Collection[str] | Mapping[str, NamespaceOptions]
"""Names, or names with what is particular about each."""


def check_namespaces(namespaces: Namespaces) -> None:
    """Raises TypeError for a string, which is a collection too: of its letters."""
    if isinstance(namespaces, str):
        raise TypeError(f"namespaces are a collection of names, not a string: give ({namespaces!r},)")


@dataclass(frozen=True, slots=True, kw_only=True)
class InformerOptions:
    """What an informer holds."""

    namespaces: Namespaces = ()
    """Only these, each with its own watch; none means all. A mapping tells where one of them differs from the others.
    Ignored for cluster-scoped kinds."""
    labels: str = ""
    fields: str = ""
    transform: Transform | None = None
    resync_period: float = 36_000.0
    """Seconds, +-10 %, after which every handler gets an update for each stored object, from the store, not from the
    server; 0 is never, below 1 is 1."""
    reflector: ReflectorOptions = field(default_factory=ReflectorOptions)
    """Paging, timeouts and backoff; namespace and selectors are overwritten."""

    def __post_init__(self) -> None:
        check_namespaces(self.namespaces)

    def of_namespace(self, namespace: str) -> NamespaceOptions:
        """What is held of one namespace."""
        common = NamespaceOptions(labels=self.labels, fields=self.fields, transform=self.transform)
        return NamespaceOptions.of(self.namespaces, namespace).or_else(common)

    def reflector_options(self, namespace: str) -> ReflectorOptions:
        """The options of one namespace's reflector."""
        own = self.of_namespace(namespace)
        return replace(self.reflector, namespace=namespace, labels=own.labels, fields=own.fields)
