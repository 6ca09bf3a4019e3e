"""The names that KServe's local model cache gives to things: objects, labels, annotations, finalizers, folders.

They are a contract with KServe's webhooks and with existing clusters (kserve-behaviour.md 2.7 and 3), so they stay as
they are even where two different caches can come to the same name (D-59); whoever creates an object must check whose it
is. What would be longer than a name may be ends in a hash of the whole. In this module M is the name of a cache, G of a
group, NS the namespace of a LocalModelNamespaceCache, S of a consumer.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

KSERVE_NAMESPACE: Final = "kserve"
"""Where the programs run unless POD_NAMESPACE says otherwise."""
CONFIG_MAP_NAME: Final = "inferenceservice-config"
DEFAULT_JOB_NAMESPACE: Final = "kserve-localmodel-jobs"
AGENT_LABEL: Final = "control-plane"
AGENT_LABEL_VALUE: Final = "kserve-localmodelnode-agent"
"""Agent pods carry `control-plane=kserve-localmodelnode-agent`."""

CACHE_FINALIZER: Final = "localmodel.kserve.io/finalizer"
NAMESPACE_CACHE_FINALIZER: Final = "localmodelnamespacecache.kserve.io/finalizer"

LOCAL_MODEL_LABEL: Final = "internal.serving.kserve.io/localmodel"
"""On services and their pods: the cache's name."""
LOCAL_MODEL_NAMESPACE_LABEL: Final = "internal.serving.kserve.io/localmodel-namespace"
"""On services and their pods: the namespace of a LocalModelNamespaceCache; absent for a LocalModelCache."""
SOURCE_URI_ANNOTATION: Final = "internal.serving.kserve.io/localmodel-sourceuri"
PVC_NAME_ANNOTATION: Final = "internal.serving.kserve.io/localmodel-pvc-name"
STORAGE_URI_ANNOTATION: Final = "internal.serving.kserve.io/storage-initializer-sourceuri"
NODE_GROUP_ANNOTATION: Final = "serving.kserve.io/nodegroup"
DISABLE_ANNOTATION: Final = "serving.kserve.io/disable-localmodel"
READ_ONLY_ANNOTATION: Final = "storage.kserve.io/readonly"

JOB_MODEL_LABEL: Final = "model"
JOB_NODE_LABEL: Final = "node"
JOB_MODEL_NAMESPACE_LABEL: Final = "modelNamespace"

WANTED_ANNOTATION: Final = "localmodel.kserve.io/wanted"
"""On a LocalModelNode: storage keys of evicted models that a workload wants again."""

GROUP_LIMITS_ANNOTATION: Final = "localmodel.kserve.io/group-limits"
"""On a LocalModelNode: a digest of the limits and watermarks of the groups that its entries come from. It changes with
them, and so tells the agent, which watches no groups, to read them again."""

READY_LABEL_PREFIX: Final = "localmodel.kserve.io/"
READY_LABEL_VALUE: Final = "ready"
"""On a Node that has a whole copy of a model: `localmodel.kserve.io/<storage key>=ready`."""
NODE_GROUP_LABEL: Final = "localmodel.kserve.io/node-group"
"""On a node: the group whose managed agent runs there (`group_label_value`); the same on its DaemonSet and pods."""

CACHE_UID_LABEL: Final = "localmodel.kserve.io/cache-uid"
"""On every volume and claim that the manager makes: the uid of its cache."""
CACHE_ANNOTATION: Final = "localmodel.kserve.io/cache"
"""Beside it: the cache's name, or namespace/name (`status_key`)."""

CA_BUNDLE_COPY: Final = "global-ca-bundle"
"""The copy of the ConfigMap with certificates: KServe makes it in namespaces of services, we in the job namespace."""
CA_BUNDLE_COPY_LABEL: Final = "localmodel.kserve.io/ca-bundle-copy"
"""On ours."""

NAME_LIMIT: Final = 253
"""Characters of an object's name (a DNS subdomain)."""

MODELS_DIRECTORY: Final = "models"
"""The folder below a node's root, and below a serving claim's, that holds one folder per storage key."""

LABEL_LIMIT: Final = 63
"""Characters of a label's value, and of what a pod is called after."""


def storage_key(uri: str, namespace: str = "") -> str:
    """The name of a model's folder: 16 hexadecimal digits of the SHA-256 of the URI exactly as it was written.

    With a namespace, that of the folder which its caches have for themselves (`storageIsolation: namespace`).

    >>> storage_key("hf://Qwen/Qwen2-0.5B-Instruct"), storage_key("hf://Qwen/Qwen2-0.5B-Instruct", "team-a")
    ('a7631b3fe62115e0', 'feff0e24aeeee303')
    """
    text = f"{namespace}\0{uri}" if namespace else uri
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def storage_keys(uri: str, namespace: str) -> frozenset[str]:
    """The keys that a cache's model can have, whatever `storageIsolation` says."""
    return frozenset((storage_key(uri), storage_key(uri, namespace)))


def ready_label(key: str) -> str:
    """The label's name for a storage key."""
    return READY_LABEL_PREFIX + key


def is_ready_label(name: str) -> bool:
    """Whether a label's name is one of ours: the prefix and 16 lowercase hexadecimal digits, nothing else."""
    return _READY_LABEL.fullmatch(name) is not None


def is_storage_key(text: str) -> bool:
    """Whether the text has the form of one."""
    return _STORAGE_KEY.fullmatch(text) is not None


def group_label_value(name: str) -> str:
    """The value of NODE_GROUP_LABEL for a group: its name, or a readable prefix with a hash where that is no value.

    >>> group_label_value("gpu"), group_label_value("g" * 64)[-20:]
    ('gpu', 'ggg-4e52b0a8d918b923')
    """
    if is_label_value(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    readable = re.sub(r"[^A-Za-z0-9._-]", "-", name)[: LABEL_LIMIT - len(digest) - 1].strip("._-")
    return f"{readable}-{digest}" if readable else digest


def is_label_value(text: str) -> bool:
    """Whether a label can have the value, which is not empty."""
    return len(text) <= LABEL_LIMIT and _LABEL_VALUE.fullmatch(text) is not None


def is_object_name(name: str) -> bool:
    """Whether an object, as a Secret or a ServiceAccount, can have the name: a DNS subdomain."""
    return len(name) <= NAME_LIMIT and _SUBDOMAIN.fullmatch(name) is not None


_SUBDOMAIN: Final = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_STORAGE_KEY: Final = re.compile("[0-9a-f]{16}")
_READY_LABEL: Final = re.compile(re.escape(READY_LABEL_PREFIX) + "[0-9a-f]{16}")
_MODEL_CLAIM: Final = re.compile(".+-([0-9a-f]{16})-[0-9a-f]{8}")
_LABEL_VALUE: Final = re.compile("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def status_key(name: str, namespace: str = "") -> str:
    """A cache's key in the status maps of a LocalModelNode: `M`, or `NS/M`."""
    return f"{namespace}/{name}" if namespace else name


def storage_sub_path(uri: str, namespace: str = "") -> str:
    """The path of a model's folder inside a volume of its group. `namespace`: as of `storage_key`."""
    return f"{MODELS_DIRECTORY}/{storage_key(uri, namespace)}"


def bounded(name: str, limit: int = NAME_LIMIT) -> str:
    """The name; a longer one is cut and gets a hash of the whole, so that it differs from others cut alike."""
    return name if len(name) <= limit else hashed(name, name, limit)


def hashed(name: str, identity: str, limit: int = NAME_LIMIT) -> str:
    """The name, cut where necessary, with eight hexadecimal digits of the SHA-256 of what it stands for."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-.')}-{digest}"


def download_pv_name(cache: str, group: str, namespace: str = "") -> str:
    """`M-G-download`, or `M-G-NS-download`."""
    return bounded(f"{cache}-{group}-{namespace}-download" if namespace else f"{cache}-{group}-download")


def download_pvc_name(cache: str, group: str, namespace: str = "") -> str:
    """`M-G`, or `M-G-NS-download`; it lies in the job namespace."""
    return bounded(f"{cache}-{group}-{namespace}-download" if namespace else f"{cache}-{group}")


def serving_pv_name(cache: str, group: str, namespace: str) -> str:
    """`M-G-S` for either scope: for a LocalModelNamespaceCache, S is its own namespace."""
    return bounded(f"{cache}-{group}-{namespace}")


def serving_pvc_name(cache: str, group: str) -> str:
    """`M-G`; it lies in the consumer's namespace."""
    return bounded(f"{cache}-{group}")


def other_download_pvc_name(cache: str, group: str, namespace: str = "") -> str:
    """The download claim where another cache has the plain name (D-59): with a hash of what it stands for.

    Both programs come to it by themselves: the manager makes the claim, the agent's Jobs mount it.
    """
    return hashed(download_pvc_name(cache, group, namespace), f"{status_key(cache, namespace)}/{group}")


def model_pvc_name(cache: str, group: str, uri: str, namespace: str = "", *, isolated: bool = False) -> str:
    """`M-G-<storage key>-<hash>`: the serving claim that shows this one model; it lies in the consumer's namespace.

    `isolated`: the model has a folder of its own for the cache's namespace.

    Ours alone, so no two caches share one. The storage key stands in it so that an agent, which may read no claims,
    knows which model a pod has mounted: `storage_key_of_claim`.
    """
    digest = hashlib.sha256(f"{status_key(cache, namespace)}/{group}".encode()).hexdigest()[:8]
    ending = f"-{storage_key(uri, namespace if isolated else '')}-{digest}"
    return f"{cache}-{group}"[: NAME_LIMIT - len(ending)].rstrip("-.") + ending


def model_pvc_names(cache: str, group: str, uri: str, namespace: str = "") -> set[str]:
    """Both names that it can have: a claim stays for a while when `storageIsolation` has changed."""
    return {model_pvc_name(cache, group, uri, namespace, isolated=isolated) for isolated in (False, True)}


def storage_key_of_claim(claim: str) -> str:
    """The storage key in the name of a claim that shows one model; empty in other names.

    >>> storage_key_of_claim(model_pvc_name("iris", "gpu", "hf://Qwen/Qwen2-0.5B-Instruct"))
    'a7631b3fe62115e0'
    """
    found = _MODEL_CLAIM.fullmatch(claim)
    return found[1] if found else ""


def model_pv_name(
    cache: str, group: str, uri: str, consumer: str, namespace: str = "", *, isolated: bool = False
) -> str:
    """`M-G-<storage key>-<hash>-S`, the volume of that claim in the namespace S."""
    return bounded(f"{model_pvc_name(cache, group, uri, namespace, isolated=isolated)}-{consumer}")


def agent_daemon_set_name(group: str) -> str:
    """`G-agent`, the DaemonSet of agents that the manager runs for a group; with a hash where G is too long."""
    suffix = "-agent"
    return bounded(group, LABEL_LIMIT - len(suffix)) + suffix
