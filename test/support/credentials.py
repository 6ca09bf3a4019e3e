"""A cluster with one LocalModelNamespaceCache whose credentials lie in its own namespace."""

from __future__ import annotations

import base64
from typing import Any

from localmodel.api import LocalModelNamespaceCache
from localmodel.api.credentials import copied_key, copy_name
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import ConfigMap, Object, Secret, ServiceAccount

from .manager import JOBS, Cluster, agent_pod, config_map, group, namespace_cache, node

OWN = '{"credentialNamespace": "own"}'
ELSEWHERE = '{"credentialNamespace": "own", "jobNamespace": "elsewhere"}'
JOB = "{}"


def secret(name: str = "hf", *, namespace: str = "team-a", **data: str) -> Secret:
    keys = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return Secret.from_dict({"metadata": {"name": name, "namespace": namespace}, "type": "Opaque", "data": keys})


def account(*secrets: str) -> ServiceAccount:
    metadata = {"name": "reader", "namespace": "team-a"}
    return ServiceAccount.from_dict({"metadata": metadata, "secrets": [{"name": name} for name in secrets]})


class World(Cluster):
    """One LocalModelNamespaceCache that names the ServiceAccount reader, which has a token of Hugging Face."""

    def __init__(self, *objects: Object, config: str = OWN, **spec: Any) -> None:
        super().__init__(
            node(),
            agent_pod(),
            group(),
            account("hf"),
            secret(HF_TOKEN="t-1"),
            namespace_cache(**(spec or {"serviceAccountName": "reader"})),
            config_map(config),
            *objects,
        )
        self.uid = self.namespace_cache().metadata.uid

    def run(self, seconds: float = 1.0) -> float:
        """Reconciles once, that much later; seconds until it shall be again."""
        self.clock.advance(seconds)
        result = self.reconcile_cache(namespace="team-a")
        return result.requeue_after if result is not None else 0.0

    def copy(self, namespace: str = JOBS) -> Secret | None:
        return self.client.find(Secret, copy_name(self.uid), namespace=namespace)

    @property
    def copied(self) -> dict[str, str] | None:
        """Of the copy in the job namespace; the token under its own name."""
        found = self.copy()
        if found is None:
            return None
        names = {copied_key("hf", "HF_TOKEN"): "HF_TOKEN"}
        return {names.get(key, key): base64.b64decode(value).decode() for key, value in found.data.items()}

    def configure(self, local_model: str) -> None:
        found = self.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
        found.data["localModel"] = local_model
        self.client.update(found)

    def change(self, **spec: Any) -> None:
        found = self.namespace_cache().to_dict()
        found["spec"] = {name: value for name, value in (found["spec"] | spec).items() if value is not None}
        self.client.update(LocalModelNamespaceCache.from_dict(found))

    def rotate(self, token: str) -> None:
        found = self.client.get(Secret, "hf", namespace="team-a")
        found.data = secret(HF_TOKEN=token).data
        self.client.update(found)

    def remove(self, kind: type[Object] = Secret, name: str = "hf") -> None:
        self.client.delete(self.client.get(kind, name, namespace="team-a"))

    def condition(self, type_: str = "Ready") -> tuple[str, str, str]:
        found = find_status_condition(self.namespace_cache().status.conditions, type_)
        assert found is not None
        return found.status, found.reason, found.message

    def reads(self) -> list[str]:
        """Of credentials, since the last call."""
        found = [a for a in self.client.actions if a.verb == "get" and a.kind in (Secret, ServiceAccount)]
        self.client.actions.clear()
        return [action.name for action in found]

    def restart(self) -> None:
        self.namespace_caches = self.wired(type(self.namespace_caches)(self.settings))
