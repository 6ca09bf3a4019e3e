"""The cache and the client made of it, on a scripted server. Numbers are statements of reference/runtimes.md."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.scripted import ScriptedListerWatcher, config_map, event, eventually, page

from localmodel.runtime.cache import (
    Cache,
    CacheOptions,
    KindForbiddenError,
    KindNotCachedError,
    KindNotServedError,
    KindOptions,
    NamespaceNotWatchedError,
)
from localmodel.runtime.cached_client import CachedClient
from localmodel.runtime.client import Client, Deletion, Write
from localmodel.runtime.delegating_client import DelegatingClient
from localmodel.runtime.errors import (
    CacheNotStartedError,
    CacheSyncTimeoutError,
    ForbiddenError,
    NotFoundError,
    UnindexedFieldError,
)
from localmodel.runtime.informer_options import NamespaceOptions
from localmodel.runtime.listwatch import ListOptions
from localmodel.runtime.objects import (
    ConfigMap,
    Namespace,
    Object,
    ObjectKey,
    PartialObjectMetadata,
    Pod,
    Secret,
    Unstructured,
)
from localmodel.runtime.selectors import SelectorError
from localmodel.runtime.testing import FakeClient

ABSENT = NotFoundError.of("the server could not find the requested resource")
ITEMS = (
    config_map("b", 6, labels={"app": "y"}),
    config_map("a", 5, labels={"app": "x"}),
    config_map("a", 7, namespace="other", labels={"app": "x"}),
)


class Server:
    """A scripted server for each kind."""

    def __init__(self, lists: dict[type[Object], list[Any]]) -> None:
        self.by_kind = {kind.mapping: ScriptedListerWatcher(answers) for kind, answers in lists.items()}
        self.kinds: list[type[Object]] = []
        """The kinds that were listed."""

    def list_page(self, kind: type[Object], options: ListOptions) -> Any:
        self.kinds.append(kind)
        return self.by_kind[kind.mapping].list_page(kind, options)

    def watch(self, kind: type[Object], options: Any) -> Any:
        return self.by_kind[kind.mapping].watch(kind, options)


Make = Callable[..., Cache]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes caches that are stopped at the end; checks that no thread is left."""
    before = set(threading.enumerate())
    made: list[Cache] = []

    def make(lists: dict[type[Object], list[Any]] | None = None, **options: Any) -> Cache:
        server = Server({ConfigMap: [page(10, *ITEMS)]} if lists is None else lists)
        made.append(Cache(server, CacheOptions(tune_collector=False, **options)))
        return made[-1]

    yield make
    for cache in made:
        cache.stop()
    assert set(threading.enumerate()) - before == set()


@pytest.fixture
def cache(make: Make) -> Cache:
    """A started cache with three config maps."""
    made = make()
    made.start()
    return made


def keys(objects: list[Any]) -> list[str]:
    return [str(obj.key) for obj in objects]


def version(obj: ConfigMap) -> list[str]:
    return [obj.data["version"]]


# Reads


def test_153_a_read_of_a_kind_without_informer_starts_one_and_waits_for_its_sync(cache: Cache) -> None:
    assert not cache.has_synced(ConfigMap)
    assert cache.get(ConfigMap, "a", namespace="default").data == {"version": "5"}
    assert cache.has_synced(ConfigMap)


def test_153_or_fails_with_a_typed_error_when_that_is_forbidden_by_option(make: Make) -> None:
    cache = make(reader_fail_on_missing_informer=True)
    cache.start()
    with pytest.raises(KindNotCachedError, match="ConfigMap"):
        cache.list(ConfigMap)
    cache.get_informer(ConfigMap)
    assert len(cache.list(ConfigMap)) == 3


def test_154_reading_before_the_cache_is_started_is_an_error(make: Make) -> None:
    cache = make()
    with pytest.raises(CacheNotStartedError):
        cache.get(ConfigMap, "a", namespace="default")
    with pytest.raises(CacheNotStartedError):
        cache.wait_for_sync()


def test_155_reading_in_a_namespace_that_is_not_watched_is_an_error_not_an_empty_answer(make: Make) -> None:
    cache = make(by_kind={ConfigMap: KindOptions(namespaces=("default",))})
    cache.start()
    with pytest.raises(NamespaceNotWatchedError, match="'other': the cache watches only default"):
        cache.list(ConfigMap, namespace="other")
    with pytest.raises(NamespaceNotWatchedError):
        cache.get(ConfigMap, "a", namespace="other")


def test_156_limit_truncates_and_continue_is_refused(cache: Cache) -> None:
    """Deviation: no marker token is answered, for there is no parameter that would take one: a list is a list."""
    assert keys(cache.list(ConfigMap, limit=2)) == keys(cache.list(ConfigMap))[:2]
    assert keys(cache.list(ConfigMap, limit=7)) == keys(cache.list(ConfigMap))
    continued: dict[str, Any] = {"continue_": "token"}
    with pytest.raises(TypeError, match="continue_"):
        cache.list(ConfigMap, **continued)


def test_157_fields_of_a_cached_list_must_be_exact_and_each_needs_an_index(cache: Cache) -> None:
    with pytest.raises(UnindexedFieldError, match=r"no index data.version for ConfigMap"):
        cache.list(ConfigMap, fields={"data.version": "5"})
    with pytest.raises(UnindexedFieldError, match="equality only"):
        cache.list(ConfigMap, fields="metadata.name!=a")


def test_157_several_indexes_intersect(make: Make) -> None:
    cache = make()
    cache.index_field(ConfigMap, "version", version)
    cache.index_field(ConfigMap, "app", lambda obj: obj.metadata.labels.values())
    cache.start()
    assert keys(cache.list(ConfigMap, fields={"app": "x"})) == ["default/a", "other/a"]
    assert keys(cache.list(ConfigMap, fields="app=x,version=7")) == ["other/a"]
    assert keys(cache.list(ConfigMap, fields={"app": "x", "version": "6"})) == []


def test_parts_are_read_from_an_index_of_them(make: Make) -> None:
    """By every reader alike; one without a cache lists and computes."""

    def apps(obj: ConfigMap) -> dict[str, str]:
        return dict.fromkeys(obj.metadata.labels.values(), obj.metadata.resource_version)

    cache = make()
    cache.index_parts(ConfigMap, apps)
    cache.start()
    found = cache.parts(ConfigMap, apps, "x")
    assert found == {ObjectKey("default", "a"): "5", ObjectKey("other", "a"): "7"}
    client = FakeClient(*cache.list(ConfigMap))
    assert CachedClient(cache, client).parts(ConfigMap, apps, "x") == found
    assert DelegatingClient(CachedClient(cache, client)).parts(ConfigMap, apps, "x") == found
    assert client.parts(ConfigMap, apps, "x").keys() == found.keys()
    with pytest.raises(UnindexedFieldError, match="no index version for ConfigMap: call index_parts first"):
        cache.parts(ConfigMap, version, "x")  # type: ignore[arg-type]


def test_an_index_follows_events(make: Make) -> None:
    server = Server({ConfigMap: [page(10, *ITEMS)]})
    cache = Cache(server, CacheOptions(tune_collector=False))
    cache.index_field(ConfigMap, "version", version)
    cache.start()
    cache.wait_for_sync(5)
    scripted = server.by_kind[ConfigMap.mapping]
    eventually(lambda: scripted.streams)
    scripted.streams[0].send(event("MODIFIED", config_map("a", 50)))
    try:
        eventually(lambda: keys(cache.list(ConfigMap, fields={"version": "50"})) == ["default/a"])
        assert cache.list(ConfigMap, fields={"version": "5"}) == []
    finally:
        cache.stop()


def test_name_and_namespace_are_served_without_an_index(cache: Cache) -> None:
    assert keys(cache.list(ConfigMap, fields={"metadata.name": "a"})) == ["default/a", "other/a"]
    assert keys(cache.list(ConfigMap, fields="metadata.name=a,metadata.namespace=other")) == ["other/a"]
    assert cache.list(ConfigMap, namespace="default", fields={"metadata.namespace": "other"}) == []


@pytest.mark.parametrize(
    "options", [lambda: CacheOptions(default_namespaces="default"), lambda: KindOptions(namespaces="default")]
)
def test_a_string_is_not_taken_for_a_collection_of_namespaces(options: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"not a string: give \('default',\)"):
        options()


@pytest.mark.parametrize(
    "options",
    [
        {"by_kind": {ConfigMap: KindOptions(labels="a b")}},
        {"by_kind": {ConfigMap: KindOptions(fields="spec.nodeName")}},
    ],
)
def test_a_malformed_selector_is_refused_before_anything_is_listed(options: dict[str, Any], make: Make) -> None:
    with pytest.raises(SelectorError):
        make(**options).get_informer(ConfigMap)


def test_158_a_kinds_own_namespaces_come_before_the_default_ones(make: Make) -> None:
    cache = make(
        by_kind={Secret: KindOptions(namespaces=("",)), Namespace: KindOptions()}, default_namespaces=("default",)
    )
    assert cache.get_informer(ConfigMap).namespaces == ("default",)
    assert cache.get_informer(Secret).namespaces == ("",)
    assert cache.get_informer(Namespace).namespaces == ("",), "cluster-scoped"


def test_158_of_kind_and_namespace_of_kind_default_of_namespace_and_defaults_the_first_that_says_something_counts(
    make: Make,
) -> None:
    cache = make(
        by_kind={
            ConfigMap: KindOptions(
                namespaces={
                    "a": NamespaceOptions(labels="from=entry"),
                    "b": NamespaceOptions(),
                    "c": NamespaceOptions(),
                },
                fields="metadata.name=kind",
            ),
            Secret: KindOptions(namespaces=("b", "c")),
        },
        default_namespaces={"b": NamespaceOptions(labels="from=default-namespace", fields="metadata.name=x")},
        defaults=NamespaceOptions(labels="from=defaults"),
    )

    def selectors(kind: type[Object]) -> dict[str, tuple[str, str]]:
        informer = cache.get_informer(kind)
        found = {name: informer.options.reflector_options(name) for name in informer.namespaces}
        return {name: (options.labels, options.fields) for name, options in found.items()}

    assert selectors(ConfigMap) == {
        "a": ("from=entry", "metadata.name=kind"),
        "b": ("from=default-namespace", "metadata.name=kind"),
        "c": ("from=defaults", "metadata.name=kind"),
    }
    assert selectors(Secret) == {"b": ("from=default-namespace", "metadata.name=x"), "c": ("from=defaults", "")}
    assert selectors(Pod) == {"b": ("from=default-namespace", "metadata.name=x")}
    assert selectors(Namespace) == {"": ("from=defaults", "")}, "cluster-scoped"


def test_158_a_transform_may_be_of_one_namespace(make: Make) -> None:
    scopes = {
        "default": NamespaceOptions(transform=lambda obj: {"metadata": obj["metadata"]}),
        "other": NamespaceOptions(),
    }
    cache = make(by_kind={ConfigMap: KindOptions(namespaces=scopes)})
    informer = cache.get_informer(ConfigMap)
    transforms = [informer.options.of_namespace(name).transform for name in informer.namespaces]
    assert [transform is not None for transform in transforms] == [True, False]


def test_159_typed_unstructured_and_metadata_only_kinds_have_informers_of_their_own(cache: Cache) -> None:
    typed = cache.get_informer(ConfigMap)
    unstructured = cache.get_informer(Unstructured.of(ConfigMap.mapping))
    metadata = cache.get_informer(PartialObjectMetadata.of(ConfigMap.mapping))
    assert len({id(informer) for informer in (typed, unstructured, metadata)}) == 3
    assert cache.get_informer(Unstructured.of(ConfigMap.mapping)) is unstructured
    assert cache.get_informer(PartialObjectMetadata.of(ConfigMap.mapping)) is metadata
    assert cache.get_informer(ConfigMap) is typed


def test_160_metadata_reads_carry_the_callers_kind(cache: Cache) -> None:
    kind = PartialObjectMetadata.of(ConfigMap.mapping)
    obj = cache.get(kind, "a", namespace="default")
    assert (type(obj), obj.kind, obj.api_version) == (kind, "ConfigMap", "v1")


def test_unstructured_reads_carry_every_field(cache: Cache) -> None:
    obj = cache.get(Unstructured.of(ConfigMap.mapping), "a", namespace="default")
    assert (obj.kind, obj.content) == ("ConfigMap", {"data": {"version": "5"}})


def test_a_missing_object_is_the_servers_own_not_found_error(cache: Cache) -> None:
    with pytest.raises(NotFoundError, match=r'^configmaps "x" not found$'):
        cache.get(ConfigMap, "x", namespace="default")
    assert cache.find(ConfigMap, "x", namespace="default") is None


def test_60_reads_are_private_copies(cache: Cache) -> None:
    cache.get(ConfigMap, "a", namespace="default").data.clear()
    cache.list(ConfigMap)[0].data.clear()
    assert cache.get(ConfigMap, "a", namespace="default").data == {"version": "5"}


def test_a_list_is_sorted_by_key_and_filtered_by_namespace_and_labels(cache: Cache) -> None:
    assert keys(cache.list(ConfigMap)) == ["default/a", "default/b", "other/a"]
    assert keys(cache.list(ConfigMap, namespace="default")) == ["default/a", "default/b"]
    assert keys(cache.list(ConfigMap, labels={"app": "x"})) == ["default/a", "other/a"]
    assert keys(cache.list(ConfigMap, labels="app notin (x)")) == ["default/b"]


def test_a_namespace_is_ignored_for_a_cluster_scoped_kind(make: Make) -> None:
    cache = make({Namespace: [page(10, b'{"metadata":{"name":"n","resourceVersion":"1"}}')]})
    cache.start()
    assert cache.get(Namespace, "n", namespace="whatever").name == "n"
    assert keys(cache.list(Namespace, namespace="whatever")) == ["n"]


# Synchronisation


def test_wait_for_sync_names_each_missing_kind_and_the_reason(make: Make) -> None:
    cache = make({ConfigMap: [page(10)], Secret: [ForbiddenError.of("secrets is forbidden")], Namespace: [ABSENT]})
    for kind in (ConfigMap, Secret, Namespace):
        cache.get_informer(kind)
    cache.start()
    with pytest.raises(CacheSyncTimeoutError) as caught:
        cache.wait_for_sync(0.2)
    assert "ConfigMap" not in str(caught.value)
    assert "Secret is not in the cache: failed to list secrets: Forbidden (403)" in str(caught.value)
    assert "Namespace is not in the cache: failed to list namespaces: NotFound (404)" in str(caught.value)


def test_an_optional_kind_that_is_absent_does_not_hold_up_the_start_and_is_unknown_not_empty(make: Make) -> None:
    cache = make({Secret: [ABSENT]}, by_kind={Secret: KindOptions(optional=True)})
    cache.get_informer(Secret)
    cache.start()
    cache.wait_for_sync(5)
    assert not cache.has_synced(Secret)
    with pytest.raises(KindNotServedError, match="is its CRD installed"):
        cache.list(Secret)


def test_an_optional_kind_is_watched_once_its_crd_arrives(make: Make) -> None:
    cache = make({Secret: [ABSENT, page(10)]}, by_kind={Secret: KindOptions(optional=True)})
    cache.get_informer(Secret)
    cache.start()
    cache.wait_for_sync(5)
    assert cache.get_informer(Secret).wait_for_sync(10)
    assert cache.list(Secret) == []


def test_an_optional_kind_that_is_forbidden_does_hold_up_the_start(make: Make) -> None:
    cache = make({Secret: [ForbiddenError.of("no")]}, by_kind={Secret: KindOptions(optional=True)})
    cache.get_informer(Secret)
    cache.start()
    with pytest.raises(CacheSyncTimeoutError, match="Forbidden"):
        cache.wait_for_sync(0.1)


def test_a_kind_that_may_be_forbidden_does_not_hold_up_the_start_and_is_unknown_not_empty(make: Make) -> None:
    cache = make({Secret: [ForbiddenError.of("no")]}, by_kind={Secret: KindOptions(may_be_forbidden=True)})
    cache.get_informer(Secret)
    cache.start()
    cache.wait_for_sync(5)
    assert not cache.has_synced(Secret)
    assert cache.waiting_for() == ""
    with pytest.raises(KindForbiddenError, match="Forbidden"):
        cache.list(Secret)


def test_a_kind_that_was_forbidden_is_watched_once_the_right_is_granted(make: Make) -> None:
    cache = make({Secret: [ForbiddenError.of("no"), page(10)]}, by_kind={Secret: KindOptions(may_be_forbidden=True)})
    cache.get_informer(Secret)
    cache.start()
    cache.wait_for_sync(5)
    assert cache.get_informer(Secret).wait_for_sync(10)
    assert cache.list(Secret) == []


def test_a_kind_that_may_be_forbidden_but_is_absent_does_hold_up_the_start(make: Make) -> None:
    cache = make({Secret: [ABSENT]}, by_kind={Secret: KindOptions(may_be_forbidden=True)})
    cache.get_informer(Secret)
    cache.start()
    with pytest.raises(CacheSyncTimeoutError, match="NotFound"):
        cache.wait_for_sync(0.1)


def test_a_read_of_a_kind_that_cannot_be_listed_fails_with_the_reason(make: Make) -> None:
    cache = make({Secret: [ForbiddenError.of("no")]}, sync_timeout=0.1)
    cache.start()
    with pytest.raises(CacheSyncTimeoutError, match="Forbidden"):
        cache.get(Secret, "x", namespace="default")


def test_kind_options_reach_the_requests_and_the_transform_the_objects(make: Make) -> None:
    options = KindOptions(labels="a=b", fields="metadata.name=x", transform=lambda obj: {"metadata": obj["metadata"]})
    cache = make(by_kind={ConfigMap: options})
    cache.start()
    assert cache.list(ConfigMap)[0].data == {}
    server: Any = cache._lister_watcher
    (request,) = server.by_kind[ConfigMap.mapping].lists
    assert (request.label_selector, request.field_selector) == ("a=b", "metadata.name=x")


def test_stop_ends_a_wait_for_sync_and_everything_within_a_second(make: Make) -> None:
    cache = make({Secret: [ForbiddenError.of("no")], ConfigMap: [page(10)]})
    cache.get_informer(Secret)
    cache.get_informer(ConfigMap)
    cache.start()
    failures = []

    def wait() -> None:
        try:
            cache.wait_for_sync(60)
        except CacheSyncTimeoutError as error:
            failures.append(str(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    began = time.monotonic()
    cache.stop()
    cache.stop()
    waiter.join(1)
    assert time.monotonic() - began < 1
    assert len(failures) == 1


def test_a_stopped_cache_still_answers_but_starts_nothing(make: Make) -> None:
    cache = make()
    cache.start()
    cache.list(ConfigMap)
    cache.stop()
    assert len(cache.list(ConfigMap)) == 3
    with pytest.raises(CacheSyncTimeoutError, match="stopped"):
        cache.list(Secret)


def test_the_collectors_thresholds_are_raised_while_filling_and_restored(make: Make) -> None:
    former = gc.get_threshold()
    caches = [Cache(Server({ConfigMap: [page(10)]})) for _ in range(2)]
    try:
        for cache in caches:
            cache.get_informer(ConfigMap)
            cache.start()
        assert gc.get_threshold()[0] == 100_000
        caches[0].wait_for_sync(5)
        assert gc.get_threshold()[0] == 100_000, "the other one is still filling"
        caches[1].wait_for_sync(5)
        assert gc.get_threshold() == former
        assert gc.get_freeze_count() > 0
    finally:
        for cache in caches:
            cache.stop()
        gc.unfreeze()


# The cached client


class Live(Client):
    """Records what reaches the API server."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def get(self, kind: Any, name: str, **_: Any) -> Any:
        self.calls.append("get")

    def list(self, kind: Any, **_: Any) -> Any:
        self.calls.append("list")

    def write(self, write: Write[Any]) -> Any:
        self.calls.append("/".join(filter(None, (write.verb, write.subresource))))

    def remove(self, deletion: Deletion) -> None:
        self.calls.append("delete")

    def read_subresource(self, kind: Any, key: Any, subresource: str, answer: Any) -> Any:
        self.calls.append(f"get/{subresource}")

    @property
    def rest_mapper(self) -> Any:
        self.calls.append("rest_mapper")


def test_reads_come_from_the_cache_and_writes_go_to_the_server(cache: Cache) -> None:
    live, obj = Live(), ConfigMap()
    client = CachedClient(cache, live)
    assert client.get(ConfigMap, "a", namespace="default").data == {"version": "5"}
    assert len(client.list(ConfigMap, labels="app=x")) == 2
    assert live.calls == []
    client.create(obj)
    client.update(obj)
    client.patch(obj, {})
    client.apply(obj, field_owner="me")
    client.delete(obj)
    client.status.update(obj)
    client.subresource("scale").get(obj)
    assert live.calls == ["create", "update", "patch", "apply", "delete", "update/status", "get/scale"]


def test_a_kind_for_which_the_cache_is_disabled_is_read_live(cache: Cache) -> None:
    live = Live()
    client = CachedClient(cache, live, disable_for=[Secret])
    client.get(Secret, "s", namespace="default")
    client.list(Secret)
    assert live.calls == ["get", "list"]
    assert not cache.has_synced(Secret)
