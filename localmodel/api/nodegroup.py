"""LocalModelNodeGroup: which nodes keep models, where on their disks, and how much room there is."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from localmodel.runtime.crdgen import REQUIRED, Conditions, Embedded, Quantity
from localmodel.runtime.objects import RESTMapping

from .model import GROUP, VERSION, ApiModel, ApiObject


class NodeGroupAgent(ApiModel):
    """The DaemonSet of agents that the manager runs on the nodes of the group."""

    image: str = ""
    """The agent's image; the configured one when empty."""
    resources: Embedded = Field(default_factory=dict)
    """Requests and limits of the agent's container."""
    tolerations: list[Embedded] = Field(default_factory=list)
    """Taints that the agent's pods tolerate."""


class NodeGroupEviction(ApiModel):
    """When models are removed from a disk that fills up."""

    high_watermark_percent: int | None = Field(default=None, json_schema_extra={"minimum": 1, "maximum": 100})
    """Above this share of the limit the agent begins to remove models; 80 when absent."""
    low_watermark_percent: int | None = Field(default=None, json_schema_extra={"minimum": 0, "maximum": 100})
    """Below this share it stops; 70 when absent."""


class LocalModelNodeGroupSpec(ApiModel):
    """Which nodes keep models, and where."""

    storage_limit: Annotated[Quantity, REQUIRED] = ""
    """The most room that models may take on each node."""
    persistent_volume_spec: Annotated[Embedded, REQUIRED] = Field(default_factory=dict)
    """The specification of every PersistentVolume made for the group. Its nodeAffinity.required says which nodes belong
    to the group, its local.path or hostPath.path where on their disks the models lie."""
    persistent_volume_claim_spec: Annotated[Embedded, REQUIRED] = Field(default_factory=dict)
    """The specification of every PersistentVolumeClaim made for the group; volumeName is filled in."""

    agent: NodeGroupAgent | None = None
    """Asks for a DaemonSet of agents for the group's nodes; none is made when absent."""
    tolerations: list[Embedded] = Field(default_factory=list)
    """Taints that the download jobs of the group tolerate."""
    max_concurrent_downloads: int = Field(default=0, json_schema_extra={"format": "int32", "minimum": 0})
    """How many nodes of the group may download at the same time; 0 is no limit."""
    eviction: NodeGroupEviction | None = None
    """When models are removed from a disk that fills up."""


class LocalModelNodeGroupStatus(ApiModel):
    """The nodes of the group and their room, as far as their agents report it."""

    used: Quantity = ""
    """The room that models take, over all nodes of the group."""
    available: Quantity = ""
    """The room that is left for models, over all nodes of the group."""

    nodes: int | None = None
    """How many nodes belong to the group."""
    conditions: Conditions = Field(default_factory=list)
    """Ready: the group can be used and has nodes. AgentReady: on each of them an agent is ready that keeps models in
    the group's path. GroupsOverlap: another group of some of its nodes, with another path, comes first there."""


class LocalModelNodeGroup(ApiObject):
    """A group of nodes that keep models on their disks."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of(GROUP, VERSION, "LocalModelNodeGroup", namespaced=False)

    spec: LocalModelNodeGroupSpec = Field(default_factory=LocalModelNodeGroupSpec)
    """Which nodes keep models, and where."""
    status: LocalModelNodeGroupStatus = Field(default_factory=LocalModelNodeGroupStatus)
    """The nodes of the group and their room."""

    @property
    def node_affinity(self) -> dict[str, Any] | None:
        """`persistentVolumeSpec.nodeAffinity`, for `affinity.node_matches`."""
        affinity = self.spec.persistent_volume_spec.get("nodeAffinity")
        return affinity if isinstance(affinity, dict) else None

    @property
    def models_path(self) -> str:
        """`persistentVolumeSpec.local.path`, else that of its hostPath: where models lie on each node; or nothing."""
        for source in ("local", "hostPath"):
            volume = self.spec.persistent_volume_spec.get(source)
            if isinstance(volume, dict) and isinstance(volume.get("path"), str):
                return str(volume["path"])
        return ""
