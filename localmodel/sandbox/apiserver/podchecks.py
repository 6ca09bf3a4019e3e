"""Validation of pods and pod templates: containers, volumes, environment, ports, resources, scheduling.

Not all of kube-apiserver's rules: those that a controller, or a manifest written for one, runs into. `WARNINGS` are
what it finds odd but takes. Source: kubernetes' pkg/apis/core/validation/validation.go and pkg/api/pod/warnings.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from localmodel.runtime.objects import parse_quantity
from localmodel.runtime.testing.metadata import dns1123_label, dns1123_subdomain, qualified_name

from .fielderrors import Cause, GoValue, duplicate, forbidden, invalid, not_found, not_supported, required
from .names import config_key, path_without_backsteps, port_name, port_number, variable_name
from .selectorchecks import labels_faults, node_selector_faults, selector_faults

Json = dict[str, Any]

NOT_NEGATIVE = "must be greater than or equal to 0"
_STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_FIELD_PATHS = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
    "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REFERENCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")


def not_negative(values: Json, path: str, *fields: str) -> Iterator[Cause]:
    for field in fields:
        if isinstance(values.get(field), int) and values[field] < 0:
            yield invalid(f"{path}.{field}", values[field], NOT_NEGATIVE)


def one_of(values: Json, path: str, field: str, supported: tuple[str, ...]) -> Iterator[Cause]:
    """A field that is set has one of these values."""
    if values.get(field) is not None and values[field] not in supported:
        yield not_supported(f"{path}.{field}" if path else field, values[field], supported)


def pod_spec(spec: Json, path: str, *, restart: tuple[str, ...] = ("Always", "OnFailure", "Never")) -> Iterator[Cause]:
    """`restart` are the restart policies that the kind takes."""
    volumes: dict[str, Json] = {}
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from _volume(volume, f"{path}.volumes[{index}]", volumes)
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    names: set[str] = set()
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield from _container(container, f"{path}.{field}[{index}]", volumes, names)
    yield from one_of(spec, path, "restartPolicy", restart)
    yield from one_of(spec, path, "dnsPolicy", _DNS_POLICIES)
    yield from labels_faults(spec.get("nodeSelector"), f"{path}.nodeSelector")
    yield from _names(spec, path)
    yield from _affinity(spec.get("affinity") or {}, f"{path}.affinity")
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        yield from _toleration(toleration, f"{path}.tolerations[{index}]")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        yield invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")


def _names(spec: Json, path: str) -> Iterator[Cause]:
    checks: tuple[tuple[str, Callable[[str], list[str]]], ...] = (
        ("serviceAccountName", dns1123_subdomain),
        ("nodeName", dns1123_subdomain),
        ("hostname", dns1123_label),
        ("subdomain", dns1123_label),
        ("priorityClassName", dns1123_subdomain),
        ("runtimeClassName", dns1123_subdomain),
    )
    for field, check in checks:
        if spec.get(field):
            for why in check(spec[field]):
                yield invalid(f"{path}.{field}", spec[field], why)


def _container(container: Json, path: str, volumes: dict[str, Json], names: set[str]) -> Iterator[Cause]:
    name, image = container.get("name") or "", container.get("image") or ""
    if not name:
        yield required(f"{path}.name")
    elif wrong := dns1123_label(name):
        yield from (invalid(f"{path}.name", name, why) for why in wrong)
    elif name in names:
        yield duplicate(f"{path}.name", name)
    names.add(name)
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    yield from one_of(container, path, "imagePullPolicy", ("Always", "IfNotPresent", "Never"))
    yield from one_of(container, path, "terminationMessagePolicy", ("File", "FallbackToLogsOnError"))
    yield from _ports(container.get("ports") or [], f"{path}.ports")
    for index, variable in enumerate(container.get("env") or ()):
        yield from _variable(variable, f"{path}.env[{index}]")
    yield from _mounts(container.get("volumeMounts") or [], f"{path}.volumeMounts", volumes)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), dict):
            yield from _probe(container[probe], f"{path}.{probe}")
    yield from _resources(container.get("resources") or {}, f"{path}.resources")


def _ports(ports: list[Json], path: str) -> Iterator[Cause]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        field = f"{path}[{index}]"
        if name := port.get("name"):
            if wrong := port_name(name):
                yield from (invalid(f"{field}.name", name, why) for why in wrong)
            elif name in names:
                yield duplicate(f"{field}.name", name)
            names.add(name)
        if not port.get("containerPort"):
            yield required(f"{field}.containerPort")
        else:
            yield from (
                invalid(f"{field}.containerPort", port["containerPort"], why)
                for why in port_number(port["containerPort"])
            )
        if port.get("hostPort"):
            yield from (invalid(f"{field}.hostPort", port["hostPort"], w) for w in port_number(port["hostPort"]))
        yield from one_of(port, field, "protocol", ("SCTP", "TCP", "UDP"))


def _variable(variable: Json, path: str) -> Iterator[Cause]:
    name = variable.get("name") or ""
    if not name:
        yield required(f"{path}.name")
    else:
        yield from (invalid(f"{path}.name", name, why) for why in variable_name(name))
    source, field = variable.get("valueFrom"), f"{path}.valueFrom"
    if source is None:
        return
    given = [key for key in _REFERENCES if source.get(key) is not None]
    if "fieldRef" in given:
        yield from _field_reference(source["fieldRef"], f"{field}.fieldRef")
    for key in ("configMapKeyRef", "secretKeyRef"):
        if key in given:
            yield from _key_reference(source[key], f"{field}.{key}")
    if not given:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        yield invalid(field, "", text)
    elif variable.get("value"):
        yield invalid(field, "", "may not be specified when `value` is not empty")
    elif len(given) > 1:
        yield invalid(field, "", "may not have more than one field specified at a time")


def _field_reference(reference: Json, path: str) -> Iterator[Cause]:
    where = reference.get("fieldPath") or ""
    if not reference.get("apiVersion"):
        yield required(f"{path}.apiVersion")
    elif not where:
        yield required(f"{path}.fieldPath")
    elif where not in _FIELD_PATHS and not where.startswith(("metadata.annotations['", "metadata.labels['")):
        text = f"error converting fieldPath: field label not supported: {where}"
        yield invalid(f"{path}.fieldPath", where, text)


def _key_reference(reference: Json, path: str) -> Iterator[Cause]:
    name, key = reference.get("name") or "", reference.get("key") or ""
    yield from (invalid(f"{path}.name", name, why) for why in dns1123_subdomain(name))
    if not key:
        yield required(f"{path}.key")
    else:
        yield from (invalid(f"{path}.key", key, why) for why in config_key(key))


def _mounts(mounts: list[Json], path: str, volumes: dict[str, Json]) -> Iterator[Cause]:
    places: set[str] = set()
    for index, mount in enumerate(mounts):
        field, name, place = f"{path}[{index}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield required(f"{field}.name")
        if name not in volumes:
            yield not_found(f"{field}.name", name)
        if not place:
            yield required(f"{field}.mountPath")
        elif place in places:
            yield invalid(f"{field}.mountPath", place, "must be unique")
        places.add(place)
        for key in ("subPath", "subPathExpr"):
            # A real server names the list, not the item.
            yield from _local_path(mount.get(key) or "", f"{path}.{key}")
        if mount.get("subPath") and mount.get("subPathExpr"):
            text = "subPathExpr and subPath are mutually exclusive"
            yield invalid(f"{field}.subPathExpr", mount["subPathExpr"], text)


def _local_path(value: str, path: str) -> Iterator[Cause]:
    if value.startswith("/"):
        yield invalid(path, value, "must be a relative path")
    yield from (invalid(path, value, why) for why in path_without_backsteps(value))


def _probe(probe: Json, path: str) -> Iterator[Cause]:
    given = [handler for handler in _HANDLERS if probe.get(handler) is not None]
    for handler in given[1:]:
        yield forbidden(f"{path}.{handler}", "may not specify more than 1 handler type")
    if not given:
        yield required(path, "must specify a handler type")
    elif given[0] == "exec" and not probe["exec"].get("command"):
        yield required(f"{path}.exec.command")
    yield from not_negative(probe, path, "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold")
    yield from not_negative(probe, path, "failureThreshold")


def _resources(resources: Json, path: str) -> Iterator[Cause]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, values in (("limits", limits), ("requests", requests)):
        for name, value in values.items():
            field = f"{path}.{kind}[{name}]"
            yield from _resource_name(name, field)
            if parse_quantity(value) < 0:
                yield invalid(field, value, NOT_NEGATIVE)
    for name, value in requests.items():
        if name in limits and parse_quantity(value) > parse_quantity(limits[name]):
            text = f"must be less than or equal to {name} limit of {limits[name]}"
            yield invalid(f"{path}.requests", value, text)


def _resource_name(name: str, path: str) -> Iterator[Cause]:
    yield from (invalid(path, GoValue(name), why) for why in qualified_name(name))
    if "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        yield invalid(path, GoValue(name), "must be a standard resource type or fully qualified")
        yield invalid(path, GoValue(name), "must be a standard resource for containers")


def _volume(volume: Json, path: str, known: dict[str, Json]) -> Iterator[Cause]:
    name = volume.get("name") or ""
    sources = [key for key in volume if key != "name"]
    for key in sources[1:]:
        yield forbidden(f"{path}.{key}", "may not specify more than 1 volume type")
    faults = list(_volume_source(sources[0], volume[sources[0]], f"{path}.{sources[0]}")) if sources else []
    if not sources:
        faults.append(required(path, "must specify a volume type"))
    if not name:
        faults.append(required(f"{path}.name"))
    elif wrong := dns1123_label(name):
        faults += [invalid(f"{path}.name", name, why) for why in wrong]
    elif name in known:
        faults.append(duplicate(f"{path}.name", name))
    yield from faults
    if not faults and len(sources) == 1:
        known[name] = volume


def _volume_source(kind: str, source: Json, path: str) -> Iterator[Cause]:
    match kind:
        case "hostPath":
            yield from host_path(source, path)
        case "persistentVolumeClaim" if not source.get("claimName"):
            yield required(f"{path}.claimName")
        case "secret" if not source.get("secretName"):
            yield required(f"{path}.secretName")
        case "configMap" if not source.get("name"):
            yield required(f"{path}.name")


def host_path(source: Json, path: str) -> Iterator[Cause]:
    where = source.get("path") or ""
    if not where:
        yield required(f"{path}.path")
    else:
        yield from (invalid(f"{path}.path", where, why) for why in path_without_backsteps(where))
        yield from one_of(source, path, "type", _HOST_PATH_TYPES)


def _affinity(affinity: Json, path: str) -> Iterator[Cause]:
    node = affinity.get("nodeAffinity") or {}
    if isinstance(needed := node.get("requiredDuringSchedulingIgnoredDuringExecution"), dict):
        field = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        yield from node_selector_faults(needed, field)
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for index, term in enumerate(terms):
            field = f"{path}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
            if isinstance(term.get("labelSelector"), dict):
                yield from selector_faults(term["labelSelector"], f"{field}.labelSelector")
            if not term.get("topologyKey"):
                yield required(f"{field}.topologyKey", "can not be empty")


def _toleration(toleration: Json, path: str) -> Iterator[Cause]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    value, effect = toleration.get("value") or "", toleration.get("effect") or ""
    if key:
        yield from (invalid(f"{path}.key", key, why) for why in qualified_name(key))
    elif operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid(f"{path}.operator", operator, text)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
    if operator == "Exists" and value:
        yield invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'")
    elif operator not in ("", "Equal", "Exists"):
        yield not_supported(f"{path}.operator", operator, ("Equal", "Exists"))
    if effect and effect not in _EFFECTS:
        yield not_supported(f"{path}.effect", effect, _EFFECTS)


def pod_warnings(spec: Json, path: str) -> list[str]:
    """Variables that hide others of the same name, spread constraints that concern no pod."""
    warnings = [
        f"{path}.topologySpreadConstraints[{index}].labelSelector: a null labelSelector results in matching no pod"
        for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ())
        if constraint.get("labelSelector") is None
    ]
    for field in ("initContainers", "containers"):
        for position, container in enumerate(spec.get(field) or ()):
            names: set[str] = set()
            for index, variable in enumerate(container.get("env") or ()):
                name = variable.get("name")
                if name in names:
                    place = f"{path}.{field}[{position}].env[{index}]"
                    text = f'hides previous definition of "{name}", which may be dropped when using apply'
                    warnings.append(f"{place}: {text}")
                names.add(name)
    return warnings


def _of_pod(new: Json, old: Json | None) -> list[str]:
    return pod_warnings(new.get("spec") or {}, "spec") if old is None else []


def _of_template(new: Json, old: Json | None) -> list[str]:
    template = (new.get("spec") or {}).get("template") or {}
    if old is not None and template == (old.get("spec") or {}).get("template"):
        return []
    return pod_warnings(template.get("spec") or {}, "spec.template.spec")


def _service_warnings(new: Json, _: Json | None) -> list[str]:
    spec = new.get("spec") or {}
    if spec.get("externalName") and spec.get("type") != "ExternalName":
        return ['spec.externalName is ignored when spec.type is not "ExternalName"']
    return []


WARNINGS: dict[str, Callable[[Json, Json | None], list[str]]] = {
    "services": _service_warnings,
    "pods": _of_pod,
    **dict.fromkeys(
        ("jobs.batch", "deployments.apps", "daemonsets.apps", "replicasets.apps", "statefulsets.apps"), _of_template
    ),
}
"""By group resource: what is odd about a new object, or about what an update changed."""
