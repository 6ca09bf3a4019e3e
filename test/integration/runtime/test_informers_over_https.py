"""Informers on a real connection: lists, watches, expired versions, kinds that come and go, rights and credentials."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest
from support.eventually import eventually
from support.live import QUICK, RBAC, Doing, Gate, Live, Recording, quick_cache

from localmodel.runtime.cache import Cache, CacheOptions, KindNotServedError, KindOptions
from localmodel.runtime.errors import NotFoundError
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
READS_MAPS = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}


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


def make_widget(client: LiveClient, name: str, namespace: str) -> None:
    """Waits until the kind is served."""
    eventually(lambda: is_served(client))
    client.create(Widget(metadata=ObjectMeta(name=name, namespace=namespace)))


def is_served(client: LiveClient) -> bool:
    """Established, and answered for, which comes a moment later."""
    crd = client.get(CustomResourceDefinition, "widgets.example.com").to_dict()
    conditions = (crd.get("status") or {}).get("conditions") or []
    if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
        return False
    client.list(Widget)
    return True


def remove_definition(client: LiveClient) -> None:
    """So that the next test finds the kind unknown, on whatever server."""
    with suppress(NotFoundError):
        client.delete(widget_crd())
    eventually(lambda: client.find(CustomResourceDefinition, "widgets.example.com") is None, timeout=20)


@pytest.fixture
def undefined(client: LiveClient) -> Iterator[LiveClient]:
    """A client of a server where Widgets are defined only for the test, and by it."""
    remove_definition(client)
    yield client
    remove_definition(client)


@pytest.mark.parametrize("kind", [ConfigMap, Unstructured.of(MAPS), PartialObjectMetadata.of(MAPS)])
def test_each_form_of_a_kind_is_listed_and_followed(
    live: Live, client: LiveClient, caches: list[Cache], kind: type[Object]
) -> None:
    client.create(live.config_map("old"))
    cache = Cache(client, quick_cache())
    caches.append(cache)
    recording = Recording()
    cache.get_informer(kind).add_event_handler(recording)
    cache.start()
    cache.wait_for_sync(10)
    assert cache.get(kind, "old", namespace=live.namespace).metadata.uid

    created = client.create(live.config_map("new"))
    client.update(created.model_copy(update={"data": {"value": "2"}}))
    client.delete(created)

    eventually(lambda: recording.heard[-3:] == ["+new", "~new", "-new"])
    assert "+old" in recording.heard
    assert cache.find(kind, "new", namespace=live.namespace) is None


def test_a_metadata_informer_never_receives_the_data(live: Live, client: LiveClient, caches: list[Cache]) -> None:
    kind = PartialObjectMetadata.of(MAPS)
    client.create(live.config_map("a", "secret"))
    cache = Cache(client, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(kind)
    cache.start()
    cache.wait_for_sync(10)
    client.create(live.config_map("b", "secret"))
    eventually(lambda: informer.store.get(ObjectKey(live.namespace, "b")))
    assert not [stored for stored in informer.store.list() if b"secret" in stored.body]


@pytest.mark.own_server("a cluster does not tell what it was asked")
@pytest.mark.parametrize("streamed", [True, False])
def test_two_thousand_objects_come_in_pages_or_in_one_watch(
    live: Live, client: LiveClient, caches: list[Cache], streamed: bool
) -> None:
    before = len(client.list(ConfigMap, namespace=live.namespace))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.create(live.config_map(f"m{number}", "y" * 100)), range(2000)))
    count = before + 2000

    reader = live.client(agent="pages/1")
    asked = len(live.audit_lines("pages/1"))
    assert len(reader.list(ConfigMap, namespace=live.namespace)) == count
    pages = [line.path for line in live.audit_lines("pages/1")[asked:]]
    assert len(pages) == -(-count // 500)
    assert all("limit=500" in path for path in pages)
    assert all("continue=" in path and "resourceVersion=" not in path for path in pages[1:])

    asked = len(live.audit_lines())
    reflector = replace(QUICK, use_watch_list=streamed)
    options = CacheOptions(reflector=reflector, tune_collector=False, default_namespaces=(live.namespace,))
    cache = Cache(client, options)
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(20)
    assert len(informer.store) == count
    eventually(lambda: live.audit_lines()[asked:][-1].verb == "watch")
    # A list at "any version" is not paged, as kube-apiserver answers it from its watch cache.
    listed = [] if streamed else ["list"]
    assert [line.verb for line in live.audit_lines()[asked:]] == [*listed, "watch"]


@pytest.mark.embedded_only("ends watches and makes the server forget its history")
def test_after_compaction_a_new_list_tells_exactly_what_was_missed(live: Live, client: LiveClient) -> None:
    for name in ("gone", "changed", "same", "replaced"):
        client.create(live.config_map(name))
    gate, recording = Gate(client), Recording()
    informer = SharedInformer(ConfigMap, gate, InformerOptions(reflector=QUICK, namespaces=(live.namespace,)))
    informer.add_event_handler(recording)
    informer.start()
    try:
        assert informer.wait_for_sync(10)
        live.wait_for_watch()
        gate.shut()
        live.end_watches("configmaps")
        assert gate.waiting.wait(10)
        recording.heard.clear()

        client.delete(live.config_map("gone"))
        client.patch(live.config_map("changed"), {"data": {"value": "2"}})
        client.delete(live.config_map("replaced"))
        client.create(live.config_map("replaced", "2"))
        client.create(live.config_map("new"))
        client.create(live.config_map("never-seen"))
        client.delete(live.config_map("never-seen"))
        live.environment.compact()
        gate.open()

        eventually(lambda: len(recording.heard) >= 4)
        assert recording.heard[0] == "!gone"
        assert sorted(recording.heard[1:]) == ["+new", "~changed", "~replaced"]
        client.create(live.config_map("last"))
        eventually(lambda: recording.heard[-1] == "+last")
        assert len(recording.heard) == 5, "the watch after the new list repeats nothing"
        assert informer.stats[0].lists == 2
    finally:
        informer.stop()


def test_a_required_kind_is_waited_for_until_its_crd_arrives(undefined: LiveClient, caches: list[Cache]) -> None:
    client = undefined
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


def test_an_optional_kind_comes_and_goes_with_its_crd(live: Live, undefined: LiveClient, caches: list[Cache]) -> None:
    client = undefined
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
        make_widget(client, name, live.namespace)
        eventually(lambda name=name: recording.heard == [f"+{name}"])
        make_widget(client, f"{name}-watched", live.namespace)
        eventually(lambda name=name: recording.heard == [f"+{name}", f"+{name}-watched"])
        assert [widget.name for widget in cache.list(Widget)] == [name, f"{name}-watched"]
        assert not informer.kind_missing

        client.delete(widget_crd())
        eventually(lambda: informer.kind_missing)
        eventually(lambda name=name: set(recording.heard[2:]) == {f"-{name}", f"-{name}-watched"})
        assert cache.list(Widget) == []
        recording.heard.clear()


def test_a_kind_that_is_forbidden_is_read_once_the_right_is_granted(
    live: Live, client: LiveClient, caches: list[Cache]
) -> None:
    jane = live.client("jane", groups=(), agent="jane/1")
    cache = Cache(jane, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    waiting = Doing(lambda: cache.wait_for_sync(20))
    eventually(lambda: informer.phases == (Phase.FORBIDDEN,))
    assert 'User "jane" cannot watch resource "configmaps"' in cache.waiting_for()

    live.grant("jane", READS_MAPS)
    waiting.end()
    client.create(live.config_map("a"))
    eventually(lambda: cache.find(ConfigMap, "a", namespace=live.namespace))
    eventually(lambda: informer.last_error == "")


@pytest.mark.embedded_only("ends watches")
def test_a_right_that_is_taken_away_is_reported_and_heals(live: Live, client: LiveClient, caches: list[Cache]) -> None:
    binding = live.grant("jane", READS_MAPS)
    jane = live.client("jane", groups=(), agent="jane/1")
    cache = Cache(jane, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(10)
    live.wait_for_watch("jane/1")
    client.delete(binding)
    live.end_watches("configmaps")
    eventually(lambda: informer.phases == (Phase.FORBIDDEN,))
    assert cache.list(ConfigMap), "what is known stays readable"

    binding.metadata.resource_version = binding.metadata.uid = ""
    client.create(binding)
    client.create(live.config_map("a"))
    eventually(lambda: cache.find(ConfigMap, "a", namespace=live.namespace))
    eventually(lambda: informer.phases == (Phase.WATCHING,))


@pytest.mark.embedded_only("ends watches")
def test_a_token_that_is_refused_is_read_again_from_the_kubeconfig(
    live: Live, client: LiveClient, caches: list[Cache]
) -> None:
    def new_token() -> str:
        """Of a service account just made: those of its predecessor of the same name are void."""
        client.create(ServiceAccount(metadata=ObjectMeta(name="robot", namespace=live.namespace)))
        return live.environment.service_account_token(live.namespace, "robot")

    group = f"system:serviceaccounts:{live.namespace}"
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    live.bind({"kind": "Group", "name": group, "apiGroup": RBAC}, everything)
    robot = live.client("robot", token=new_token(), agent="robot/1")
    cache = Cache(robot, quick_cache())
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(10)
    robot.get(ServiceAccount, "robot", namespace=live.namespace)
    live.wait_for_watch("robot/1")

    client.delete(ServiceAccount(metadata=ObjectMeta(name="robot", namespace=live.namespace)))
    live.write_kubeconfig("robot", token=new_token())
    live.end_watches("configmaps")
    robot.get(ServiceAccount, "robot", namespace=live.namespace)
    client.create(live.config_map("a"))

    eventually(lambda: cache.find(ConfigMap, "a", namespace=live.namespace))
    assert informer.stats[0].lists == 1, "a 401 that new credentials answer is no failure"
    refused = [line for line in live.audit_lines("robot/1") if line.code == 401]
    assert 1 <= len(refused) <= 2


@pytest.mark.own_server("a cluster does not tell what it was asked")
def test_a_quiet_informer_costs_one_request(live: Live, caches: list[Cache]) -> None:
    cache = Cache(live.client(), quick_cache())
    caches.append(cache)
    informer = cache.get_informer(ConfigMap)
    cache.start()
    cache.wait_for_sync(10)
    eventually(lambda: informer.stats[0].watches == 1)
    eventually(lambda: live.verbs() == {"watch": 1})
