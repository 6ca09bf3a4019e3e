"""LocalModelNode: the models that one node shall have (written by the manager) and has (written by its agent).

The object carries the name of its Node. `status_key` in `names` makes the keys of the status maps.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field, WithJsonSchema

from localmodel.runtime.crdgen import REQUIRED, Conditions, Quantity
from localmodel.runtime.objects import RESTMapping, Time

from .model import (
    GROUP,
    VERSION,
    ApiModel,
    ApiObject,
    EvictionPolicy,
    LocalModelStorageSpec,
    enum_values,
)

STORAGE_READY: Final = "StorageReady"
"""The condition of a LocalModelNode that says whether its disk can be used."""


class ModelStatus(StrEnum):
    """How far one model is on this node, in `status.modelStatus`."""

    MODEL_DOWNLOAD_PENDING = "ModelDownloadPending"
    MODEL_DOWNLOADING = "ModelDownloading"
    MODEL_DOWNLOADED = "ModelDownloaded"
    MODEL_DOWNLOAD_ERROR = "ModelDownloadError"


class LocalModelInfo(ApiModel):
    """One model that the node shall have, with what its agent needs to know of the cache."""

    source_model_uri: Annotated[str, REQUIRED] = ""
    """Where the model comes from."""
    model_name: Annotated[str, REQUIRED] = ""
    """The name of the cache."""
    namespace: str = ""
    """The namespace of a LocalModelNamespaceCache; empty for a LocalModelCache."""
    node_group: str = ""
    """The group that brought the model to this node; it names the claim that the download mounts."""
    service_account_name: str = ""
    """The ServiceAccount whose secrets hold the credentials, or the copy of them that the manager made."""
    storage: LocalModelStorageSpec | None = None
    """The credentials and parameters of the storage."""

    model_size: Quantity = ""
    """The room that the model needs."""
    cache_uid: str = Field(default="", alias="cacheUID")
    """The uid of the cache: a cache made anew under the same name is another one."""
    priority: Annotated[int, WithJsonSchema({"type": "integer", "format": "int32"})] = 0
    """The cache's priority."""
    eviction_policy: Annotated[str, WithJsonSchema(enum_values(EvictionPolicy))] = ""
    """The cache's eviction policy."""
    revision: str = ""
    """The revision of the source to download."""
    include: list[str] = Field(default_factory=list)
    """Patterns of the files to download."""
    exclude: list[str] = Field(default_factory=list)
    """Patterns of the files to leave out."""
    digest: str = ""
    """The digest that the downloaded files must have."""
    ttl_seconds_after_last_use: int | None = Field(default=None, json_schema_extra={"format": "int64", "minimum": 0})
    """The model is removed that many seconds after its last use."""


class LocalModelNodeSpec(ApiModel):
    """The models that the node shall have."""

    local_models: Annotated[list[LocalModelInfo], REQUIRED] = Field(default_factory=list)
    """One entry for each cache that wants its model here."""


class NodeModel(ApiModel):
    """What is known of one model on this node."""

    storage_key: str = ""
    """The name of the model's folder: the first 16 hexadecimal digits of the sha256 of its URI."""
    size_bytes: int | None = Field(default=None, json_schema_extra={"format": "int64"})
    """The model's size, once it is known."""
    bytes_downloaded: int | None = Field(default=None, json_schema_extra={"format": "int64"})
    """The bytes on this node's disk."""
    digest: str = ""
    """The digest over the model's files."""
    revision: str = ""
    """The revision that was downloaded."""
    attempts: int = 0
    """Downloads started so far."""
    next_retry_time: Time | None = None
    """When the next download starts, after one that failed."""
    reason: str = ""
    """One word for the state, as Waiting, Downloading, InsufficientStorage or DownloadFailed."""
    message: str = ""
    """The state in a sentence."""
    downloaded_time: Time | None = None
    """When the model was published on this node."""
    last_used_time: Time | None = None
    """When a pod last mounted it."""
    in_use: bool = False
    """A pod mounts it now."""


class NodeDisk(ApiModel):
    """The volume that the models of this node lie on."""

    capacity: Quantity = ""
    """The size of the file system."""
    available: Quantity = ""
    """The room that is left."""
    used: Quantity = ""
    """The room that models take."""
    limit: Quantity = ""
    """The most that models may take: the group's storageLimit, or the file system's size if that is smaller."""


class LocalModelNodeStatus(ApiModel):
    """The models that the node has."""

    model_status: dict[str, Annotated[str, WithJsonSchema(enum_values(ModelStatus))]] = Field(default_factory=dict)
    """The state of each model, by cache name, or namespace/name for a cache with a namespace."""

    models: dict[str, NodeModel] = Field(default_factory=dict)
    """What is known of each model, under the same keys."""
    disk: NodeDisk | None = None
    """The volume that the models lie on."""
    conditions: Conditions = Field(default_factory=list)
    """StorageReady: the models' volume is mounted and can be written. DiskPressure: it is above its high watermark."""


class LocalModelNode(ApiObject):
    """The models of one node. The manager writes the specification, the node's agent the status."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of(GROUP, VERSION, "LocalModelNode", namespaced=False)

    spec: LocalModelNodeSpec = Field(default_factory=LocalModelNodeSpec)
    """The models that the node shall have."""
    status: LocalModelNodeStatus = Field(default_factory=LocalModelNodeStatus)
    """The models that the node has."""
