"""The DaemonSet of agents that a group asks for: pure functions of the group and the configuration.

Its host path is the group's own path and its placement the group's own node affinity, so that the two can no longer
disagree with where the group's volumes lie (D-12, D-39). Apart from that its pods are those of
config/agent/manager.yaml. `agentsets` makes what is wanted here come about.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from localmodel.api import LocalModelConfig, LocalModelNodeGroup
from localmodel.api.names import (
    AGENT_LABEL,
    AGENT_LABEL_VALUE,
    NODE_GROUP_LABEL,
    agent_daemon_set_name,
    group_label_value,
)
from localmodel.runtime.controllerutil import set_controller_reference
from localmodel.runtime.objects import DaemonSet, NodeSelector, parse_quantity, quantity_value

Json = dict[str, Any]

AGENT_ACCOUNT: Final = "kserve-localmodelnode-agent"
"""The service account of agents, hand-installed or not."""
NAME_LABEL: Final = "app.kubernetes.io/name"
MODELS_MOUNT: Final = "/mnt/models"
"""Where an agent's container sees its node's models."""
APPLIED_ANNOTATION: Final = "localmodel.kserve.io/applied"
"""On the DaemonSet: a hash of what was applied last. It tells of what is not wanted any more."""
DEFAULT_RESOURCES: Final[Mapping[str, Mapping[str, str]]] = {
    "requests": {"cpu": "100m", "memory": "200Mi"},
    "limits": {"cpu": "500m", "memory": "300Mi"},
}
"""Those of config/agent/manager.yaml."""
_MEBIBYTE: Final = 1 << 20


class InvalidAgentError(ValueError):
    """A DaemonSet is asked for and cannot be made; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """What is asked for."""

    image: str
    resources: Mapping[str, Any]
    tolerations: Sequence[Json] = ()
    by_group: bool = True
    """False: by the configuration alone, which makes no DaemonSet where a hand-installed one covers the nodes."""


def agent_request(
    group: LocalModelNodeGroup, config: LocalModelConfig, *, downloads_memory: int = 0
) -> AgentRequest | None:
    """What `spec.agent` asks for, completed from the configuration, else what the configuration alone does.

    `downloads_memory`: bytes that an agent's own downloads may take (`downloadMode: Agent`); the default limit has room
    for them.
    """
    agent = group.spec.agent
    if agent is None:
        if not config.local_model_agent_image:
            return None
        return AgentRequest(
            image=config.local_model_agent_image, resources=_configured(config, downloads_memory), by_group=False
        )
    return AgentRequest(
        image=agent.image or config.local_model_agent_image,
        resources=agent.resources or _configured(config, downloads_memory),
        tolerations=agent.tolerations,
    )


def _configured(config: LocalModelConfig, downloads_memory: int) -> Mapping[str, Any]:
    """The configured resources; the defaults only where none is, as a limit must not be less than a request."""
    resources = {
        "requests": {"cpu": config.local_model_agent_cpu_request, "memory": config.local_model_agent_memory_request},
        "limits": {"cpu": config.local_model_agent_cpu_limit, "memory": config.local_model_agent_memory_limit},
    }
    given = {kind: {name: amount for name, amount in of.items() if amount} for kind, of in resources.items()}
    return {kind: of for kind, of in given.items() if of} or _with_room(downloads_memory)


def _with_room(downloads_memory: int) -> Mapping[str, Any]:
    """The defaults, with memory for downloads and no limit of CPU: the kernel would hold back the agent with them,
    whatever their priority is, and without they take what nobody else wants."""
    if not downloads_memory:
        return DEFAULT_RESOURCES
    total = parse_quantity(DEFAULT_RESOURCES["limits"]["memory"]) + downloads_memory
    return {**DEFAULT_RESOURCES, "limits": {"memory": f"{-(-total // _MEBIBYTE)}Mi"}}


def wanted_daemon_set(group: LocalModelNodeGroup, request: AgentRequest, namespace: str) -> DaemonSet:
    """The whole DaemonSet, owned by the group; raises InvalidAgentError."""
    if not request.image:
        raise InvalidAgentError("spec.agent names no image, and neither does localModelAgentImage of the configuration")
    if not group.models_path:
        raise InvalidAgentError("persistentVolumeSpec has neither local.path nor hostPath.path for an agent to mount")
    value = group_label_value(group.name)
    labels = {AGENT_LABEL: AGENT_LABEL_VALUE, NODE_GROUP_LABEL: value}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {
                "labels": {NAME_LABEL: AGENT_LABEL_VALUE, **labels},
                "annotations": {"kubectl.kubernetes.io/default-container": "manager"},
            },
            "spec": _pod_spec(group, request),
        },
    }
    daemon_set = DaemonSet.from_dict(
        {
            "metadata": {
                "name": agent_daemon_set_name(group.name),
                "namespace": namespace,
                "labels": {NAME_LABEL: AGENT_LABEL_VALUE, **labels},
                "annotations": {APPLIED_ANNOTATION: _digest(spec)},
            },
            "spec": spec,
        }
    )
    set_controller_reference(group, daemon_set, block_owner_deletion=False)
    return daemon_set


def _pod_spec(group: LocalModelNodeGroup, request: AgentRequest) -> Json:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": _placement(group)}
    spec = {
        "affinity": {"nodeAffinity": required},
        "serviceAccountName": AGENT_ACCOUNT,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(request)],
        "volumes": [
            {"name": "models", "hostPath": {"path": group.models_path, "type": "DirectoryOrCreate"}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    if request.tolerations:
        spec["tolerations"] = copy.deepcopy(list(request.tolerations))
    return spec


def _placement(group: LocalModelNodeGroup) -> Json:
    """The group's node selector, in which each term requires also that the node's agents are the group's.

    An empty term matches nothing and is left out: with a requirement it would match. Raises InvalidAgentError.
    """
    try:
        required = NodeSelector.from_dict((group.node_affinity or {}).get("required") or {}).to_dict()
    except ValidationError as error:
        raise InvalidAgentError(
            f"persistentVolumeSpec.nodeAffinity.required is not a node selector: {error}"
        ) from error
    own = {"key": NODE_GROUP_LABEL, "operator": "In", "values": [group_label_value(group.name)]}
    terms = [
        {**term, "matchExpressions": [*(term.get("matchExpressions") or []), own]}
        for term in required.get("nodeSelectorTerms") or []
        if term.get("matchExpressions") or term.get("matchFields")
    ]
    if not terms:
        raise InvalidAgentError("persistentVolumeSpec.nodeAffinity.required names no nodes for an agent to run on")
    return {"nodeSelectorTerms": terms}


def _container(request: AgentRequest) -> Json:
    return {
        "name": "manager",
        "image": request.image,
        "command": ["/manager"],
        "env": [
            _from_field("POD_NAMESPACE", "metadata.namespace"),
            _from_field("POD_NAME", "metadata.name"),
            _from_field("NODE_NAME", "spec.nodeName"),
        ],
        "ports": [
            {"name": "metrics", "containerPort": 8080, "protocol": "TCP"},
            {"name": "health", "containerPort": 8081, "protocol": "TCP"},
        ],
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "health"},
            "initialDelaySeconds": 30,
            "failureThreshold": 5,
        },
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "health"}, "periodSeconds": 5},
        "resources": copy.deepcopy(dict(request.resources)),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS_MOUNT, "mountPropagation": "HostToContainer"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _from_field(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _digest(spec: Json) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def has_what_is_wanted(existing: DaemonSet, wanted: DaemonSet) -> bool:
    """Whether the DaemonSet was applied as it is wanted now, and nobody has changed a field of ours since."""
    if existing.metadata.annotations.get(APPLIED_ANNOTATION) != wanted.metadata.annotations[APPLIED_ANNOTATION]:
        return False
    return _contains(existing.metadata.labels, wanted.metadata.labels) and _contains(existing.spec, wanted.spec)


def _contains(actual: Any, wanted: Any) -> bool:
    """Whether `actual` has all that `wanted` says. The server adds fields, and writes quantities in its own way."""
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and all(
            value is None or (key in actual and _contains(actual[key], value)) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(wanted)
            and all(_contains(one, other) for one, other in zip(actual, wanted, strict=True))
        )
    return bool(actual == wanted) or _equal_quantities(actual, wanted)


def _equal_quantities(actual: Any, wanted: Any) -> bool:
    try:
        return quantity_value(actual) == quantity_value(wanted)
    except (ValueError, TypeError):  # they are no quantities
        return False
