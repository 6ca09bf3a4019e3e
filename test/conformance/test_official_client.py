"""The official Python client as reader and writer: typed, custom objects, dynamic, watch, informer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from support.eventually import eventually

from localmodel.sandbox.envtest import Environment

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


@pytest.fixture(scope="module")
def api(environment: Environment) -> Iterator[Any]:
    client = kubernetes.config.new_client_from_config(str(environment.kubeconfig()))
    yield client
    client.close()


@pytest.fixture
def namespace(environment: Environment) -> str:
    return environment.namespace("official")


@pytest.fixture(scope="module")
def dynamic(api: Any) -> DynamicClient:
    return DynamicClient(api)


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Any:
    metadata = kubernetes.client.V1ObjectMeta(name=name, labels=labels)
    return kubernetes.client.V1ConfigMap(metadata=metadata, data=data)


def pod_template() -> Any:
    k = kubernetes.client
    container = k.V1Container(name="c", image="i", ports=[k.V1ContainerPort(container_port=80)])
    return k.V1PodTemplateSpec(
        metadata=k.V1ObjectMeta(labels={"app": "web"}), spec=k.V1PodSpec(containers=[container], restart_policy="Never")
    )


def widget(name: str, **spec: Any) -> Json:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def test_core_objects_are_written_and_read_typed(api: Any, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    made = core.create_namespaced_config_map(namespace, config_map("a", {"app": "x"}, k="1"))
    assert made.metadata.creation_timestamp.tzinfo is not None
    with pytest.raises(ApiException) as caught:
        core.create_namespaced_config_map(namespace, config_map("a"))
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    made.data["k"] = "2"
    replaced = core.replace_namespaced_config_map("a", namespace, made)
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("a", namespace, made)
    assert caught.value.status == 409
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    listed = core.list_namespaced_config_map(namespace, label_selector="app=x", field_selector="metadata.name=a")
    assert [item.data for item in listed.items] == [{"k": "2"}]
    for options in ({"dry_run": "All"}, {}):
        assert core.delete_namespaced_config_map("a", namespace, **options)["status"] == "Success"
    with pytest.raises(ApiException) as caught:
        core.read_namespaced_config_map("a", namespace)
    assert caught.value.status == 404


def test_lists_come_in_pages(api: Any, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    for number in range(5):
        core.create_namespaced_config_map(namespace, config_map(f"p{number}", {"paged": ""}))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(namespace, label_selector="paged", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"p{number}" for number in range(5)]
    core.delete_collection_namespaced_config_map(namespace, label_selector="paged")
    assert core.list_namespaced_config_map(namespace, label_selector="paged").items == []


def test_workloads_and_jobs_are_written_patched_and_scaled(api: Any, namespace: str) -> None:
    k = kubernetes.client
    template = pod_template()
    job = k.V1Job(metadata=k.V1ObjectMeta(name="job"), spec=k.V1JobSpec(template=template, backoff_limit=2))
    batch = k.BatchV1Api(api)
    assert batch.create_namespaced_job(namespace, job).spec.completion_mode == "NonIndexed"
    batch.delete_namespaced_job("job", namespace, propagation_policy="Background")

    template = pod_template()
    template.spec.restart_policy = None
    spec = k.V1DeploymentSpec(selector=k.V1LabelSelector(match_labels={"app": "web"}), template=template, replicas=1)
    apps = k.AppsV1Api(api)
    apps.create_namespaced_deployment(namespace, k.V1Deployment(metadata=k.V1ObjectMeta(name="web"), spec=spec))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}}
    patched = apps.patch_namespaced_deployment("web", namespace, patch)
    (container,) = patched.spec.template.spec.containers
    assert (container.image, container.ports[0].container_port) == ("i:2", 80)
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    assert apps.read_namespaced_deployment_scale("web", namespace).spec.replicas == 3
    status = apps.patch_namespaced_deployment_status("web", namespace, {"status": {"replicas": 2}})
    assert (status.status.replicas, status.spec.replicas) == (2, 3)
    with pytest.raises(ApiException) as caught:
        apps.patch_namespaced_deployment("web", namespace, {"spec": {"selector": {"matchLabels": {"app": "other"}}}})
    assert caught.value.status == 422
    apps.delete_namespaced_deployment("web", namespace)


def test_custom_objects(api: Any, namespace: str) -> None:
    custom = kubernetes.client.CustomObjectsApi(api)
    kind = {"group": "example.com", "version": "v1", "namespace": namespace, "plural": "widgets"}
    made = custom.create_namespaced_custom_object(body=widget("w", size="S"), **kind)
    assert made["spec"] == {"size": "S", "replicas": 1}
    with pytest.raises(ApiException) as caught:
        custom.create_namespaced_custom_object(body=widget("bad", size="XL"), **kind)
    assert caught.value.status == 422
    patched = custom.patch_namespaced_custom_object(name="w", body={"spec": {"replicas": 2}}, **kind)
    assert patched["metadata"]["generation"] == 2
    status = {"status": {"phase": "Ready"}, "spec": {"replicas": 9}}
    patched = custom.patch_namespaced_custom_object_status(name="w", body=status, **kind)
    assert (patched["status"], patched["spec"]["replicas"]) == ({"phase": "Ready"}, 2)
    assert [item["metadata"]["name"] for item in custom.list_namespaced_custom_object(**kind)["items"]] == ["w"]
    custom.delete_namespaced_custom_object(name="w", **kind)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (MERGE, {"data": {"k": "2", "gone": None}}),
        (STRATEGIC, {"data": {"k": "2", "gone": None}}),
        (JSON_PATCH, [{"op": "replace", "path": "/data/k", "value": "2"}, {"op": "remove", "path": "/data/gone"}]),
    ],
)
def test_the_dynamic_client_patches_in_every_form(
    dynamic: DynamicClient, namespace: str, content_type: str, body: Any
) -> None:
    kind = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    kind.create(body={"metadata": {"name": "a"}, "data": {"k": "1", "gone": "x"}}, namespace=namespace)
    patched = kind.patch(body=body, name="a", namespace=namespace, content_type=content_type)
    assert patched.data.to_dict() == {"k": "2"}


def test_the_dynamic_client_applies_and_meets_conflicts(dynamic: DynamicClient, namespace: str) -> None:
    kind = dynamic.resources.get(api_version="example.com/v1", kind="Widget")

    def apply(size: str, manager: str, *, force: bool = False) -> Any:
        body = widget("w", size=size)
        return kind.server_side_apply(
            body=body, name="w", namespace=namespace, field_manager=manager, force_conflicts=force
        )

    assert apply("S", "one").spec.size == "S"
    with pytest.raises(ConflictError):
        apply("M", "two")
    assert apply("M", "two", force=True).spec.size == "M"
    kind.delete(name="w", namespace=namespace)
    with pytest.raises(NotFoundError):
        kind.get(name="w", namespace=namespace)


def test_the_dynamic_client_discovers_kinds_and_their_subresources(dynamic: DynamicClient, namespace: str) -> None:
    deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    assert {"scale", "status"} <= set(deployments.subresources)
    assert dynamic.resources.get(api_version="v1", kind="Pod").namespaced
    assert not dynamic.resources.get(api_version="v1", kind="Node").namespaced
    found = dynamic.resources.get(api_version="v1", kind="ConfigMap").get(namespace=namespace, label_selector="none")
    assert found.items == []


def test_watches_tell_what_happens(api: Any, dynamic: DynamicClient, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, config_map("a", k="1"))
    core.patch_namespaced_config_map("a", namespace, {"data": {"k": "2"}})
    core.delete_namespaced_config_map("a", namespace)

    typed = kubernetes.watch.Watch()
    seen = []
    for event in typed.stream(core.list_namespaced_config_map, namespace, resource_version=version, timeout_seconds=20):
        seen.append((event["type"], event["object"].metadata.name, event["object"].data))
        if event["type"] == "DELETED":
            typed.stop()
    assert seen == [("ADDED", "a", {"k": "1"}), ("MODIFIED", "a", {"k": "2"}), ("DELETED", "a", {"k": "2"})]

    kind = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    types = []
    for event in kind.watch(namespace=namespace, resource_version=version, timeout=20):
        types.append(event["type"])
        if event["type"] == "DELETED":
            break
    assert types == ["ADDED", "MODIFIED", "DELETED"]


def test_a_watch_that_ends_by_its_time_ends_quietly(api: Any, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(api)
    watch = kubernetes.watch.Watch()
    assert list(watch.stream(core.list_namespaced_secret, namespace, timeout_seconds=1)) == []


def test_the_informer_holds_what_the_server_has(api: Any, namespace: str) -> None:
    from kubernetes.informer import SharedInformer

    core = kubernetes.client.CoreV1Api(api)
    core.create_namespaced_config_map(namespace, config_map("before"))
    heard: list[str] = []
    lock = threading.Lock()

    def hear(name: str) -> None:
        with lock:
            heard.append(name)

    informer = SharedInformer(list_func=core.list_namespaced_config_map, namespace=namespace)
    informer.add_event_handler("ADDED", lambda obj: hear(f"+{obj.metadata.name}"))
    informer.add_event_handler("DELETED", lambda obj: hear(f"-{obj.metadata.name}"))
    informer.start()
    try:
        eventually(lambda: "+before" in heard)
        core.create_namespaced_config_map(namespace, config_map("after"))
        eventually(lambda: "+after" in heard)
        core.delete_namespaced_config_map("before", namespace)
        eventually(lambda: "-before" in heard)
        names = {obj.metadata.name for obj in informer.cache.list()}
        assert "after" in names
        assert "before" not in names
    finally:
        informer.stop()


def test_reviews_and_tokens(api: Any, namespace: str) -> None:
    k = kubernetes.client
    core = k.CoreV1Api(api)
    core.create_namespaced_service_account(namespace, k.V1ServiceAccount(metadata=k.V1ObjectMeta(name="robot")))
    request = k.AuthenticationV1TokenRequest(spec=k.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("robot", namespace, request).status.token
    review = k.V1TokenReview(spec=k.V1TokenReviewSpec(token=token))
    answer = k.AuthenticationV1Api(api).create_token_review(review).status
    assert (answer.authenticated, answer.user.username) == (True, f"system:serviceaccount:{namespace}:robot")
    attributes = k.V1ResourceAttributes(namespace=namespace, verb="list", resource="pods")
    access = k.V1SubjectAccessReview(
        spec=k.V1SubjectAccessReviewSpec(user=answer.user.username, resource_attributes=attributes)
    )
    assert not k.AuthorizationV1Api(api).create_subject_access_review(access).status.allowed


def test_versions_and_groups_are_told(api: Any) -> None:
    assert kubernetes.client.VersionApi(api).get_code().major == "1"
    groups = {group.name for group in kubernetes.client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "example.com"} <= groups
