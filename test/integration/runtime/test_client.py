"""What a client does, against the fake and over HTTPS against the embedded API server: both must do the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.eventually import eventually
from support.live import Live, quick_cache

from localmodel.runtime.cache import Cache
from localmodel.runtime.cached_client import CachedClient
from localmodel.runtime.client import JSON_PATCH, STRATEGIC_MERGE_PATCH, Client, Preconditions, WriteOptions
from localmodel.runtime.delegating_client import (
    WrongNamespaceError,
    dry_run_client,
    namespaced_client,
    with_field_owner,
    with_field_validation,
)
from localmodel.runtime.errors import (
    AlreadyExistsError,
    ApiError,
    BadRequestError,
    ConflictError,
    InvalidError,
    NoKindMatchError,
    NotFoundError,
)
from localmodel.runtime.mergepatch import merge_from
from localmodel.runtime.objects import (
    ConfigMap,
    CustomResourceDefinition,
    Namespace,
    ObjectMeta,
    PartialObjectMetadata,
    Pod,
    RESTMapping,
    ServiceAccount,
    Unstructured,
)
from localmodel.runtime.objects.subresources import Eviction, Scale, TokenRequest, TokenRequestSpec
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.restmapper import DiscoveryRESTMapper
from localmodel.runtime.testing import FakeClient
from localmodel.runtime.typedwatch import watch
from localmodel.sandbox.envtest import unique

Deployment = Unstructured.of(RESTMapping.of("apps", "v1", "Deployment"))
NS = unique("client")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    running = Live(tmp_path_factory.mktemp("live"))
    running.environment.client().create(Namespace(metadata=ObjectMeta(name=NS)))
    yield running
    running.client().delete(Namespace(metadata=ObjectMeta(name=NS)))
    running.stop()


@pytest.fixture(params=["fake", "live"])
def client(request: pytest.FixtureRequest, live: Live) -> Iterator[Client]:
    if request.param == "fake":
        yield FakeClient(Namespace(metadata=ObjectMeta(name=NS)))
        return
    made = live.client()
    yield made
    for kind in (ConfigMap, Deployment, Pod):
        made.delete_all_of(kind, namespace=NS, grace_period_seconds=0)


def config_map(name: str = "a", *, labels: dict[str, str] | None = None, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=NS, labels=labels or {}), data=data)


def deployment(**spec: Any) -> Any:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return Deployment.from_dict(
        {
            "metadata": {"name": "web", "namespace": NS},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, "replicas": 1, **spec},
        }
    )


def pod(name: str = "p") -> Any:
    return Pod.from_dict(
        {"metadata": {"name": name, "namespace": NS}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    )


def test_create_get_update_delete(client: Client) -> None:
    created = client.create(config_map(k="1"))
    with pytest.raises(AlreadyExistsError):
        client.create(config_map())
    created.data["k"] = "2"
    updated = client.update(created)
    with pytest.raises(ConflictError):
        client.update(created)
    assert client.get(ConfigMap, "a", namespace=NS).data == {"k": "2"}
    with pytest.raises(ConflictError):
        client.delete(updated, preconditions=Preconditions(uid="another"))
    client.delete(updated, preconditions=Preconditions(uid=updated.metadata.uid))
    assert client.find(ConfigMap, "a", namespace=NS) is None


def test_the_server_generates_a_name(client: Client) -> None:
    made = client.create(ConfigMap(metadata=ObjectMeta(generate_name="made-", namespace=NS)))
    assert made.name.startswith("made-")


def test_merge_json_and_strategic_patches(client: Client) -> None:
    before = client.create(config_map(kept="1", changed="1"))
    after = before.deepcopy()
    after.data["changed"] = "2"
    assert client.patch(after, merge_from(before, after)).data == {"kept": "1", "changed": "2"}
    with pytest.raises(ConflictError):
        client.patch(after, merge_from(before, after, optimistic_lock=True))
    operations = [{"op": "remove", "path": "/data/kept"}]
    assert client.patch(after, operations, patch_type=JSON_PATCH).data == {"changed": "2"}
    client.create(deployment())
    containers = {"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "j"}]}}}}
    patched: Any = client.patch(deployment(), containers, patch_type=STRATEGIC_MERGE_PATCH)
    assert {c["name"] for c in patched.content["spec"]["template"]["spec"]["containers"]} == {"c", "d"}


def test_server_side_apply_with_field_owner_and_force(client: Client) -> None:
    client.apply(config_map(k="1"), field_owner="one")
    with pytest.raises(ConflictError, match="one"):
        client.apply(config_map(k="2"), field_owner="two")
    assert client.apply(config_map(k="2"), field_owner="two", force=True).data == {"k": "2"}
    with pytest.raises(ApiError, match="fieldManager"):
        client.apply(config_map(k="3"))


def test_the_status_is_written_by_itself(client: Client) -> None:
    client.create(deployment())
    sent = deployment(replicas=5)
    sent.metadata.resource_version = client.get(Deployment, "web", namespace=NS).metadata.resource_version
    sent.content["status"] = {"replicas": 1}
    updated: Any = client.status.update(sent)
    assert (updated.content["spec"]["replicas"], updated.content["status"]["replicas"]) == (1, 1)
    patched: Any = client.status.patch(sent, {"status": {"replicas": 2}, "spec": {"replicas": 5}})
    assert (patched.content["spec"]["replicas"], patched.content["status"]["replicas"]) == (1, 2)
    read: Any = client.status.get(sent)
    assert read.content["status"]["replicas"] == 2
    with pytest.raises(ConflictError):
        client.status.update(sent)


def test_server_side_apply_of_a_status(client: Client) -> None:
    client.create(deployment())
    applied = Deployment.from_dict(
        {"metadata": {"name": "web", "namespace": NS}, "status": {"replicas": 4}, "spec": {"replicas": 5}}
    )
    result: Any = client.status.apply(applied, field_owner="me")
    assert (result.content["spec"]["replicas"], result.content["status"]["replicas"]) == (1, 4)
    applied.content["status"]["replicas"] = 6
    with pytest.raises(ConflictError, match="me"):
        client.status.apply(applied, field_owner="another")


def test_scale_is_read_updated_and_patched_as_a_scale(client: Client) -> None:
    owner = client.create(deployment())
    scales = client.subresource("scale")
    scale = scales.get(owner, Scale)
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=web")
    scale.spec.replicas = 3
    assert scales.update(owner, scale).spec.replicas == 3
    with pytest.raises(ConflictError):
        scales.update(owner, scale)
    assert scales.patch(owner, {"spec": {"replicas": 4}}, Scale).spec.replicas == 4
    with pytest.raises(InvalidError):
        scales.patch(owner, {"spec": {"replicas": -1}}, Scale)
    read: Any = client.get(Deployment, "web", namespace=NS)
    assert read.content["spec"]["replicas"] == 4


def test_a_subresource_that_a_kind_does_not_have_is_not_found(client: Client) -> None:
    owner = client.create(config_map())
    for name in ("scale", "status", "nonsense"):
        with pytest.raises(NotFoundError):
            client.subresource(name).get(owner, Scale)
        with pytest.raises(NotFoundError):
            client.subresource(name).patch(owner, {"spec": {}}, Scale)


def test_an_eviction_deletes_the_pod(client: Client) -> None:
    victim = client.create(pod())
    client.subresource("eviction").create(victim, Eviction(metadata=ObjectMeta(name="p", namespace=NS)))
    assert client.find(Pod, "p", namespace=NS) is None


def test_a_token_is_requested_for_a_service_account(client: Client) -> None:
    account = ServiceAccount(metadata=ObjectMeta(name="robot", namespace=NS))
    if client.find(ServiceAccount, "robot", namespace=NS) is None:
        client.create(account)
    asked = TokenRequest(spec=TokenRequestSpec(audiences=["me"], expiration_seconds=600))
    answer = client.subresource("token").create(account, asked)
    assert answer.status is not None
    assert answer.status.token
    assert answer.spec.expiration_seconds == 600


def test_a_collection_is_deleted_by_selectors(client: Client) -> None:
    for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
        client.create(config_map(name, labels={"app": app}))
    client.delete_all_of(ConfigMap, namespace=NS, labels={"app": "x"}, options=WriteOptions(dry_run=True))
    assert len(client.list(ConfigMap, namespace=NS, labels="app")) == 3
    client.delete_all_of(ConfigMap, namespace=NS, labels={"app": "x"})
    assert [obj.name for obj in client.list(ConfigMap, namespace=NS, labels="app")] == ["c"]
    client.delete_all_of(ConfigMap, namespace=NS, fields={"metadata.name": "c"})
    assert client.list(ConfigMap, namespace=NS, labels="app") == []


def test_a_dry_run_client_changes_nothing(client: Client) -> None:
    client.create(config_map(k="1"))
    dry = dry_run_client(client)
    assert dry.patch(config_map(), {"data": {"k": "2"}}).data == {"k": "2"}
    assert dry.create(config_map("b")).name == "b"
    dry.delete(config_map())
    dry.delete_all_of(ConfigMap, namespace=NS)
    assert dry.get(ConfigMap, "a", namespace=NS).data == {"k": "1"}
    assert client.find(ConfigMap, "b", namespace=NS) is None


def test_a_client_with_a_field_owner_writes_as_that_owner_unless_the_call_names_one(client: Client) -> None:
    owned = with_field_owner(client, "one")
    owned.apply(config_map(k="1"))
    with pytest.raises(ConflictError, match="one"):
        owned.apply(config_map(k="2"), field_owner="two")
    owned.create(config_map("b", k="1"))
    with pytest.raises(ConflictError, match="one"):
        client.apply(config_map("b", k="2"), field_owner="two")


def test_a_client_with_field_validation_refuses_unknown_fields_unless_the_call_says_otherwise(
    live: Live,
) -> None:
    strict = with_field_validation(live.client(), "Strict")
    odd = deployment(nonsense=1)
    with pytest.raises(BadRequestError, match=r"unknown field \"spec.nonsense\""):
        strict.create(odd)
    strict.create(odd, options=WriteOptions(field_validation="Ignore", dry_run=True))


def test_a_namespaced_client_reads_and_writes_in_its_namespace_only(client: Client) -> None:
    scoped = namespaced_client(client, NS)
    unplaced = ConfigMap(metadata=ObjectMeta(name="a"), data={"k": "1"})
    assert scoped.create(unplaced).namespace == NS
    assert scoped.get(ConfigMap, "a").data == {"k": "1"}
    assert scoped.patch(unplaced, {"data": {"k": "2"}}).data == {"k": "2"}
    assert [obj.name for obj in scoped.list(ConfigMap, fields={"metadata.name": "a"})] == ["a"]
    assert scoped.get(Namespace, NS).name == NS
    elsewhere = ConfigMap(metadata=ObjectMeta(name="a", namespace="kube-system"))
    for refused in (
        lambda: scoped.get(ConfigMap, "a", namespace="kube-system"),
        lambda: scoped.list(ConfigMap, namespace="kube-system"),
        lambda: scoped.create(elsewhere),
        lambda: scoped.delete(elsewhere),
        lambda: scoped.delete_all_of(ConfigMap, namespace="kube-system"),
        lambda: scoped.status.get(elsewhere),
    ):
        with pytest.raises(WrongNamespaceError, match="of namespace kube-system was asked of a client for client-"):
            refused()
    scoped.delete(unplaced)
    scoped.delete_all_of(ConfigMap, labels="app=none")
    assert client.find(ConfigMap, "a", namespace=NS) is None


def test_160_metadata_reads_carry_the_callers_kind(client: Client) -> None:
    client.create(config_map(k="1", labels={"app": "x"}))
    partial = PartialObjectMetadata.of(ConfigMap.mapping)
    found = client.get(partial, "a", namespace=NS)
    listed = client.list(partial, namespace=NS, labels="app=x")
    patched = client.patch(found, {"metadata": {"labels": {"app": "y"}}})
    for obj in (found, *listed, patched):
        assert (obj.api_version, obj.kind, obj.name) == ("v1", "ConfigMap", "a")
    for write in (client.update, client.status.update):
        with pytest.raises(ValueError, match=f"ConfigMap {NS}/a with its metadata only"):
            write(found)
    assert client.get(ConfigMap, "a", namespace=NS).data == {"k": "1"}


def test_a_cached_client_reads_its_own_writes(live: Live) -> None:
    """Over HTTPS, where each write is answered before its event comes."""
    server = live.client()
    cache = Cache(server, quick_cache())
    cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(10)
    client = CachedClient(cache, server, read_your_writes=True)
    try:
        client.create(config_map("own"))
        for number in range(50):
            client.patch(config_map("own"), {"data": {"n": str(number)}})
            assert client.get(ConfigMap, "own", namespace=NS).data == {"n": str(number)}
            client.create(config_map(f"own-{number}"))
            assert f"own-{number}" in [obj.name for obj in client.list(ConfigMap, namespace=NS)]
            client.delete(config_map(f"own-{number}"))
            assert client.find(ConfigMap, f"own-{number}", namespace=NS) is None
        client.delete_all_of(ConfigMap, namespace=NS)
    finally:
        cache.stop()


WIDGETS_NAME = "widgets.example.com"
WIDGETS: dict[str, Any] = {
    "metadata": {"name": WIDGETS_NAME},
    "spec": {
        "group": "example.com",
        "scope": "Cluster",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def test_a_watch_gives_typed_changes_and_where_to_go_on(client: Client) -> None:
    assert isinstance(client, FakeClient | LiveClient)
    client.create(config_map("a", labels={"app": "x"}))
    with watch(client, ConfigMap, namespace=NS, labels={"app": "x"}) as changes:
        seen = []
        for change in changes:
            seen.append((change.type, change.object.name, change.object.data))
            if change.type == "ADDED":
                client.create(config_map("other"))
                client.patch(config_map("a"), {"data": {"k": "1"}})
            elif change.type == "MODIFIED":
                client.delete(config_map("a"))
            else:
                break
        assert seen == [("ADDED", "a", {}), ("MODIFIED", "a", {"k": "1"}), ("DELETED", "a", {"k": "1"})]
    version = changes.resource_version
    assert version == change.object.metadata.resource_version
    client.create(config_map("b", labels={"app": "x"}))
    with watch(client, ConfigMap, namespace=NS, resource_version=version) as changes:
        assert next(iter(changes)).object.name == "b"
    with watch(client, ConfigMap, fields={"metadata.name": "b"}) as changes:
        assert next(iter(changes)).object.name == "b"


def test_a_watch_that_cannot_go_on_raises_its_error(client: Client) -> None:
    assert isinstance(client, FakeClient | LiveClient)
    with pytest.raises(ApiError), watch(client, ConfigMap, resource_version="not-a-number") as changes:
        list(changes)


def test_a_kind_is_named_by_its_api_version_and_kind(client: Client) -> None:
    client.create(deployment())
    kind = client.kind("apps/v1", "Deployment")
    assert kind is client.kind("apps/v1", "Deployment")
    assert client.get(kind, "web", namespace=NS).name == "web"
    with pytest.raises(NoKindMatchError, match="Nonsense"):
        client.kind("apps/v1", "Nonsense")


@pytest.fixture
def defining(live: Live) -> Iterator[LiveClient]:
    """A client of a server where Widgets are defined for the test only."""
    client = live.client()
    yield client
    client.delete(CustomResourceDefinition.from_dict(WIDGETS))
    eventually(lambda: client.find(CustomResourceDefinition, WIDGETS_NAME) is None)


def test_a_kind_whose_definition_arrives_later_is_found_then(defining: LiveClient) -> None:
    client = defining
    mapper = DiscoveryRESTMapper(client._requester, period=0)
    with pytest.raises(NoKindMatchError, match=r"no Widget in example\.com/v1: install"):
        mapper.mapping("example.com", "Widget", "v1")
    client.create(CustomResourceDefinition.from_dict(WIDGETS))

    def is_discovered() -> bool:
        with suppress(NoKindMatchError):
            return bool(mapper.resource("example.com", "Widget"))
        return False

    eventually(is_discovered)
    found = mapper.resource("example.com", "Widget")
    assert found.mapping == RESTMapping.of("example.com", "v1", "Widget", "widgets", namespaced=False)
    assert "status" in found.subresources
    with pytest.raises(NoKindMatchError, match="only in version v1"):
        mapper.mapping("example.com", "Widget", "v2")
    assert mapper.mapping("", "Node").path() == "/api/v1/nodes"
    assert "scale" in mapper.resource("apps", "Deployment").subresources
    kind = client.kind("example.com/v1", "Widget")
    eventually(lambda: client.list(kind) == [], message="the kind is discovered before it is answered for")
    assert client.create(kind.from_dict({"metadata": {"name": "w"}, "spec": {"size": 1}})).content["spec"]["size"] == 1


def test_the_legacy_documents_tell_the_same_as_the_aggregated_ones(live: Live) -> None:
    class WithoutAggregation:
        """A server older than 1.26."""

        def request(self, method: str, path: str, *, accept: str) -> bytes:
            return live.client()._requester.request(method, path, accept="application/json")

    aggregated, legacy = DiscoveryRESTMapper(live.client()._requester), DiscoveryRESTMapper(WithoutAggregation())
    for mapper in (aggregated, legacy):
        mapper.mapping("", "Pod")
    assert aggregated._known == legacy._known
