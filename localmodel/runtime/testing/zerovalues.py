"""What an object of a built-in kind has before anything is set: the structs that Go always writes, empty.

It decides who owns what: a map that an update brings is owned itself (`.`), but not one that was there, empty, before.
Lists that Go writes as null stand here as None. Made of the defaults `{}` and required lists in the OpenAPI document
of kube-apiserver 1.32.
"""

from __future__ import annotations

from typing import Any

from localmodel.runtime.objects import RESTMapping

Json = dict[str, Any]

_TEMPLATE: Json = {"metadata": {"creationTimestamp": None}, "spec": {"containers": None}}
_SPEC: Json = {"spec": {}}
_BOTH: Json = {"spec": {}, "status": {}}
_NOTHING: Json = {}

_ZERO_VALUES: dict[str, Json] = {
    "bindings": {"target": {}},
    "events": {"involvedObject": {}, "source": {}},
    "limitranges": {"spec": {"limits": None}},
    "namespaces": _BOTH,
    "nodes": {"spec": {}, "status": {"daemonEndpoints": {"kubeletEndpoint": {}}, "nodeInfo": {}}},
    "persistentvolumes": _BOTH,
    "persistentvolumeclaims": {"spec": {"resources": {}}, "status": {}},
    "pods": {"spec": {"containers": None}, "status": {}},
    "podtemplates": {"template": _TEMPLATE},
    "replicationcontrollers": _BOTH,
    "resourcequotas": _BOTH,
    "services": {"spec": {}, "status": {"loadBalancer": {}}},
    "validatingadmissionpolicies.admissionregistration.k8s.io": _BOTH,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _SPEC,
    "customresourcedefinitions.apiextensions.k8s.io": {
        "spec": {"names": {}, "versions": None},
        "status": {"acceptedNames": {}},
    },
    "daemonsets.apps": {"spec": {"template": _TEMPLATE, "updateStrategy": {}}, "status": {}},
    "deployments.apps": {"spec": {"strategy": {}, "template": _TEMPLATE}, "status": {}},
    "replicasets.apps": {"spec": {"template": _TEMPLATE}, "status": {}},
    "statefulsets.apps": {"spec": {"template": _TEMPLATE, "updateStrategy": {}}, "status": {}},
    "cronjobs.batch": {"spec": {"jobTemplate": {"metadata": {}, "spec": {"template": _TEMPLATE}}}, "status": {}},
    "jobs.batch": {"spec": {"template": _TEMPLATE}, "status": {}},
    "leases.coordination.k8s.io": _SPEC,
    "endpointslices.discovery.k8s.io": {"endpoints": None},
    "events.events.k8s.io": {"deprecatedSource": {}, "regarding": {}},
    "ingresses.networking.k8s.io": {"spec": {}, "status": {"loadBalancer": {}}},
    "ingressclasses.networking.k8s.io": _SPEC,
    "networkpolicies.networking.k8s.io": {"spec": {"podSelector": {}}},
    "poddisruptionbudgets.policy": _BOTH,
    "clusterrolebindings.rbac.authorization.k8s.io": {"roleRef": {}},
    "rolebindings.rbac.authorization.k8s.io": {"roleRef": {}},
    "csidrivers.storage.k8s.io": _SPEC,
    "csinodes.storage.k8s.io": {"spec": {"drivers": None}},
    "volumeattachments.storage.k8s.io": {"spec": {"source": {}}, "status": {}},
}


def zero_value(mapping: RESTMapping) -> Json:
    """Of a built-in kind; not to be changed."""
    return _ZERO_VALUES.get(mapping.group_resource, _NOTHING)


def with_zero_value(obj: Json, zero: Json) -> Json:
    """The object with the structs that it always has; shares everything else with its argument."""
    if not zero:
        return obj
    filled = {**zero, **obj}
    for key, inner in zero.items():
        if inner and isinstance(obj.get(key), dict):
            filled[key] = with_zero_value(obj[key], inner)
    return filled
