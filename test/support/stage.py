"""A stage for scripts that run against any cluster's controllers and tell what became of the objects.

A script plays scheduler and kubelet by hand, so that only the controllers act. What it observes is normalised: names
that are made up, uids and times are left out or replaced, so that two clusters that do the same look the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from localmodel.runtime.clock import RealClock
from localmodel.runtime.errors import ApiError, ConflictError, NotFoundError
from localmodel.runtime.objects import (
    ConfigMap,
    DaemonSet,
    Event,
    Job,
    Namespace,
    Object,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    Unstructured,
    format_time,
)
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.controllers.kinds import Node

from .eventually import eventually

Json = dict[str, Any]

KINDS: dict[str, type[Object]] = {
    kind.mapping.gvk.kind: kind
    for kind in (ConfigMap, DaemonSet, Event, Job, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod)
} | {"StorageClass": StorageClass}

_numbers = itertools.count()
TIMEOUT = 60.0


class Stage:
    """One script's objects, in a namespace of its own."""

    def __init__(self, client: LiveClient, name: str) -> None:
        self.client = client
        self.namespace = f"{name.replace('_', '-')[:40]}-{next(_numbers)}"
        self._cluster_scoped: list[Object] = []
        self.client.create(Namespace.from_dict({"metadata": {"name": self.namespace}}))

    def close(self) -> None:
        for obj in self._cluster_scoped:
            self.delete(type(obj), obj.name)
        self.delete(Namespace, self.namespace)

    def unique(self, name: str) -> str:
        """A name for a cluster-scoped object."""
        return f"{self.namespace}-{name}"

    def create(self, kind: str, name: str, **document: Any) -> Any:
        metadata = {"name": name, **document.pop("metadata", {})}
        type_ = KINDS[kind]
        if type_.mapping.namespaced:
            metadata["namespace"] = self.namespace
        created = self.client.create(type_.from_dict({"metadata": metadata, **document}))
        if not type_.mapping.namespaced and kind != "Namespace":
            self._cluster_scoped.append(created)
        return created

    def get(self, kind: type[Object] | str, name: str) -> Any:
        type_ = KINDS[kind] if isinstance(kind, str) else kind
        return self.client.get(type_, name, namespace=self.namespace if type_.mapping.namespaced else "")

    def find(self, kind: type[Object] | str, name: str) -> Any:
        try:
            return self.get(kind, name)
        except NotFoundError:
            return None

    def delete(self, kind: type[Object] | str, name: str, **options: Any) -> None:
        obj = self.find(kind, name)
        if obj is None:
            return
        try:
            self.client.delete(obj, **options)
        except NotFoundError:
            return

    def patch(self, kind: str, name: str, patch: Json) -> Any:
        return self.client.patch(self.get(kind, name), patch)

    def patch_status(self, kind: str, name: str, status: Json) -> Any:
        return self.client.status.patch(self.get(kind, name), {"status": status})

    def until(self, what: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
        """Waits; the value that made it true. An object that is not there, or changed meanwhile, is not true yet."""
        values: list[Any] = []

        def holds() -> bool:
            try:
                values.append(what())
            except (NotFoundError, ConflictError):
                return False
            return bool(values[-1])

        eventually(holds, timeout=timeout)
        return values[-1]

    def settled(self, what: Callable[[], Any], seconds: float = 1.5) -> Any:
        """What holds after nothing has changed for a while: for promises that nothing happens."""
        clock = RealClock()
        last, since = what(), clock.monotonic()

        def is_settled() -> bool:
            nonlocal last, since
            now = what()
            if now != last:
                last, since = now, clock.monotonic()
            return clock.monotonic() - since >= seconds

        eventually(is_settled, timeout=TIMEOUT)
        return last

    # pods ---------------------------------------------------------------------------------------------------------

    def pods(self, *, deleting: bool = False) -> list[Pod]:
        """Oldest first; without those in deletion."""
        pods = self.client.list(Pod, namespace=self.namespace)
        kept = [pod for pod in pods if deleting or not pod.is_deleting]
        return sorted(kept, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.name))

    def one_pod(self) -> Pod:
        """The pod that is not finished, once there is exactly one."""
        return self.until(
            lambda: (lambda p: p[0] if len(p) == 1 else None)([p for p in self.pods() if not p.is_finished])
        )  # type: ignore[no-any-return]

    def bind(self, pod: Pod, node: str) -> None:
        body = {"metadata": {"name": pod.name, "namespace": pod.namespace}, "target": {"kind": "Node", "name": node}}
        from localmodel.sandbox.controllers.kinds import Binding

        self.client.create(Binding.type_for(pod.name).from_dict(body))

    def run(self, pod: Pod) -> None:
        """Lets a pod run and be Ready."""
        now = format_time(RealClock().now())
        self.client.status.patch(
            pod,
            {
                "status": {
                    "phase": "Running",
                    "startTime": now,
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
                }
            },
        )

    def end(self, pod: Pod, code: int, *, conditions: list[Json] | None = None) -> None:
        """Lets a pod end with an exit code."""
        now = format_time(RealClock().now())
        spec = pod.spec.containers[0]
        container = {
            "name": spec["name"],
            "image": "x",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {
                "terminated": {
                    "exitCode": code,
                    "reason": "Error" if code else "Completed",
                    "startedAt": now,
                    "finishedAt": now,
                }
            },
        }
        status = {"phase": "Failed" if code else "Succeeded", "startTime": now, "containerStatuses": [container]}
        ready = {"type": "Ready", "status": "False", "lastTransitionTime": now}
        status["conditions"] = [ready, *(conditions or [])]
        self.client.status.patch(pod, {"status": status})

    # what is seen -------------------------------------------------------------------------------------------------

    def conditions(self, kind: str, name: str) -> list[Json]:
        status = self.get(kind, name).to_dict().get("status") or {}
        fields = ("type", "status", "reason", "message")
        return [
            {field: self.normal(c[field]) for field in fields if field in c} for c in status.get("conditions") or []
        ]

    def counts(self, kind: str, name: str) -> Json:
        """The status without conditions and times."""
        status = dict(self.get(kind, name).to_dict().get("status") or {})
        status.pop("conditions", None)
        status.pop("uncountedTerminatedPods", None)
        return {key: "TIME" if key.endswith("Time") else self.normal(value) for key, value in sorted(status.items())}

    def events(self, name: str) -> list[str]:
        """Type and reason of the events about an object, without repetition; they are written after the deed."""

        def now() -> list[str]:
            events = self.client.list(Event, namespace=self.namespace) + self.client.list(Event, namespace="default")
            return sorted({f"{e.type} {e.reason}" for e in events if e.involved_object.name == name})

        return self.settled(now, 1.0)  # type: ignore[no-any-return]

    def normal(self, value: Any) -> Any:
        """Without the stage's own names, and the names and uids of pods."""
        if isinstance(value, str):
            for index, pod in enumerate(self.pods(deleting=True)):
                value = value.replace(pod.name, f"POD{index}")
            return value.replace(self.namespace, "NAMESPACE")
        if isinstance(value, dict):
            return {key: self.normal(item) for key, item in value.items()}
        return [self.normal(item) for item in value] if isinstance(value, list) else value


__all__ = ["ApiError", "Stage", "Unstructured"]
