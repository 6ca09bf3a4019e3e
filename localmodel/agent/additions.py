"""What a Job gets beside its download: variables, volumes, an account. Plain JSON of core/v1, and never a secret value.

Its parts come from several modules (credentials, certificates, identity), which build on this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from localmodel.api.node import LocalModelInfo

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is added to a Job. `service_account` is the account that the pod runs as, if not the namespace's default;
    `image_pull_secrets` are the pull secrets of that account, by name."""

    env: tuple[Json, ...] = ()
    volumes: tuple[Json, ...] = ()
    volume_mounts: tuple[Json, ...] = ()
    service_account: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    pod_labels: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Credentials) -> Credentials:
        """Both; of two volumes or mounts with one name the first stays, of two variables the later."""
        env = {item["name"]: item for item in (*self.env, *other.env)}
        volumes = {item["name"]: item for item in (*other.volumes, *self.volumes)}
        mounts = {item["name"]: item for item in (*other.volume_mounts, *self.volume_mounts)}
        return Credentials(
            env=tuple(env.values()),
            volumes=tuple(volumes.values()),
            volume_mounts=tuple(mounts.values()),
            service_account=self.service_account or other.service_account,
            image_pull_secrets=(*self.image_pull_secrets, *other.image_pull_secrets),
            pod_labels={**self.pod_labels, **other.pod_labels},
        )


def escaped(text: str) -> str:
    """The text as a variable's value or an argument of a container, taken as it stands.

    Kubernetes puts the value of a variable, a token say, in the place of `$(NAME)`; a URI or a parameter is written by
    somebody who may use a credential without knowing it.
    """
    return text.replace("$", "$$")


def literal(name: str, value: str) -> Json:
    """A variable with that very value."""
    return {"name": name, "value": escaped(value)}


def from_secret(variable: str, secret: str, key: str) -> Json:
    """A variable that the kubelet fills from a Secret of the pod's namespace."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def selection_variables(entry: LocalModelInfo) -> dict[str, str]:
    """What of the source to download, where the cache says so."""
    env = {}
    if entry.revision:
        env["LOCALMODEL_DOWNLOAD_REVISION"] = entry.revision
    if entry.include:
        env["STORAGE_ALLOW_PATTERNS"] = json.dumps(entry.include)
    if entry.exclude:
        env["STORAGE_IGNORE_PATTERNS"] = json.dumps(entry.exclude)
    return env
