"""LocalModelCache and LocalModelNamespaceCache: a model that shall lie on the disks of groups of nodes.

Both kinds have the same specification and status, as in KServe; `Cache` is either. KServe's fields come first in each
model, the added optional ones after them (design.md section 6).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, WithJsonSchema

from localmodel.runtime.crdgen import REQUIRED, Conditions, Quantity, rule, schema_of
from localmodel.runtime.objects import RESTMapping, Time

from .model import (
    GROUP,
    VERSION,
    ApiModel,
    ApiObject,
    EvictionPolicy,
    LocalModelStorageSpec,
    NamespacedName,
    enum_values,
)


class NodeStatus(StrEnum):
    """How far a model is on one node, in `status.nodeStatus` of a cache."""

    NODE_NOT_READY = "NodeNotReady"
    NODE_DOWNLOAD_PENDING = "NodeDownloadPending"
    NODE_DOWNLOADING = "NodeDownloading"
    NODE_DOWNLOADED = "NodeDownloaded"
    NODE_DOWNLOAD_ERROR = "NodeDownloadError"


class LocalModelCacheSpec(ApiModel):
    """Which model to keep on the disks of which nodes."""

    source_model_uri: Annotated[str, REQUIRED, rule("self == oldSelf", message="StorageUri is immutable")] = ""
    """Where the model comes from, as hf://org/model, s3://bucket/path or https://host/file. It cannot be changed."""
    model_size: Annotated[Quantity, REQUIRED] = ""
    """The room that the model needs on each node, as 10Gi."""
    node_groups: Annotated[list[str], REQUIRED, schema_of(minItems=1)] = Field(default_factory=list)
    """The LocalModelNodeGroups whose nodes keep the model. The first is the default for services that name none."""
    service_account_name: str = ""
    """The ServiceAccount whose secrets hold the credentials of the download: in the job namespace, or where
    credentialNamespace is own, in that of the cache."""
    storage: LocalModelStorageSpec | None = None
    """The credentials and parameters of the storage; its key goes before serviceAccountName."""

    priority: Annotated[int, WithJsonSchema({"type": "integer", "format": "int32"})] = 0
    """Which model goes first where room is short: the lowest number. Downloads of higher numbers start first."""
    eviction_policy: Annotated[str, WithJsonSchema(enum_values(EvictionPolicy))] = ""
    """LeastRecentlyUsed (default): the model may be removed from a full disk while nothing uses it. Never: it stays."""
    revision: str = ""
    """The revision of the source to download (a branch, tag or commit of a Hugging Face repository)."""
    include: list[str] = Field(default_factory=list)
    """Patterns of the files to download; all when empty."""
    exclude: list[str] = Field(default_factory=list)
    """Patterns of the files to leave out; they go before include."""
    digest: str = ""
    """The digest that the downloaded files must have (sha256:...). A download with another one is not published."""
    ttl_seconds_after_last_use: int | None = Field(default=None, json_schema_extra={"format": "int64", "minimum": 0})
    """The model is removed from a node that many seconds after its last use there; never when absent."""


class ModelCopies(ApiModel):
    """How many nodes have the model."""

    available: int | None = None
    """Nodes that have the whole model."""
    total: int | None = None
    """Nodes that shall have it."""
    failed: int | None = None
    """Nodes on which the last download failed."""


class CacheProgress(ApiModel):
    """The bytes of the model over all its nodes."""

    bytes_done: int | None = Field(default=None, json_schema_extra={"format": "int64"})
    """Bytes that are on the nodes' disks."""
    bytes_total: int | None = Field(default=None, json_schema_extra={"format": "int64"})
    """Bytes that shall be there, as far as the sizes are known."""


class NodeFailure(ApiModel):
    """Why the model is not on a node."""

    node: str = ""
    """The node's name."""
    reason: str = ""
    """One word, as DownloadFailed or InsufficientStorage."""
    message: str = ""
    """What the node reports, shortened."""
    attempts: int = 0
    """Downloads tried so far."""
    next_retry_time: Time | None = None
    """When the next one starts."""


class LocalModelCacheStatus(ApiModel):
    """How far the model is, node by node and in sum."""

    node_status: dict[str, Annotated[str, WithJsonSchema(enum_values(NodeStatus))]] = Field(default_factory=dict)
    """The state of the model on each node of its groups."""
    copies: ModelCopies | None = None
    """The counts over nodeStatus."""
    inference_services: list[NamespacedName] = Field(default_factory=list)
    """The InferenceServices that use the model."""
    llm_inference_services: list[NamespacedName] = Field(default_factory=list)
    """The LLMInferenceServices that use the model."""

    conditions: Conditions = Field(default_factory=list)
    """Ready: every node has the model. Progressing: work is under way. Degraded: something failed, and what."""
    observed_generation: int | None = Field(default=None, json_schema_extra={"format": "int64"})
    """The generation of the specification that this status is about."""
    progress: CacheProgress | None = None
    """The bytes done and in all."""
    failures: list[NodeFailure] = Field(default_factory=list)
    """The first ten nodes on which the model failed, with the reason."""


class LocalModelNamespaceCacheSpec(LocalModelCacheSpec):
    """Which model to keep on the disks of which nodes, for the services of one namespace."""


class LocalModelNamespaceCacheStatus(LocalModelCacheStatus):
    """How far the model is, node by node and in sum."""


class LocalModelCache(ApiObject):
    """A model kept on the disks of groups of nodes, for services in every namespace."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of(GROUP, VERSION, "LocalModelCache", namespaced=False)

    spec: LocalModelCacheSpec = Field(default_factory=LocalModelCacheSpec)
    """Which model to keep on the disks of which nodes."""
    status: LocalModelCacheStatus = Field(default_factory=LocalModelCacheStatus)
    """How far the model is, node by node and in sum."""


class LocalModelNamespaceCache(ApiObject):
    """A model kept on the disks of groups of nodes, for the services of one namespace."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of(GROUP, VERSION, "LocalModelNamespaceCache")

    spec: LocalModelNamespaceCacheSpec = Field(default_factory=LocalModelNamespaceCacheSpec)
    """Which model to keep on the disks of which nodes."""
    status: LocalModelNamespaceCacheStatus = Field(default_factory=LocalModelNamespaceCacheStatus)
    """How far the model is, node by node and in sum."""


Cache = LocalModelCache | LocalModelNamespaceCache
"""A cache of either scope: `namespace` is empty for the cluster's."""
