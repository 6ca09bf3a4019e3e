"""The resources of the local model cache (serving.kserve.io/v1alpha1) and the rules that KServe's contract gives them.

Resources: `caches`, `nodegroup`, `node`, `container`. Pure rules: `names`, `uri`, `affinity`, `container`, `config`.
`crd` makes the CustomResourceDefinitions out of the types. Nothing here talks to an API server.

Each module is imported with the first name that is asked of it: an agent, say, does without most of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localmodel.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from .affinity import SelectorError, node_matches
    from .caches import (
        Cache,
        CacheProgress,
        LocalModelCache,
        LocalModelCacheSpec,
        LocalModelCacheStatus,
        LocalModelNamespaceCache,
        LocalModelNamespaceCacheSpec,
        LocalModelNamespaceCacheStatus,
        ModelCopies,
        NodeFailure,
        NodeStatus,
    )
    from .config import (
        ConfigError,
        CredentialsConfig,
        InferenceServiceConfig,
        LocalModelConfig,
        StorageInitializerConfig,
    )
    from .container import (
        ClusterStorageContainer,
        StorageContainerSpec,
        SupportedUriFormat,
        WorkloadType,
        effective_formats,
        find_download_container,
        format_errors,
        serves_downloads,
        supports,
    )
    from .model import EvictionPolicy, LocalModelStorageSpec, NamespacedName
    from .node import (
        LocalModelInfo,
        LocalModelNode,
        LocalModelNodeSpec,
        LocalModelNodeStatus,
        ModelStatus,
        NodeDisk,
        NodeModel,
    )
    from .nodegroup import (
        LocalModelNodeGroup,
        LocalModelNodeGroupSpec,
        LocalModelNodeGroupStatus,
        NodeGroupAgent,
        NodeGroupEviction,
    )

__all__ = [
    "Cache",
    "CacheProgress",
    "ClusterStorageContainer",
    "ConfigError",
    "CredentialsConfig",
    "EvictionPolicy",
    "InferenceServiceConfig",
    "LocalModelCache",
    "LocalModelCacheSpec",
    "LocalModelCacheStatus",
    "LocalModelConfig",
    "LocalModelInfo",
    "LocalModelNamespaceCache",
    "LocalModelNamespaceCacheSpec",
    "LocalModelNamespaceCacheStatus",
    "LocalModelNode",
    "LocalModelNodeGroup",
    "LocalModelNodeGroupSpec",
    "LocalModelNodeGroupStatus",
    "LocalModelNodeSpec",
    "LocalModelNodeStatus",
    "LocalModelStorageSpec",
    "ModelCopies",
    "ModelStatus",
    "NamespacedName",
    "NodeDisk",
    "NodeFailure",
    "NodeGroupAgent",
    "NodeGroupEviction",
    "NodeModel",
    "NodeStatus",
    "SelectorError",
    "StorageContainerSpec",
    "StorageInitializerConfig",
    "SupportedUriFormat",
    "WorkloadType",
    "effective_formats",
    "find_download_container",
    "format_errors",
    "node_matches",
    "serves_downloads",
    "supports",
]

_HOMES = {
    "affinity": (
        "SelectorError",
        "node_matches",
    ),
    "caches": (
        "Cache",
        "CacheProgress",
        "LocalModelCache",
        "LocalModelCacheSpec",
        "LocalModelCacheStatus",
        "LocalModelNamespaceCache",
        "LocalModelNamespaceCacheSpec",
        "LocalModelNamespaceCacheStatus",
        "ModelCopies",
        "NodeFailure",
        "NodeStatus",
    ),
    "config": (
        "ConfigError",
        "CredentialsConfig",
        "InferenceServiceConfig",
        "LocalModelConfig",
        "StorageInitializerConfig",
    ),
    "container": (
        "ClusterStorageContainer",
        "StorageContainerSpec",
        "SupportedUriFormat",
        "WorkloadType",
        "effective_formats",
        "find_download_container",
        "format_errors",
        "serves_downloads",
        "supports",
    ),
    "model": (
        "EvictionPolicy",
        "LocalModelStorageSpec",
        "NamespacedName",
    ),
    "node": (
        "LocalModelInfo",
        "LocalModelNode",
        "LocalModelNodeSpec",
        "LocalModelNodeStatus",
        "ModelStatus",
        "NodeDisk",
        "NodeModel",
    ),
    "nodegroup": (
        "LocalModelNodeGroup",
        "LocalModelNodeGroupSpec",
        "LocalModelNodeGroupStatus",
        "NodeGroupAgent",
        "NodeGroupEviction",
    ),
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
