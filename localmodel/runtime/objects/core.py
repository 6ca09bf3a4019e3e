"""The built-in kinds that this project's controllers meet, with the fields they use.

Kinds that are only read (Node, Pod, Secret, ...) ignore what they do not declare and so cost little in a cache. Kinds
that are written back keep it. Specifications that are passed on without a look (a pod template, a volume's spec) stay
plain JSON objects.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from .mapping import RESTMapping
from .meta import MicroTime, Model, Object, QuantityString, Time

Json = dict[str, Any]


class LocalObjectReference(Model):
    name: str = ""


class ObjectReference(Model):
    """core/v1 ObjectReference."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class NodeSelectorRequirement(Model):
    key: str
    operator: str
    values: list[str] = Field(default_factory=list)


class NodeSelectorTerm(Model):
    match_expressions: list[NodeSelectorRequirement] = Field(default_factory=list)
    match_fields: list[NodeSelectorRequirement] = Field(default_factory=list)


class NodeSelector(Model):
    """Terms are ORed, the requirements of a term ANDed."""

    node_selector_terms: list[NodeSelectorTerm] = Field(default_factory=list)


class ConfigMap(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "ConfigMap")
    data: dict[str, str] = Field(default_factory=dict)
    binary_data: dict[str, str] = Field(default_factory=dict)


class Secret(Object):
    """`data` values are base64; no error about one says what is in it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "Secret")
    type: str = ""
    immutable: bool | None = None
    data: dict[str, str] = Field(default_factory=dict)
    string_data: dict[str, str] = Field(default_factory=dict)


class ServiceAccount(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "ServiceAccount")
    secrets: list[ObjectReference] = Field(default_factory=list)
    image_pull_secrets: list[LocalObjectReference] = Field(default_factory=list)


class NamespaceStatus(Model):
    phase: str = ""


class Namespace(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "Namespace", namespaced=False)
    spec: Json = Field(default_factory=dict)
    status: NamespaceStatus = Field(default_factory=NamespaceStatus)


class NodeCondition(Model):
    model_config = ConfigDict(extra="ignore")

    type: str
    status: str


class NodeStatus(Model):
    model_config = ConfigDict(extra="ignore")

    conditions: list[NodeCondition] = Field(default_factory=list)


class Node(Object):
    """Read only: labels and readiness."""

    model_config = ConfigDict(extra="ignore")
    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "Node", namespaced=False)
    status: NodeStatus = Field(default_factory=NodeStatus)

    @property
    def is_ready(self) -> bool:
        """Some condition has type Ready and status True; taints and `unschedulable` play no part."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


class ContainerStateTerminated(Model):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class ContainerState(Model):
    terminated: ContainerStateTerminated | None = None
    running: Json | None = None
    waiting: Json | None = None


class ContainerStatus(Model):
    name: str = ""
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = Field(default_factory=ContainerState)
    last_state: ContainerState = Field(default_factory=ContainerState)


class PodStatus(Model):
    phase: str = ""
    reason: str = ""
    message: str = ""
    start_time: Time | None = None
    conditions: list[Json] = Field(default_factory=list)
    container_statuses: list[ContainerStatus] = Field(default_factory=list)
    init_container_statuses: list[ContainerStatus] = Field(default_factory=list)


class PersistentVolumeClaimVolumeSource(Model):
    claim_name: str
    read_only: bool = False


class Volume(Model):
    name: str = ""
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None


class PodSpec(Model):
    node_name: str = ""
    restart_policy: str = ""
    service_account_name: str = ""
    node_selector: dict[str, str] = Field(default_factory=dict)
    volumes: list[Volume] = Field(default_factory=list)
    init_containers: list[Json] = Field(default_factory=list)
    containers: list[Json] = Field(default_factory=list)


class Pod(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "Pod")
    spec: PodSpec = Field(default_factory=PodSpec)
    status: PodStatus = Field(default_factory=PodStatus)

    @property
    def is_finished(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def is_ready(self) -> bool:
        return any(c.get("type") == "Ready" and c.get("status") == "True" for c in self.status.conditions)


class PersistentVolumeSpec(Model):
    """The fields that are looked at; the rest passes through."""

    capacity: dict[str, QuantityString] = Field(default_factory=dict)
    storage_class_name: str = ""
    claim_ref: ObjectReference | None = None
    local: Json | None = None
    host_path: Json | None = None
    node_affinity: Json | None = None


class VolumePhase(Model):
    phase: str = ""
    message: str = ""
    reason: str = ""


class PersistentVolume(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "PersistentVolume", namespaced=False)
    spec: PersistentVolumeSpec = Field(default_factory=PersistentVolumeSpec)
    status: VolumePhase = Field(default_factory=VolumePhase)


class PersistentVolumeClaimSpec(Model):
    access_modes: list[str] = Field(default_factory=list)
    storage_class_name: str | None = None
    volume_name: str = ""
    volume_mode: str = ""
    resources: Json = Field(default_factory=dict)


class PersistentVolumeClaim(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "PersistentVolumeClaim")
    spec: PersistentVolumeClaimSpec = Field(default_factory=PersistentVolumeClaimSpec)
    status: VolumePhase = Field(default_factory=VolumePhase)


class JobCondition(Model):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: Time | None = None


class JobStatus(Model):
    active: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    terminating: int = 0
    start_time: Time | None = None
    completion_time: Time | None = None
    conditions: list[JobCondition] = Field(default_factory=list)


class JobSpec(Model):
    backoff_limit: int | None = None
    ttl_seconds_after_finished: int | None = None
    active_deadline_seconds: int | None = None
    pod_replacement_policy: str | None = None
    template: Json = Field(default_factory=dict)


class Job(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("batch", "v1", "Job")
    spec: JobSpec = Field(default_factory=JobSpec)
    status: JobStatus = Field(default_factory=JobStatus)

    def has_condition(self, type_: str) -> bool:
        return any(c.type == type_ and c.status == "True" for c in self.status.conditions)

    @property
    def is_complete(self) -> bool:
        return self.has_condition("Complete")

    @property
    def is_failed(self) -> bool:
        """The job controller has given up; a failed pod alone is not that."""
        return self.has_condition("Failed")


class DaemonSet(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("apps", "v1", "DaemonSet")
    spec: Json = Field(default_factory=dict)
    status: Json = Field(default_factory=dict)


class StorageClass(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of(
        "storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False
    )
    provisioner: str = ""
    volume_binding_mode: str = ""


class LeaseSpec(Model):
    holder_identity: str = ""
    lease_duration_seconds: int | None = None
    acquire_time: MicroTime | None = None
    renew_time: MicroTime | None = None
    lease_transitions: int | None = None


class Lease(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("coordination.k8s.io", "v1", "Lease")
    spec: LeaseSpec = Field(default_factory=LeaseSpec)


class EventSource(Model):
    component: str = ""
    host: str = ""


class EventSeries(Model):
    """How often an event happened; the same in both groups."""

    count: int = 0
    last_observed_time: MicroTime | None = None


class Event(Object):
    """core/v1 Event, which `kubectl describe` shows. `eventsv1.Event` is the same object in events.k8s.io/v1."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "Event")
    involved_object: ObjectReference = Field(default_factory=ObjectReference)
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int | None = None
    first_timestamp: Time | None = None
    last_timestamp: Time | None = None
    source: EventSource = Field(default_factory=EventSource)
    reporting_component: str = ""
    reporting_instance: str = ""
    event_time: MicroTime | None = None
    series: EventSeries | None = None
    action: str = ""
    related: ObjectReference | None = None


class CustomResourceDefinition(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", namespaced=False
    )
    spec: Json = Field(default_factory=dict)
    status: Json = Field(default_factory=dict)
