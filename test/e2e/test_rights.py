"""Manager and agents run as their own service accounts: no right of the shipped roles is missing, none is in excess.

One run does what users do (caches made, changed, served from, deleted, also in the middle of a download; a node that
comes and goes), and the API server's audit log tells which rights that took.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.gate import Gate
from support.rights import AGENT, MANAGER, requests, shipped_rights
from support.sandbox import Sandbox, lent_credentials, sandbox

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.credentials import copy_name
from localmodel.api.names import CONFIG_MAP_NAME, storage_key_of_claim
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.objects import ConfigMap, DaemonSet, Node, ObjectMeta, PersistentVolumeClaim, Secret
from localmodel.sandbox import demo_objects, install
from localmodel.sandbox.apiserver.rbac import Attributes

LISTS = "an informer lists where the server does not stream its lists"
READS = "gives nothing that list does not give; usual beside it"
CORE_EVENTS = "events go to events.k8s.io, and to the core group where only that is granted"
SERIES = "an event that is repeated becomes a series"
LEADER = "one of several managers is the leader (--leader-elect, as in config/manager); here is only one, without"
OWNERS = "owner references with blockOwnerDeletion, where OwnerReferencesPermissionEnforcement is on"
CONFLICT = "read again when a write came too late, which a run may or may not see"
APPLY = "a server-side apply is a patch; the server asks for create too where there is no object yet"
NO_GROUP = "only where an entry names no group, as the manager's all do"
LATE = "only where a download's pod has not started for a minute"
CERTIFICATES = "only where downloads shall trust an authority of their own"
NO_STATUS = "where LocalModelNodeGroup has no /status, as with KServe's CRD, its status is written through the object"

UNUSED = {
    MANAGER: {
        "get localmodelcaches.serving.kserve.io": READS,
        "list localmodelcaches.serving.kserve.io": LISTS,
        "update localmodelcaches/finalizers.serving.kserve.io": OWNERS,
        "get localmodelnamespacecaches.serving.kserve.io": READS,
        "list localmodelnamespacecaches.serving.kserve.io": LISTS,
        "update localmodelnamespacecaches/finalizers.serving.kserve.io": OWNERS,
        "get localmodelnodegroups.serving.kserve.io": NO_STATUS,
        "list localmodelnodegroups.serving.kserve.io": LISTS,
        "update localmodelnodegroups.serving.kserve.io": NO_STATUS,
        "get localmodelnodes.serving.kserve.io": READS,
        "list localmodelnodes.serving.kserve.io": LISTS,
        "get inferenceservices.serving.kserve.io": READS,
        "list inferenceservices.serving.kserve.io": LISTS,
        "get llminferenceservices.serving.kserve.io": READS,
        "list llminferenceservices.serving.kserve.io": LISTS,
        "get clusterstoragecontainers.serving.kserve.io": READS,
        "list clusterstoragecontainers.serving.kserve.io": LISTS,
        "list nodes": LISTS,
        "list persistentvolumes": LISTS,
        "list persistentvolumeclaims": LISTS,
        "create events": CORE_EVENTS,
        "patch events": CORE_EVENTS,
        "patch events.events.k8s.io": SERIES,
        "get configmaps in kserve": READS,
        "list configmaps in kserve": LISTS,
        "get pods in kserve": READS,
        "list pods in kserve": LISTS,
        "list daemonsets.apps in kserve": LISTS,
        "create daemonsets.apps in kserve": APPLY,
        "get leases.coordination.k8s.io in kserve": LEADER,
        "create leases.coordination.k8s.io in kserve": LEADER,
        "update leases.coordination.k8s.io in kserve": LEADER,
        "create configmaps in kserve-localmodel-jobs": CERTIFICATES,
        "update configmaps in kserve-localmodel-jobs": CERTIFICATES,
        "delete configmaps in kserve-localmodel-jobs": CERTIFICATES,
    },
    AGENT: {
        "get localmodelnodes.serving.kserve.io": CONFLICT,
        "list localmodelnodes.serving.kserve.io": LISTS,
        "update localmodelnodes/finalizers.serving.kserve.io": OWNERS,
        "list nodes": LISTS,
        "get pods": READS,
        "list pods": LISTS,
        "create events": CORE_EVENTS,
        "patch events": CORE_EVENTS,
        "patch events.events.k8s.io": SERIES,
        "list configmaps in kserve": LISTS,
        "get configmaps in kserve-localmodel-jobs": CERTIFICATES,
        "list events in kserve-localmodel-jobs": LATE,
        "get nodes": NO_GROUP,
        "list localmodelnodegroups.serving.kserve.io": NO_GROUP,
    },
}
"""By user: the rights that this run need not take, each with its reason."""


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audit log of the whole run."""
    with sandbox(tmp_path_factory.mktemp("rights"), nodes=1, size=4 << 20) as it:
        log = it.cluster.logs / "audit.jsonl"
        make_and_serve(it)
        change(it)
        change_the_scope(it)
        delete_in_the_middle_of_a_download(it)
        let_a_node_come_and_go(it)
        ask_for_agents(it)
        lend_credentials(it)
        delete(it)
    return log


def make_and_serve(it: Sandbox) -> None:
    """A cache, an InferenceService that uses it, and a namespace's cache with a service account's credentials."""
    it.cache(demo_objects.CACHE_NAME, "org/model-1")
    it.apply(demo_objects.inference_service("hf://org/model-1"))
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "reader", "namespace": install.JOB_NAMESPACE},
        "secrets": [{"name": "hf-secret"}],
    }
    namespaced = demo_objects.cache("hf://org/model-2", it.model.size, name="namespaced")
    namespaced["kind"] = LocalModelNamespaceCache.mapping.gvk.kind
    namespaced["metadata"]["namespace"] = demo_objects.SERVICE_NAMESPACE
    namespaced["spec"]["serviceAccountName"] = "reader"
    it.apply(account, namespaced)
    it.eventually(lambda: it.is_available(demo_objects.CACHE_NAME), timeout=60)
    it.eventually(lambda: serving_claim(it) is not None)
    it.eventually(lambda: namespace_cache(it).status.copies, timeout=60)
    it.eventually(lambda: namespace_cache(it).status.copies.available == 1, timeout=60)


def namespace_cache(it: Sandbox) -> LocalModelNamespaceCache:
    return it.cluster.client.get(LocalModelNamespaceCache, "namespaced", namespace=demo_objects.SERVICE_NAMESPACE)


def serving_claim(it: Sandbox) -> PersistentVolumeClaim | None:
    claims = it.cluster.client.list(PersistentVolumeClaim, namespace=demo_objects.SERVICE_NAMESPACE)
    return next((claim for claim in claims if claim.name.startswith(demo_objects.CACHE_NAME)), None)


def change(it: Sandbox) -> None:
    """Somebody takes the labels off a claim, and then deletes it: both are mended."""
    claim = serving_claim(it)
    assert claim is not None
    uid, labels = claim.metadata.uid, claim.metadata.labels
    it.cluster.client.patch(claim, {"metadata": {"labels": None}})
    it.eventually(lambda: (mended := serving_claim(it)) is not None and mended.metadata.labels == labels)
    it.cluster.client.delete(claim)
    it.eventually(lambda: (made := serving_claim(it)) is not None and made.metadata.uid != uid)


def change_the_scope(it: Sandbox) -> None:
    """Services get a claim of one model each, and after that they do not: then pods are asked about."""
    config = it.cluster.client.get(ConfigMap, CONFIG_MAP_NAME, namespace=install.NAMESPACE)
    before = config.data["localModel"]
    scoped = json.dumps({**json.loads(before), "servingVolumeScope": "model"})
    it.cluster.client.patch(config, {"data": {"localModel": scoped}})
    it.eventually(lambda: single_claim(it) is not None)
    it.cluster.client.patch(config, {"data": {"localModel": before}})
    it.eventually(lambda: any(attributes.resource == "pods" for attributes in of_services(it)))


def single_claim(it: Sandbox) -> PersistentVolumeClaim | None:
    claims = it.cluster.client.list(PersistentVolumeClaim, namespace=demo_objects.SERVICE_NAMESPACE)
    return next((claim for claim in claims if storage_key_of_claim(claim.name)), None)


def of_services(it: Sandbox) -> list[Attributes]:
    """The manager's requests in the namespace of services."""
    made = (attributes for _, attributes in requests(it.cluster.logs / "audit.jsonl", MANAGER))
    return [attributes for attributes in made if attributes.namespace == demo_objects.SERVICE_NAMESPACE]


def delete_in_the_middle_of_a_download(it: Sandbox) -> None:
    gate = it.hub.throttle = Gate()
    gate.close_at(0)
    it.cache("cancelled", "org/model-3")
    it.eventually(lambda: gate.held == 1)
    it.cluster.client.delete(it.cluster.client.get(LocalModelCache, "cancelled"))
    it.eventually(lambda: it.jobs("cancelled") == {}, timeout=60)
    gate.open()
    it.eventually(lambda: it.cluster.client.find(LocalModelCache, "cancelled") is None, timeout=60)


def let_a_node_come_and_go(it: Sandbox) -> None:
    """A node of the group that no kubelet looks after."""
    labels = it.cluster.client.get(Node, "node-1").metadata.labels | {"kubernetes.io/hostname": "guest"}
    conditions = [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}]
    it.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "guest", "labels": labels}})
    guest = it.cluster.client.get(Node, "guest")

    def is_wanted() -> bool:
        # Said again until it is heard: the node's controllers may just have written that it says nothing.
        it.cluster.client.status.patch(guest, {"status": {"conditions": conditions}})
        return it.cluster.client.find(LocalModelNode, "guest") is not None

    it.eventually(is_wanted, timeout=60)
    # Without an owner it is left to the manager: the garbage collector may be faster.
    owned = it.cluster.client.get(LocalModelNode, "guest")
    it.cluster.client.patch(owned, {"metadata": {"ownerReferences": None}})
    it.cluster.client.delete(guest)
    it.eventually(lambda: it.cluster.client.find(LocalModelNode, "guest") is None)


def ask_for_agents(it: Sandbox) -> None:
    """A group's own DaemonSet comes, changes and goes; the group has no nodes, as theirs have agents already."""
    group = demo_objects.node_group()
    group["metadata"]["name"] = "asking"
    required = group["spec"]["persistentVolumeSpec"]["nodeAffinity"]["required"]
    required["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] = ["none"]
    for image in ("agent:1", "agent:2", ""):
        group["spec"]["agent"] = {"image": image}
        if not image:
            del group["spec"]["agent"]
        it.apply(group)
        it.eventually(lambda image=image: agent_image(it) == image)
    it.cluster.client.delete(it.cluster.client.get(LocalModelNodeGroup, "asking"))


def agent_image(it: Sandbox) -> str:
    """Empty where there is no DaemonSet."""
    found = it.cluster.client.find(DaemonSet, "asking-agent", namespace=install.NAMESPACE)
    return str(found.spec["template"]["spec"]["containers"][0]["image"]) if found else ""


def lend_credentials(it: Sandbox) -> None:
    """The namespace's cache gets its credentials from there, as config/samples/credentials.yaml says; they change."""
    namespace, job = demo_objects.SERVICE_NAMESPACE, json.dumps(install.local_model_config())
    it.apply(*lent_credentials(namespace, "token"))
    name = copy_name(namespace_cache(it).metadata.uid)

    def version() -> str:
        found = it.cluster.client.find(Secret, name, namespace=install.JOB_NAMESPACE)
        return found.metadata.resource_version if found is not None else ""

    configuration = ConfigMap(metadata=ObjectMeta(name="inferenceservice-config", namespace=install.NAMESPACE))
    own = json.dumps(install.local_model_config(credentialNamespace="own"))
    it.cluster.client.patch(configuration, {"data": {"localModel": own}})
    it.eventually(version)
    first = version()
    it.apply(*lent_credentials(namespace, "another"))
    it.cluster.client.patch(namespace_cache(it), {"spec": {"priority": 1}})  # it is looked at again at once
    it.eventually(lambda: version() not in ("", first))
    it.cluster.client.patch(configuration, {"data": {"localModel": job}})
    it.eventually(lambda: not version())


def delete(it: Sandbox) -> None:
    for kind in (InferenceService, LocalModelNamespaceCache, LocalModelCache):
        for obj in it.cluster.client.list(kind):
            it.cluster.client.delete(obj)
    it.eventually(lambda: not it.cluster.client.list(LocalModelCache), timeout=60)
    it.eventually(lambda: not it.cluster.client.list(LocalModelNamespaceCache), timeout=60)
    it.eventually(lambda: not it.folder("node-1", "org/model-1").exists(), timeout=60)
    it.cluster.client.delete(it.cluster.client.get(LocalModelNodeGroup, demo_objects.GROUP_NAME))
    it.eventually(lambda: not it.cluster.client.list(LocalModelNodeGroup))


@pytest.mark.parametrize("user", [MANAGER, AGENT])
def test_no_request_was_refused(audit: Path, user: str) -> None:
    made = requests(audit, user)
    assert made
    assert [(record["verb"], record["path"]) for record, _ in made if record["code"] in (401, 403)] == []


@pytest.mark.parametrize("user", [MANAGER, AGENT])
def test_every_right_of_the_shipped_roles_is_used_or_has_a_reason(audit: Path, user: str) -> None:
    made = [attributes for _, attributes in requests(audit, user)]
    rights = [right for right in shipped_rights() if right.user == user]
    unused = [str(right) for right in rights if not any(right.allows(attributes) for attributes in made)]
    assert sorted(set(unused) - UNUSED[user].keys()) == []


@pytest.mark.parametrize("user", [MANAGER, AGENT])
def test_reasons_are_given_for_rights_that_there_are(user: str) -> None:
    rights = {str(right) for right in shipped_rights() if right.user == user}
    assert sorted(UNUSED[user].keys() - rights) == []
