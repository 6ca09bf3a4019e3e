"""`MemoryClient`: the least client that unit tests of small parts need: stored objects, conflicts, calls, failures.

What needs the semantics of an API server uses `localmodel.runtime.testing.FakeClient`.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable
from typing import Any

from localmodel.runtime.client import Client, Deletion, Write
from localmodel.runtime.errors import AlreadyExistsError, ConflictError, NotFoundError
from localmodel.runtime.objects import Object, ObjectKey
from localmodel.runtime.restmapper import RESTMapper


class MemoryClient(Client):
    """Thread-safe. `calls` names each request in order; `fail(verb, error, ...)` makes the next ones of a verb fail."""

    def __init__(self, *objects: Object) -> None:
        self.calls: list[str] = []
        self.before: Callable[[str], object] = lambda verb: None
        """Called with each verb before it is carried out, outside the lock."""
        self._lock = threading.RLock()
        self._version = 0
        self._objects: dict[tuple[type[Object], str, str], Object] = {}
        self._failures: dict[str, list[Exception]] = {}
        for obj in objects:
            self._put(obj)

    def fail(self, verb: str, *errors: Exception) -> None:
        self._failures.setdefault(verb, []).extend(errors)

    def _call(self, verb: str) -> None:
        self.before(verb)
        with self._lock:
            self.calls.append(verb)
            failures = self._failures.get(verb)
            if failures:
                raise failures.pop(0)

    def _put(self, obj: Object) -> Any:
        with self._lock:
            self._version += 1
            stored = obj.deepcopy()
            stored.metadata.resource_version = str(self._version)
            stored.metadata.uid = stored.metadata.uid or f"uid-{self._version}"
            self._objects[type(obj), obj.namespace, obj.name] = stored
            return stored.deepcopy()

    def _find(self, kind: type[Object], namespace: str, name: str) -> Object:
        with self._lock:
            stored = self._objects.get((kind, namespace, name))
            if stored is None:
                raise NotFoundError.of(f'{kind.mapping.group_resource} "{name}" not found')
            return stored

    def get(self, kind: type[Any], name: str, *, namespace: str = "") -> Any:
        self._call("get")
        return self._find(kind, namespace, name).deepcopy()

    def list(
        self, kind: type[Any], *, namespace: str = "", labels: Any = "", fields: Any = "", limit: int = 0
    ) -> builtins.list[Any]:
        self._call("list")
        with self._lock:
            found = [obj.deepcopy() for (known, _, _), obj in sorted(self._objects.items(), key=str) if known is kind]
        return found[:limit] if limit else found

    def write(self, write: Write[Any]) -> Any:
        if write.subresource or write.verb == "apply":
            raise NotImplementedError("MemoryClient has no subresources and no server-side apply")
        self._call(write.verb)
        with self._lock:
            if write.verb == "create":
                return self._create(write.body)
            known = self._find(write.kind, write.key.namespace, write.key.name)
            if write.verb == "patch":  # a merge patch of top-level fields
                return self._put(write.kind.from_dict(known.to_dict() | write.body))
            if write.body.metadata.resource_version != known.metadata.resource_version:
                raise ConflictError.of(
                    f"Operation cannot be fulfilled on {write.key.name}: the object has been modified"
                )
            return self._put(write.body)

    def _create(self, obj: Any) -> Any:
        if (type(obj), obj.namespace, obj.name) in self._objects:
            raise AlreadyExistsError.of(f'{obj.mapping.group_resource} "{obj.name}" already exists')
        return self._put(obj)

    def remove(self, deletion: Deletion) -> None:
        assert isinstance(deletion.target, ObjectKey), "MemoryClient deletes single objects"
        self._call("delete")
        with self._lock:
            self._find(deletion.kind, deletion.target.namespace, deletion.target.name)
            del self._objects[deletion.kind, deletion.target.namespace, deletion.target.name]

    def read_subresource(self, kind: Any, key: Any, subresource: str, answer: Any) -> Any:
        raise NotImplementedError("MemoryClient has no subresources")

    @property
    def rest_mapper(self) -> RESTMapper:
        raise NotImplementedError("MemoryClient knows no other kinds than its objects'")
