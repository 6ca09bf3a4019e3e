"""What the sandbox puts on an API server before the programs start: namespaces, configuration, roles, CRDs.

It is what `config/` installs on a real cluster, with the values of a laptop: the programs have the rights of the
shipped roles and no others. Everything is written with server-side apply, so a second run on the same server changes
nothing; a configuration that somebody has edited stays as it is, unless other values are asked for.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import Field

from localmodel.api.crd import crds
from localmodel.runtime.client import Client
from localmodel.runtime.objects import (
    ConfigMap,
    CustomResourceDefinition,
    Namespace,
    Object,
    ObjectMeta,
    RESTMapping,
    StorageClass,
    Unstructured,
)

from .controllers.kinds import BUILT_IN, custom_kinds

FIELD_OWNER = "localmodel-sandbox"
NAMESPACE = "kserve"
JOB_NAMESPACE = "kserve-localmodel-jobs"
MANAGER_ACCOUNT = "kserve-localmodel-controller-manager"
AGENT_ACCOUNT = "kserve-localmodelnode-agent"
ROLES = (
    Path(__file__).resolve().parents[2] / "config" / "rbac",
    Path(sysconfig.get_path("data")) / "share" / "localmodel" / "rbac",
)
"""Where the shipped roles lie: in a checkout, and where a wheel puts its data."""

Json = dict[str, Any]


class TokenRequest(Object):
    """authentication.k8s.io/v1 TokenRequest; `type_for(account)` is created at serviceaccounts/NAME/token."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("", "v1", "TokenRequest")
    spec: Json = Field(default_factory=dict)
    status: Json = Field(default_factory=dict)

    @classmethod
    def type_for(cls, account: str) -> type[TokenRequest]:
        mapping = RESTMapping.of("", "v1", "TokenRequest", f"serviceaccounts/{account}/token")
        return type("TokenRequest", (cls,), {"mapping": mapping, "__module__": __name__})


def local_model_config(**changes: Any) -> Json:
    """The `localModel` document of inferenceservice-config, in the shape of KServe's documentation.

    Without localModelAgentImage: the manager would run agents beside those that `sandbox up` starts. With watermarks at
    the top: the nodes share this machine's disk, and how full that is says nothing of them.
    """
    return {
        "enabled": True,
        "jobNamespace": JOB_NAMESPACE,
        "defaultJobImage": "kserve/storage-initializer:latest",
        "fsGroup": 1000,
        "jobTTLSecondsAfterFinished": 3600,
        "reconcilationFrequencyInSecs": 60,
        "highWatermarkPercent": 100,
        "lowWatermarkPercent": 100,
        **changes,
    }


def install(client: Client, *, config: Mapping[str, Any] | None = None) -> None:
    """Applies everything; raises ApiError, TransportError. `config` changes keys of `localModel`."""
    install_cluster(client, [*crds(minimal=False), inference_service_crd()], config=config)


def install_cluster(client: Client, definitions: Iterable[Json], *, config: Mapping[str, Any] | None = None) -> None:
    """The same with other definitions of our kinds."""
    apply_all(client, definitions)
    apply_all(client, [_namespace(name) for name in (NAMESPACE, JOB_NAMESPACE, "default")])
    configuration = _configuration(config or {})
    is_there = client.find(ConfigMap, configuration["metadata"]["name"], namespace=NAMESPACE) is not None
    apply_all(client, [storage_class(), *([] if is_there and not config else [configuration])])
    apply_all(client, roles())


def apply_all(client: Client, documents: Iterable[Json]) -> list[Unstructured]:
    """Applies objects one after another, and returns them as they are stored.

    Raises ApiError, and ValueError for a kind that is not served.
    """
    stored = []
    mappings = {_gvk(mapping): mapping for mapping in (*BUILT_IN, *_OTHERS)}
    for document in documents:
        key = (document["apiVersion"], document["kind"])
        if key not in mappings:
            mappings |= {_gvk(mapping): mapping for mapping in custom_kinds(client)}
        if key not in mappings:
            raise ValueError(f"{document['kind']} ({document['apiVersion']}) is not served: install its CRD first")
        obj = Unstructured.of(mappings[key]).from_dict(document)
        stored.append(client.apply(obj, field_owner=FIELD_OWNER, force=True))
    return stored


_OTHERS = (Namespace.mapping, StorageClass.mapping, CustomResourceDefinition.mapping)


def _gvk(mapping: RESTMapping) -> tuple[str, str]:
    return mapping.gvk.api_version, mapping.gvk.kind


TOKEN_LIFETIME = timedelta(days=1)
"""The sandbox's programs do not renew their tokens."""


def service_account_token(client: Client, namespace: str, name: str, *, lifetime: timedelta = TOKEN_LIFETIME) -> str:
    """A bearer token of a service account; raises ApiError, also for a lifetime of less than ten minutes."""
    request = TokenRequest.type_for(name)(
        api_version="authentication.k8s.io/v1",
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec={"audiences": [], "expirationSeconds": int(lifetime.total_seconds())},
    )
    return str(client.create(request).status["token"])


def roles() -> list[Json]:
    """The shipped service accounts and roles; raises FileNotFoundError where an installation lacks them."""
    directory = next((path for path in ROLES if path.is_dir()), None)
    if directory is None:
        raise FileNotFoundError(f"the roles are in none of {', '.join(map(str, ROLES))}: install localmodel again")
    files = sorted(path for path in directory.glob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in files for document in yaml.safe_load_all(path.read_text()) if document]


def inference_service_crd() -> Json:
    """KServe's InferenceService with an open schema: enough to be watched and shown."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "inferenceservices.serving.kserve.io"},
        "spec": {
            "group": "serving.kserve.io",
            "scope": "Namespaced",
            "names": {
                "kind": "InferenceService",
                "listKind": "InferenceServiceList",
                "plural": "inferenceservices",
                "singular": "inferenceservice",
                "shortNames": ["isvc"],
            },
            "versions": [
                {
                    "name": "v1beta1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def storage_class() -> Json:
    """The class of models' volumes, as in config/samples: its binding mode cannot be changed later."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "local-storage"},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _configuration(changes: Mapping[str, Any]) -> Json:
    documents = {
        "localModel": local_model_config(**changes),
        "storageInitializer": {
            "image": "kserve/storage-initializer:latest",
            "memoryRequest": "100Mi",
            "memoryLimit": "1Gi",
            "cpuRequest": "100m",
            "cpuLimit": "1",
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "inferenceservice-config", "namespace": NAMESPACE},
        "data": {key: json.dumps(value, indent=2) for key, value in documents.items()},
    }
