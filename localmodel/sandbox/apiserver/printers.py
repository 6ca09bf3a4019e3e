"""The columns of the built-in kinds, as kube-apiserver prints them.

Each kind is a list of columns made of small functions over the object's JSON. Kinds without an entry show name and
creation time, as a kind without printer does on a real server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from localmodel.runtime.objects import RESTMapping

from .ages import UNKNOWN, age, human_duration, parse_time
from .podprinter import POD_COLUMNS
from .table import AGE_COLUMN, DEFAULT_PRINTER, NAME_DESCRIPTION, Cell, Column, Json, Printer

NONE = "<none>"
UNSET = "<unset>"
_ACCESS_MODES = (
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
)
_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class",
)  # fmt: skip
_NODE_ROLE = "node-role.kubernetes.io/"


def _get(obj: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path."""
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
        if obj is None:
            return default
    return obj


def _path(path: str, default: Any = "") -> Cell:
    return lambda obj, _: _get(obj, path, default)


def _size(path: str) -> Cell:
    return lambda obj, _: len(_get(obj, path, ()))


def _since(path: str) -> Cell:
    return lambda obj, now: age(_get(obj, path), now)


def _column(name: str, source: str | Cell, *, type_: str = "string", wide: bool = False, default: Any = "") -> Column:
    cell = _path(source, default) if isinstance(source, str) else source
    return Column(name, cell, type=type_, priority=1 if wide else 0)


def _wide(name: str, source: str | Cell, *, default: Any = "") -> Column:
    return _column(name, source, wide=True, default=default)


def _count(name: str, source: str | Cell) -> Column:
    return _column(name, source, type_="integer", default=0)


def format_labels(labels: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def format_selector(selector: Json | None) -> str:
    """metav1.FormatLabelSelector."""
    selector = selector or {}
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, operator, values = expression["key"], expression["operator"], ",".join(expression.get("values") or ())
        if operator in ("In", "NotIn"):
            parts.append(f"{key} {operator.lower()} ({values})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(parts) or NONE


def _selector(path: str) -> Cell:
    return lambda obj, _: format_selector(_get(obj, path))


def _labels(path: str) -> Cell:
    return lambda obj, _: format_labels(_get(obj, path))


def access_modes(obj: Json, path: str) -> str:
    modes = _get(obj, path, ())
    return ",".join(short for mode, short in _ACCESS_MODES if mode in modes)


def _containers(field: str, template: str = "spec.template") -> Cell:
    return lambda obj, _: ",".join(
        container.get(field, "") for container in _get(obj, f"{template}.spec.containers", ())
    )


def _external_ip(obj: Json, _: datetime) -> str:
    if _get(obj, "spec.type") == "ExternalName":
        return str(_get(obj, "spec.externalName") or NONE)
    return ",".join(_get(obj, "spec.externalIPs", ())) or NONE


_WORKLOAD_WIDE = (_wide("Containers", _containers("name")), _wide("Images", _containers("image")))


def _node_status(obj: Json, _: datetime) -> str:
    conditions = {c.get("type"): c.get("status") for c in _get(obj, "status.conditions", ())}
    text = {None: "Unknown", "True": "Ready"}.get(conditions.get("Ready"), "NotReady")
    return text + (",SchedulingDisabled" if _get(obj, "spec.unschedulable") else "")


def _node_roles(obj: Json, _: datetime) -> str:
    labels = _get(obj, "metadata.labels", {})
    roles = {key.removeprefix(_NODE_ROLE) for key in labels if key.startswith(_NODE_ROLE)}
    roles.add(labels.get("kubernetes.io/role", ""))
    return ",".join(sorted(role for role in roles if role)) or NONE


def _node_address(type_: str) -> Cell:
    def cell(obj: Json, _: datetime) -> str:
        addresses = (a.get("address") for a in _get(obj, "status.addresses", ()) if a.get("type") == type_)
        return next(addresses, NONE) or NONE

    return cell


def _node_info(field: str) -> Cell:
    return lambda obj, _: _get(obj, f"status.nodeInfo.{field}") or UNKNOWN


def _class_name(obj: Json, _: datetime) -> str:
    annotations = _get(obj, "metadata.annotations", {})
    is_default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    return f"{_get(obj, 'metadata.name', '')}{' (default)' if is_default else ''}"


def _claim(obj: Json, _: datetime) -> str:
    reference = _get(obj, "spec.claimRef")
    return f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else ""


def _claim_status(obj: Json, _: datetime) -> str:
    return "Terminating" if _get(obj, "metadata.deletionTimestamp") else str(_get(obj, "status.phase", ""))


def _job_status(obj: Json, _: datetime) -> str:
    conditions = [c.get("type") for c in _get(obj, "status.conditions", ()) if c.get("status") == "True"]
    if _get(obj, "metadata.deletionTimestamp"):
        return "Terminating"
    return next(
        (type_ for type_ in ("Complete", "Failed", "Suspended", "FailureTarget") if type_ in conditions), "Running"
    )


def _job_completions(obj: Json, _: datetime) -> str:
    done = _get(obj, "status.succeeded", 0)
    if (wanted := _get(obj, "spec.completions")) is not None:
        return f"{done}/{wanted}"
    parallelism = _get(obj, "spec.parallelism", 0)
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(obj: Json, now: datetime) -> str:
    start = parse_time(_get(obj, "status.startTime"))
    if start is None:
        return ""
    return human_duration((parse_time(_get(obj, "status.completionTime")) or now) - start)


def _service_ports(obj: Json, _: datetime) -> str:
    def text(port: Json) -> str:
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        return f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}"

    return ",".join(map(text, _get(obj, "spec.ports", ()))) or NONE


_MOST_ENDPOINTS = 3
"""Shown; of more, only the number is told."""


def _few(names: list[str]) -> str:
    if not names:
        return NONE
    more = len(names) - _MOST_ENDPOINTS
    return ",".join(names[:_MOST_ENDPOINTS]) + (f" + {more} more..." if more > 0 else "")


def _endpoints(obj: Json, _: datetime) -> str:
    found = []
    for subset in _get(obj, "subsets", ()):
        addresses = [
            f"[{ip}]" if ":" in (ip := str(address.get("ip", ""))) else ip for address in subset.get("addresses") or ()
        ]
        ports = subset.get("ports") or ()
        found += [f"{ip}:{port.get('port')}" for port in ports for ip in addresses] if ports else addresses
    return _few(found)


def _slice_ports(obj: Json, _: datetime) -> str:
    ports = _get(obj, "ports")
    if not ports:
        return UNSET
    return _few([str(port.get("port", "*")) for port in ports])


def _slice_endpoints(obj: Json, _: datetime) -> str:
    endpoints = _get(obj, "endpoints")
    if not endpoints:
        return UNSET
    return _few([str(address) for endpoint in endpoints for address in endpoint.get("addresses") or ()])


def _event_field(core: str, new: str) -> Callable[[Json], Any]:
    """A field of an event of either group."""
    return lambda obj: _get(obj, core) or _get(obj, new)


_event_started = _event_field("firstTimestamp", "deprecatedFirstTimestamp")
_event_ended = _event_field("lastTimestamp", "deprecatedLastTimestamp")
_event_count = _event_field("count", "deprecatedCount")
_event_reference = _event_field("involvedObject", "regarding")
_event_message = _event_field("message", "note")


def _event_seen(obj: Json, now: datetime) -> str:
    observed = _get(obj, "series.lastObservedTime") or _event_ended(obj)
    return age(observed, now) if observed else _event_first(obj, now)


def _event_first(obj: Json, now: datetime) -> str:
    return age(_event_started(obj) or _get(obj, "eventTime"), now)


def _event_times(obj: Json, _: datetime) -> int:
    """How often it happened; a single event of the newer API has no count."""
    return int(_get(obj, "series.count") or _event_count(obj) or 1)


def _event_object(obj: Json, _: datetime) -> str:
    reference = _event_reference(obj) or {}
    return f"{reference.get('kind', '').lower()}/{reference.get('name', '')}"


def _event_source(obj: Json, _: datetime) -> str:
    source = _get(obj, "source") or _get(obj, "deprecatedSource") or {}
    component = source.get("component") or _get(obj, "reportingComponent") or _get(obj, "reportingController") or ""
    instance = source.get("host") or _get(obj, "reportingInstance") or ""
    return f"{component}, {instance}" if instance else component


def _role_ref(obj: Json, _: datetime) -> str:
    return f"{_get(obj, 'roleRef.kind', '')}/{_get(obj, 'roleRef.name', '')}"


def _subjects(kind: str) -> Cell:
    def cell(obj: Json, _: datetime) -> str:
        names = []
        for subject in _get(obj, "subjects", ()):
            if subject.get("kind") == kind:
                namespace = subject.get("namespace")
                names.append(f"{namespace}/{subject['name']}" if namespace else subject.get("name", ""))
        return ", ".join(names)

    return cell


_BINDING = (
    _column("Role", _role_ref),
    AGE_COLUMN,
    _wide("Users", _subjects("User")),
    _wide("Groups", _subjects("Group")),
    _wide("ServiceAccounts", _subjects("ServiceAccount")),
)
_CREATED_AT = Column("Created At", _path("metadata.creationTimestamp"), type="date")
_WEBHOOKS = (_count("Webhooks", _size("webhooks")), AGE_COLUMN)

COLUMNS: dict[str, Sequence[Column]] = {
    "pods": POD_COLUMNS,
    "namespaces": (_column("Status", "status.phase"), AGE_COLUMN),
    "nodes": (
        _column("Status", _node_status),
        _column("Roles", _node_roles),
        AGE_COLUMN,
        _column("Version", "status.nodeInfo.kubeletVersion"),
        _wide("Internal-IP", _node_address("InternalIP")),
        _wide("External-IP", _node_address("ExternalIP")),
        _wide("OS-Image", _node_info("osImage")),
        _wide("Kernel-Version", _node_info("kernelVersion")),
        _wide("Container-Runtime", _node_info("containerRuntimeVersion")),
    ),
    "configmaps": (
        _column("Data", lambda obj, _: len(_get(obj, "data", ())) + len(_get(obj, "binaryData", ()))),
        AGE_COLUMN,
    ),
    "secrets": (_column("Type", "type"), _column("Data", _size("data")), AGE_COLUMN),
    "serviceaccounts": (_column("Secrets", _size("secrets")), AGE_COLUMN),
    "events": (
        _column("Last Seen", _event_seen),
        _column("Type", "type"),
        _column("Reason", "reason"),
        _column("Object", _event_object),
        _wide("Subobject", lambda obj, _: (_event_reference(obj) or {}).get("fieldPath", "")),
        _wide("Source", _event_source),
        _column("Message", lambda obj, _: str(_event_message(obj) or "").strip()),
        _wide("First Seen", _event_first),
        _wide("Count", _event_times),
        Column("Name", _path("metadata.name"), format="name", priority=1, description=NAME_DESCRIPTION),
    ),
    "persistentvolumes": (
        _column("Capacity", "spec.capacity.storage"),
        _column("Access Modes", lambda obj, _: access_modes(obj, "spec.accessModes")),
        _column("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        _column("Status", _claim_status),
        _column("Claim", _claim),
        _column("StorageClass", "spec.storageClassName"),
        _column("VolumeAttributesClass", "spec.volumeAttributesClassName", default=UNSET),
        _column("Reason", "status.reason"),
        AGE_COLUMN,
        _wide("VolumeMode", "spec.volumeMode", default=UNSET),
    ),
    "persistentvolumeclaims": (
        _column("Status", _claim_status),
        _column("Volume", "spec.volumeName"),
        _column(
            "Capacity", lambda obj, _: _get(obj, "status.capacity.storage", "0") if _get(obj, "spec.volumeName") else ""
        ),
        _column(
            "Access Modes",
            lambda obj, _: access_modes(obj, "status.accessModes") if _get(obj, "spec.volumeName") else "",
        ),
        _column("StorageClass", "spec.storageClassName"),
        _column("VolumeAttributesClass", "spec.volumeAttributesClassName", default=UNSET),
        AGE_COLUMN,
        _wide("VolumeMode", "spec.volumeMode", default=UNSET),
    ),
    "services": (
        _column("Type", "spec.type"),
        _column("Cluster-IP", "spec.clusterIP", default=NONE),
        _column("External-IP", _external_ip),
        _column("Port(s)", _service_ports),
        AGE_COLUMN,
        _wide("Selector", _labels("spec.selector")),
    ),
    "deployments.apps": (
        _column("Ready", lambda obj, _: f"{_get(obj, 'status.readyReplicas', 0)}/{_get(obj, 'spec.replicas', 0)}"),
        _column("Up-to-date", "status.updatedReplicas", default=0),
        _column("Available", "status.availableReplicas", default=0),
        AGE_COLUMN,
        *_WORKLOAD_WIDE,
        _wide("Selector", _selector("spec.selector")),
    ),
    "replicasets.apps": (
        _count("Desired", "spec.replicas"),
        _count("Current", "status.replicas"),
        _count("Ready", "status.readyReplicas"),
        AGE_COLUMN,
        *_WORKLOAD_WIDE,
        _wide("Selector", _selector("spec.selector")),
    ),
    "statefulsets.apps": (
        _column("Ready", lambda obj, _: f"{_get(obj, 'status.readyReplicas', 0)}/{_get(obj, 'spec.replicas', 0)}"),
        AGE_COLUMN,
        *_WORKLOAD_WIDE,
    ),
    "daemonsets.apps": (
        _count("Desired", "status.desiredNumberScheduled"),
        _count("Current", "status.currentNumberScheduled"),
        _count("Ready", "status.numberReady"),
        _count("Up-to-date", "status.updatedNumberScheduled"),
        _count("Available", "status.numberAvailable"),
        _column("Node Selector", _labels("spec.template.spec.nodeSelector")),
        AGE_COLUMN,
        *_WORKLOAD_WIDE,
        _wide("Selector", _selector("spec.selector")),
    ),
    "jobs.batch": (
        _column("Status", _job_status),
        _column("Completions", _job_completions),
        _column("Duration", _job_duration),
        AGE_COLUMN,
        *_WORKLOAD_WIDE,
        _wide("Selector", _selector("spec.selector")),
    ),
    "cronjobs.batch": (
        _column("Schedule", "spec.schedule"),
        _column("Timezone", "spec.timeZone", default=NONE),
        _column("Suspend", lambda obj, _: str(bool(_get(obj, "spec.suspend"))).capitalize(), type_="boolean"),
        _count("Active", _size("status.active")),
        _column("Last Schedule", lambda obj, now: age(t, now) if (t := _get(obj, "status.lastScheduleTime")) else NONE),
        AGE_COLUMN,
        _wide("Containers", _containers("name", "spec.jobTemplate.spec.template")),
        _wide("Images", _containers("image", "spec.jobTemplate.spec.template")),
        _wide("Selector", _selector("spec.jobTemplate.spec.selector")),
    ),
    "endpoints": (_column("Endpoints", _endpoints), AGE_COLUMN),
    "endpointslices.discovery.k8s.io": (
        _column("AddressType", "addressType"),
        _column("Ports", _slice_ports),
        _column("Endpoints", _slice_endpoints),
        AGE_COLUMN,
    ),
    "roles.rbac.authorization.k8s.io": (_CREATED_AT,),
    "clusterroles.rbac.authorization.k8s.io": (_CREATED_AT,),
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "leases.coordination.k8s.io": (_column("Holder", "spec.holderIdentity"), AGE_COLUMN),
    "storageclasses.storage.k8s.io": (
        Column("Name", _class_name, format="name", description=NAME_DESCRIPTION),
        _column("Provisioner", "provisioner"),
        _column("ReclaimPolicy", "reclaimPolicy", default="Delete"),
        _column("VolumeBindingMode", "volumeBindingMode", default="Immediate"),
        _column("AllowVolumeExpansion", "allowVolumeExpansion", default=False),
        AGE_COLUMN,
    ),
    "customresourcedefinitions.apiextensions.k8s.io": (_CREATED_AT,),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "validatingadmissionpolicies.admissionregistration.k8s.io": (
        _count("Validations", _size("spec.validations")),
        _column("ParamKind", lambda obj, _: _param_kind(obj)),
        AGE_COLUMN,
    ),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": (
        _column("PolicyName", "spec.policyName"),
        _column("ParamRef", lambda obj, _: _param_ref(obj)),
        AGE_COLUMN,
    ),
    "poddisruptionbudgets.policy": (
        _column("Min Available", "spec.minAvailable", default="N/A"),
        _column("Max Unavailable", "spec.maxUnavailable", default="N/A"),
        _count("Allowed Disruptions", "status.disruptionsAllowed"),
        AGE_COLUMN,
    ),
    "networkpolicies.networking.k8s.io": (_column("Pod-Selector", _selector("spec.podSelector")), AGE_COLUMN),
    "priorityclasses.scheduling.k8s.io": (
        _count("Value", "value"),
        _column("Global-Default", "globalDefault", type_="boolean", default=False),
        AGE_COLUMN,
        _column("PreemptionPolicy", "preemptionPolicy"),
    ),
}
COLUMNS["events.events.k8s.io"] = COLUMNS["events"]


def _param_kind(obj: Json) -> str:
    kind = _get(obj, "spec.paramKind")
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET


def _param_ref(obj: Json) -> str:
    reference = _get(obj, "spec.paramRef")
    if not reference:
        return UNSET
    return f"{reference.get('namespace', '*')}/{reference.get('name') or format_selector(reference.get('selector'))}"


def builtin_printer(mapping: RESTMapping) -> Printer:
    """The printer of a built-in kind; made on first use."""
    columns = COLUMNS.get(mapping.group_resource)
    if columns is None:
        return DEFAULT_PRINTER
    # Nobody looks for an event by its name: it comes last, and only with -o wide. Storage classes add to theirs.
    return Printer(columns, name_first=mapping.gvk.kind not in ("Event", "StorageClass"))
