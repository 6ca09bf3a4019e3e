"""Clients that pass everything on to another client, some of it changed.

The options of controller-runtime's wrappers (NewDryRunClient, WithFieldOwner, WithFieldValidation, NewNamespacedClient)
are functions here. As every write is a value (`client.Write`, `client.Deletion`), one class serves them all.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from .client import SEEN_TIMEOUT, A, Client, Deletion, P, Write, WriteOptions, owned
from .errors import RuntimeLibraryError
from .listwatch import ListOptions
from .objects import Object, ObjectKey, T
from .restmapper import RESTMapper


class WrongNamespaceError(RuntimeLibraryError):
    """An object of another namespace was asked of a client that is for one namespace only."""


class DelegatingClient(Client):
    """Passes everything on to `inner`. A subclass overrides what it does otherwise."""

    def __init__(self, inner: Client) -> None:
        self.inner = inner

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        return self.inner.get(kind, name, namespace=namespace)

    def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
        limit: int = 0,
    ) -> builtins.list[T]:
        return self.inner.list(kind, namespace=namespace, labels=labels, fields=fields, limit=limit)

    def parts(self, kind: type[T], extract: Callable[[T], Mapping[str, P]], value: str) -> dict[ObjectKey, P]:
        return self.inner.parts(kind, extract, value)

    def read_subresource(self, kind: type[Object], key: ObjectKey, subresource: str, answer: type[A]) -> A:
        return self.inner.read_subresource(kind, key, subresource, answer)

    @property
    def rest_mapper(self) -> RESTMapper:
        return self.inner.rest_mapper

    def write(self, write: Write[A]) -> A:
        return self.inner.write(write)

    def remove(self, deletion: Deletion) -> None:
        self.inner.remove(deletion)

    def wait_until_seen(self, written: Object, timeout: float = SEEN_TIMEOUT) -> None:
        self.inner.wait_until_seen(written, timeout)

    def wait_until_gone(self, deleted: Object, timeout: float = SEEN_TIMEOUT) -> None:
        self.inner.wait_until_gone(deleted, timeout)


def dry_run_client(client: Client) -> Client:
    """A client all of whose writes are dry runs: answered as if, without effect (client.NewDryRunClient)."""
    return _WithOptions(client, lambda options: replace(options, dry_run=True))


def with_field_owner(client: Client, owner: str) -> Client:
    """A client that writes as that field manager where a call names none (client.WithFieldOwner)."""
    return _WithOptions(client, lambda options: options if options.field_manager else owned(options, owner))


def with_field_validation(client: Client, validation: Literal["Ignore", "Warn", "Strict"]) -> Client:
    """A client that has unknown fields treated so, where a call does not say (client.WithFieldValidation)."""

    def change(options: WriteOptions) -> WriteOptions:
        return options if options.field_validation else replace(options, field_validation=validation)

    return _WithOptions(client, change)


def namespaced_client(client: Client, namespace: str) -> Client:
    """A client of one namespace (client.NewNamespacedClient): where a call names none it is that one.

    Naming another raises WrongNamespaceError. Objects of cluster-scoped kinds are read and written as ever.
    """
    return _InNamespace(client, namespace)


class _WithOptions(DelegatingClient):
    """Changes the options of every write."""

    def __init__(self, inner: Client, change: Callable[[WriteOptions], WriteOptions]) -> None:
        super().__init__(inner)
        self._change = change

    def write(self, write: Write[A]) -> A:
        return self.inner.write(replace(write, options=self._change(write.options)))

    def remove(self, deletion: Deletion) -> None:
        self.inner.remove(replace(deletion, options=self._change(deletion.options)))


class _InNamespace(DelegatingClient):
    def __init__(self, inner: Client, namespace: str) -> None:
        super().__init__(inner)
        self._namespace = namespace

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        return self.inner.get(kind, name, namespace=self._placed(kind, namespace))

    def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
        limit: int = 0,
    ) -> builtins.list[T]:
        placed = self._placed(kind, namespace)
        return self.inner.list(kind, namespace=placed, labels=labels, fields=fields, limit=limit)

    def read_subresource(self, kind: type[Object], key: ObjectKey, subresource: str, answer: type[A]) -> A:
        return self.inner.read_subresource(kind, self._key(kind, key), subresource, answer)

    def write(self, write: Write[A]) -> A:
        return self.inner.write(replace(write, key=self._key(write.kind, write.key)))

    def remove(self, deletion: Deletion) -> None:
        kind, target = deletion.kind, deletion.target
        if isinstance(target, ListOptions):
            placed = replace(target, namespace=self._placed(kind, target.namespace))
            self.inner.remove(replace(deletion, target=placed))
        else:
            self.inner.remove(replace(deletion, target=self._key(kind, target)))

    def _key(self, kind: type[Object], key: ObjectKey) -> ObjectKey:
        return ObjectKey(self._placed(kind, key.namespace), key.name)

    def _placed(self, kind: type[Object], namespace: str) -> str:
        if not kind.mapping.namespaced:
            return namespace
        if namespace not in ("", self._namespace):
            raise WrongNamespaceError(
                f"a {kind.mapping.gvk.kind} of namespace {namespace} was asked of a client for {self._namespace} only"
            )
        return self._namespace
