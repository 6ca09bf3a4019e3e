"""A container's environment: env and envFrom of its spec, with Secrets, ConfigMaps and the pod's own fields resolved.

Rules: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#environment-variables.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from localmodel.runtime.client import Reader
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import ConfigMap, Pod, Secret, parse_quantity

_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_.][A-Za-z0-9_.-]*)\)")
_MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ContainerConfigError(RuntimeLibraryError):
    """A container cannot be made from its spec yet: something it refers to is missing (CreateContainerConfigError)."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replaces $(NAME) by the variable of that name; unknown ones stay, $$ is a dollar sign."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else env.get(match[1], match[0])

    return _VARIABLE.sub(replacement, text)


def build_environment(container: dict[str, Any], pod: Pod, reader: Reader) -> dict[str, str]:
    """The variables that the spec names; raises ContainerConfigError for a missing, not optional source."""
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        env |= _all_of(source, pod, reader)
    for entry in container.get("env") or []:
        if source := entry.get("valueFrom"):
            value = _value_from(source, container, pod, reader)
            if value is not None:
                env[entry["name"]] = value
        else:
            env[entry["name"]] = expand(entry.get("value") or "", env)
    return env


def _all_of(source: dict[str, Any], pod: Pod, reader: Reader) -> dict[str, str]:
    for field, read in (("configMapRef", config_map_data), ("secretRef", secret_data)):
        if reference := source.get(field):
            data = read(reader, pod.namespace, reference["name"], optional=bool(reference.get("optional")))
            prefix = source.get("prefix") or ""
            return {prefix + key: value.decode(errors="replace") for key, value in data.items()}
    return {}


def _value_from(source: dict[str, Any], container: dict[str, Any], pod: Pod, reader: Reader) -> str | None:
    for field, what, read in (
        ("secretKeyRef", "Secret", secret_data),
        ("configMapKeyRef", "ConfigMap", config_map_data),
    ):
        if reference := source.get(field):
            optional = bool(reference.get("optional"))
            data = read(reader, pod.namespace, reference["name"], optional=optional)
            if reference["key"] in data:
                return data[reference["key"]].decode(errors="replace")
            if optional:
                return None
            raise ContainerConfigError(
                f"couldn't find key {reference['key']} in {what} {pod.namespace}/{reference['name']}"
            )
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return resource_value(container, reference)
    raise ContainerConfigError(f"the sandbox does not know the source of a variable: {', '.join(source)}")


def secret_data(reader: Reader, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes]:
    """The decoded data of a Secret; raises ContainerConfigError if it is missing and not optional."""
    secret = reader.find(Secret, name, namespace=namespace)
    if secret is None:
        if optional:
            return {}
        raise ContainerConfigError(f'secret "{name}" not found')
    return {key: base64.b64decode(value) for key, value in secret.data.items()}


def config_map_data(reader: Reader, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes]:
    """The data of a ConfigMap; raises ContainerConfigError if it is missing and not optional."""
    config_map = reader.find(ConfigMap, name, namespace=namespace)
    if config_map is None:
        if optional:
            return {}
        raise ContainerConfigError(f'configmap "{name}" not found')
    return {key: value.encode() for key, value in config_map.data.items()}


def field_value(pod: Pod, path: str) -> str:
    """A field of the pod by its downward API path; raises ContainerConfigError for one that is not offered.

    metadata.labels and metadata.annotations, all of them, are for volumes: one `key="value"` a line.
    """
    if match := _MAP_FIELD.fullmatch(path):
        values = pod.metadata.labels if match[1] == "labels" else pod.metadata.annotations
        return values.get(match[2], "")
    status = pod.status.to_dict()
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.metadata.uid,
        "metadata.labels": _lines(pod.metadata.labels),
        "metadata.annotations": _lines(pod.metadata.annotations),
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": status.get("hostIP") or "127.0.0.1",
        "status.hostIPs": status.get("hostIP") or "127.0.0.1",
        "status.podIP": status.get("podIP") or "127.0.0.1",
        "status.podIPs": status.get("podIP") or "127.0.0.1",
    }
    if path not in fields:
        raise ContainerConfigError(f"unsupported fieldPath: {path}")
    return fields[path]


def _lines(values: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={json.dumps(value)}" for key, value in sorted(values.items()))


_NODE_CAPACITY = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1800G"}
"""What a container without a limit may use: all of its node (`nodes.description`)."""


def resource_value(container: dict[str, Any], reference: dict[str, Any]) -> str:
    """A request or limit of a container, in units of the divisor, rounded up; a request that is missing is 0."""
    section, _, name = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    quantity = (resources.get(section) or {}).get(name)
    if quantity is None and section == "limits":
        quantity = _NODE_CAPACITY.get(name)
    if quantity is None and section == "requests":
        quantity = (resources.get("limits") or {}).get(name)
    divisor = _exact(reference.get("divisor") or "1") or Fraction(1)
    return str(math.ceil(_exact(quantity or "0") / divisor))


def _exact(quantity: Any) -> Fraction:
    """A quantity with what stands behind its point: cpu is counted in thousandths."""
    text = str(quantity)
    if text.endswith("m"):
        return Fraction(text[:-1]) / 1000
    try:
        return Fraction(text)
    except ValueError:
        return Fraction(parse_quantity(text))
