"""Informers on a real connection: lists, watches, expired versions, kinds that come and go, rights and credentials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.eventually import eventually
from support.live import (
    AGENT,
    NS,
    QUICK,
    ClusterRole,
    ClusterRoleBinding,
    Doing,
    Gate,
    Live,
    Recording,
    audit_lines,
    config_map,
    quick_cache,
    verbs,
)

from localmodel.runtime.cache import Cache, CacheOptions, KindNotServedError, KindOptions
from localmodel.runtime.informer import InformerOptions, SharedInformer
from localmodel.runtime.objects import (
    ConfigMap,
    CustomResourceDefinition,
    Object,
    ObjectKey,
    ObjectMeta,
    PartialObjectMetadata,
    RESTMapping,
    ServiceAccount,
    Unstructured,
)
from localmodel.runtime.phase import Phase
from localmodel.runtime.rest import LiveClient

Widget = Unstructured.of(RESTMapping.of("example.com", "v1", "Widget"))
MAPS = RESTMapping.of("", "v1", "ConfigMap")
JANE = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}


@pytest.fixture
def caches() -> Iterator[list[Cache]]:
    """Put here what must be stopped."""
    started: list[Cache] = []
    yield started
    for cache in started:
        cache.stop()


def widget_crd() -> CustomResourceDefinition:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return CustomResourceDefinition.from_dict(
        {
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
    )


def make_widget(client: LiveClient, name: str) -> None:
    """Waits until the kind is served."""
    eventually(lambda: is_served(client))
    client.create(Widget(metadata=ObjectMeta(name=name, namespace=NS)))


def is_served(client: LiveClient) -> bool:
    crd = client.get(CustomResourceDefinition, "widgets.example.com").to_dict()
    conditions = (crd.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@pytest.mark.parametrize("kind", [ConfigMap, Unstructured.of(MAPS), PartialObjectMetadata.of(MAPS)])
def test_each_form_of_a_kind_is_listed_and_followed(
    client: LiveClient, caches: list[Cache], kind: type[Object]
) -> None:
    client.create(config_map("old"))
    cache = Cache(client, quick_cache())
    caches.append(cache)
    recording = Recording()
    cache.get_informer(kind).add_event_handler(recording)
    cache.start()
    cache.wait_for_sync(10)
    assert cache.get(kind, "old", namespace=NS).metadata.uid

    created = client.create(config_map("new"))
    client.update(created.model_copy(update={"data": {"value": "2"}}))
    client.delete(created)

    eventually(lambda: recording.heard[-3:] == ["+new", "~new", "-new"])
    assert "+old" in recording.heard
    assert cache.find(kind, "new", namespace=NS) is None


def test_a_metadata_informer_never_receives_the_data(live: Live, client: LiveClient, caches: list[Cache]) -> None:
    kind = PartialObjectMetadata.of(MAPS)
    client.create(config_map("a", "secret"))
    cache = Cache(client, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(kind)
    cache.start()
    cache.wait_for_sync(10)
    client.create(config_map("b", "secret"))
    eventually(lambda: informer.store.get(ObjectKey(NS, "b")))
    assert not [stored for stored in informer.store.list() if b"secret" in stored.body]


@pytest.mark.parametrize("streamed", [True, False])
def test_two_thousand_objects_come_in_pages_or_in_one_watch(
    live: Live, client: LiveClient, caches: list[Cache], streamed: bool
) -> None:
    definition = live.server.core.definition("", "configmaps")
    before = len(client.list(ConfigMap))
    for number in range(2000):
        live.server.registry.create(definition, NS, {"metadata": {"name": f"m{number}"}, "data": {"x": "y" * 100}})
    count = before + 2000

    reader = live.client(agent="pages/1")
    assert len(reader.list(ConfigMap)) == count
    pages = [line["path"] for line in audit_lines(live.audit, "pages/1")]
    assert len(pages) == -(-count // 500)
    assert all("limit=500" in path for path in pages)
    assert all("continue=" in path and "resourceVersion=" not in path for path in pages[1:])

    asked = len(audit_lines(live.audit))
    options = CacheOptions(reflector=replace(QUICK, use_watch_list=streamed), tune_collector=False)
    cache = Cache(client, options)
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(20)
    assert len(informer.store) == count
    eventually(lambda: audit_lines(live.audit)[asked:][-1]["verb"] == "watch")
    listed = [] if streamed else ["list"] * len(pages)
    assert [line["verb"] for line in audit_lines(live.audit)[asked:]] == [*listed, "watch"]


def test_after_compaction_a_new_list_tells_exactly_what_was_missed(live: Live, client: LiveClient) -> None:
    for name in ("gone", "changed", "same", "replaced"):
        client.create(config_map(name))
    gate, recording = Gate(client), Recording()
    informer = SharedInformer(ConfigMap, gate, InformerOptions(reflector=QUICK, namespaces=(NS,)))
    informer.add_event_handler(recording)
    informer.start()
    try:
        assert informer.wait_for_sync(10)
        live.wait_for_watch()
        gate.shut()
        live.end_watches("configmaps")
        assert gate.waiting.wait(10)
        recording.heard.clear()

        client.delete(config_map("gone"))
        client.patch(config_map("changed"), {"data": {"value": "2"}})
        client.delete(config_map("replaced"))
        client.create(config_map("replaced", "2"))
        client.create(config_map("new"))
        client.create(config_map("never-seen"))
        client.delete(config_map("never-seen"))
        live.server.registry.store.compact()
        gate.open()

        eventually(lambda: len(recording.heard) >= 4)
        assert recording.heard[0] == "!gone"
        assert sorted(recording.heard[1:]) == ["+new", "~changed", "~replaced"]
        client.create(config_map("last"))
        eventually(lambda: recording.heard[-1] == "+last")
        assert len(recording.heard) == 5, "the watch after the new list repeats nothing"
        assert informer.stats[0].lists == 2
    finally:
        informer.stop()


def test_a_required_kind_is_waited_for_until_its_crd_arrives(client: LiveClient, caches: list[Cache]) -> None:
    cache = Cache(client, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(Widget)
    cache.start()
    waiting = Doing(lambda: cache.wait_for_sync(20))
    eventually(lambda: informer.kind_missing)
    assert "is its CRD installed?" in cache.waiting_for()
    assert not waiting.ended

    client.create(widget_crd())
    waiting.end()
    assert cache.list(Widget) == []
    assert cache.waiting_for() == ""


def test_an_optional_kind_comes_and_goes_with_its_crd(client: LiveClient, caches: list[Cache]) -> None:
    cache = Cache(client, quick_cache(by_kind={Widget: KindOptions(optional=True)}))
    caches.append(cache)
    recording = Recording()
    informer = cache.get_informer(Widget)
    informer.add_event_handler(recording)
    cache.start()
    cache.wait_for_sync(10)
    assert cache.waiting_for() == ""
    with pytest.raises(KindNotServedError, match="is its CRD installed"):
        cache.list(Widget)

    for name in ("first", "second"):
        client.create(widget_crd())
        make_widget(client, name)
        eventually(lambda name=name: recording.heard == [f"+{name}"])
        make_widget(client, f"{name}-watched")
        eventually(lambda name=name: recording.heard == [f"+{name}", f"+{name}-watched"])
        assert [widget.name for widget in cache.list(Widget)] == [name, f"{name}-watched"]
        assert not informer.kind_missing

        client.delete(widget_crd())
        eventually(lambda: informer.kind_missing)
        eventually(lambda name=name: set(recording.heard[2:]) == {f"-{name}", f"-{name}-watched"})
        assert cache.list(Widget) == []
        recording.heard.clear()


def allow_jane(client: LiveClient) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}]
    client.create(ClusterRole.from_dict({"metadata": {"name": "maps"}, "rules": rules}))
    reference = {"kind": "ClusterRole", "name": "maps", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "jane"}, "roleRef": reference, "subjects": [JANE]}
    client.create(ClusterRoleBinding.from_dict(binding))


def test_a_kind_that_is_forbidden_is_read_once_the_right_is_granted(
    live: Live, client: LiveClient, caches: list[Cache]
) -> None:
    jane = live.client("jane", token=live.server.token_for("jane"), agent="jane/1")
    cache = Cache(jane, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    waiting = Doing(lambda: cache.wait_for_sync(20))
    eventually(lambda: informer.phases == (Phase.FORBIDDEN,))
    assert 'User "jane" cannot watch resource "configmaps"' in cache.waiting_for()

    allow_jane(client)
    waiting.end()
    client.create(config_map("a"))
    eventually(lambda: cache.find(ConfigMap, "a", namespace=NS))
    eventually(lambda: informer.last_error == "")


def test_a_right_that_is_taken_away_is_reported_and_heals(live: Live, client: LiveClient, caches: list[Cache]) -> None:
    allow_jane(client)
    jane = live.client("jane", token=live.server.token_for("jane"), agent="jane/1")
    cache = Cache(jane, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(10)
    live.wait_for_watch("jane/1")
    binding = client.get(ClusterRoleBinding, "jane")
    client.delete(binding)
    live.end_watches("configmaps")
    eventually(lambda: informer.phases == (Phase.FORBIDDEN,))
    assert cache.list(ConfigMap), "what is known stays readable"

    binding.metadata.resource_version = binding.metadata.uid = ""
    client.create(binding)
    client.create(config_map("a"))
    eventually(lambda: cache.find(ConfigMap, "a", namespace=NS))
    eventually(lambda: informer.phases == (Phase.WATCHING,))


def test_a_token_that_is_refused_is_read_again_from_the_kubeconfig(
    live: Live, client: LiveClient, caches: list[Cache]
) -> None:
    def new_token() -> str:
        """Of a service account just made: those of its predecessor of the same name are void."""
        client.create(ServiceAccount(metadata=ObjectMeta(name="robot", namespace=NS)))
        return live.server.service_account_token(NS, "robot")

    robots = [{"kind": "Group", "name": "system:serviceaccounts", "apiGroup": "rbac.authorization.k8s.io"}]
    reference = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}
    client.create(
        ClusterRoleBinding.from_dict({"metadata": {"name": "robots"}, "roleRef": reference, "subjects": robots})
    )
    robot = live.client("robot", token=new_token(), agent="robot/1")
    cache = Cache(robot, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(10)
    robot.get(ServiceAccount, "robot", namespace=NS)
    live.wait_for_watch("robot/1")

    client.delete(ServiceAccount(metadata=ObjectMeta(name="robot", namespace=NS)))
    live.server.write_kubeconfig(live.kubeconfig("robot"), user="robot", token=new_token())
    live.end_watches("configmaps")
    robot.get(ServiceAccount, "robot", namespace=NS)
    client.create(config_map("a"))

    eventually(lambda: cache.find(ConfigMap, "a", namespace=NS))
    assert informer.stats[0].lists == 1, "a 401 that new credentials answer is no failure"
    refused = [line for line in audit_lines(live.audit, "robot/1") if line["code"] == 401]
    assert 1 <= len(refused) <= 2


def test_a_quiet_informer_costs_one_request(live: Live, caches: list[Cache]) -> None:
    cache = Cache(live.client(), quick_cache())
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(10)
    eventually(lambda: informer.stats[0].watches == 1)
    eventually(lambda: verbs(live.audit, AGENT) == {"watch": 1})
