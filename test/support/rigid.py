"""A client that refuses names as the client of an API server does: the fake one looks for whatever it is given."""

from __future__ import annotations

from typing import Any

from localmodel.runtime.delegating_client import DelegatingClient
from localmodel.runtime.objects import ObjectKey
from localmodel.runtime.rest import path_of


class Rigid(DelegatingClient):
    """Makes a path of each name; raises ValueError for one that is no part of a path."""

    def get(self, kind: Any, name: str, *, namespace: str = "") -> Any:
        path_of(kind, ObjectKey(namespace, name))
        return self.inner.get(kind, name, namespace=namespace)
