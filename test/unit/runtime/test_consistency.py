"""Reading one's own writes from a cache that lags behind, and what is not waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.eventually import eventually
from support.lagging import Lagging
from support.live import Doing

from localmodel.runtime import deadline
from localmodel.runtime.cache import Cache, CacheOptions, KindOptions
from localmodel.runtime.cached_client import CachedClient
from localmodel.runtime.client import Client, Preconditions, WriteOptions
from localmodel.runtime.clock import RealClock
from localmodel.runtime.consistency import ConsistencyStore, went_with
from localmodel.runtime.errors import AlreadyExistsError, ConflictError, NotFoundError, StaleCacheError, TransportError
from localmodel.runtime.objects import (
    ConfigMap,
    Namespace,
    Node,
    Object,
    ObjectKey,
    ObjectMeta,
    PartialObjectMetadata,
    Secret,
    Unstructured,
)
from localmodel.runtime.testing import FakeClient

BRIEFLY = 0.05
"""Seconds after which a read that waits in vain gives up."""


def config_map(name: str, namespace: str = "ns", *, labels: dict[str, str] | None = None, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels or {}), data=data)


class World:
    """A server in memory, a cache that can be made to lag behind it, and a client that reads its own writes."""

    def __init__(self, *kinds: type[Object], disable_for: Any = (), **options: Any) -> None:
        self.server = FakeClient(config_map("a", n="1"), config_map("b", n="1"), config_map("c", "other", n="1"))
        self.lagging = Lagging(self.server)
        self.cache = Cache(self.lagging, CacheOptions(tune_collector=False, **options))
        for kind in kinds or (ConfigMap,):
            self.cache.get_informer(kind)
        self.cache.start()
        self.cache.wait_for_sync(10)
        self.client = self.reading(10.0, disable_for=disable_for)
        self.hasty = self.reading(BRIEFLY, disable_for=disable_for)

    def reading(self, seen_timeout: float, **options: Any) -> CachedClient:
        return CachedClient(self.cache, self.server, read_your_writes=True, seen_timeout=seen_timeout, **options)

    def read(self, name: str = "a", namespace: str = "ns") -> ConfigMap:
        return self.client.get(ConfigMap, name, namespace=namespace)

    def stop(self) -> None:
        self.lagging.release()
        self.cache.stop()


Make = Callable[..., World]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[World] = []

    def make(*kinds: type[Object], **options: Any) -> World:
        made.append(World(*kinds, **options))
        return made[-1]

    yield make
    for world in made:
        world.stop()


@pytest.fixture
def world(make: Make) -> World:
    return make()


@contextmanager
def waits(world: World, work: Callable[[], object]) -> Iterator[None]:
    """What is inside happens while `work` waits for the cache, which flows again after it and so ends the wait."""
    doing = Doing(work)
    informer = world.cache.get_informer(ConfigMap)
    eventually(lambda: informer._version_waiters or doing.ended)
    assert not doing.ended, "it did not wait"
    yield
    world.lagging.release()
    doing.end()


def test_a_get_waits_until_the_cache_shows_what_was_written(world: World) -> None:
    seen: list[str] = []
    world.lagging.hold()
    world.client.patch(config_map("a"), {"data": {"n": "2"}})
    with waits(world, lambda: seen.append(world.read().data["n"])):
        assert world.cache.get(ConfigMap, "a", namespace="ns").data["n"] == "1"
    assert seen == ["2"]


@pytest.mark.parametrize(
    "write",
    [
        lambda client: client.create(config_map("new")),
        lambda client: client.create(
            ConfigMap(metadata=ObjectMeta(generate_name="new-", namespace="ns"))  # the key is in the answer
        ),
        lambda client: client.patch(config_map("a"), {"data": {"n": "2"}}),
        lambda client: client.apply(config_map("a", n="2"), field_owner="me", force=True),
        lambda client: client.delete(config_map("a")),
    ],
)
def test_a_list_waits_for_every_write_of_its_kind(world: World, write: Callable[[CachedClient], object]) -> None:
    world.lagging.hold()
    write(world.hasty)
    with pytest.raises(StaleCacheError, match="configmaps ns/"):
        world.hasty.list(ConfigMap)
    assert len(world.hasty.list(ConfigMap, namespace="other")) == 1, "written in another namespace"


def test_a_get_waits_for_writes_of_that_object_only(world: World) -> None:
    world.lagging.hold()
    world.hasty.patch(config_map("a"), {"data": {"n": "2"}})
    assert world.hasty.get(ConfigMap, "b", namespace="ns").data["n"] == "1"


def test_a_read_that_waits_too_long_is_a_stale_cache(world: World) -> None:
    world.lagging.hold()
    version = world.hasty.patch(config_map("a"), {"data": {"n": "2"}}).metadata.resource_version
    for _ in range(2):  # it is not forgotten by the first read
        with pytest.raises(StaleCacheError, match=f"version {version} of configmaps ns/a within"):
            world.hasty.get(ConfigMap, "a", namespace="ns")


def test_the_deadline_of_the_work_in_hand_ends_a_wait(world: World) -> None:
    world.lagging.hold()
    world.client.patch(config_map("a"), {"data": {"n": "2"}})
    with deadline.limit(RealClock(), BRIEFLY), pytest.raises(deadline.DeadlineExceededError):
        world.read()


def test_a_deleted_object_is_gone_from_the_next_read(world: World) -> None:
    world.lagging.hold()
    world.client.delete(config_map("a"))  # by name: whose uid it had only the cache knows

    def read() -> None:
        with pytest.raises(NotFoundError):
            world.read()

    with waits(world, read):
        assert world.cache.get(ConfigMap, "a", namespace="ns")


def test_an_object_that_is_made_and_deleted_is_gone_from_the_next_read(world: World) -> None:
    world.lagging.hold("DELETED")
    made = world.client.create(config_map("new"))
    world.client.delete(made)

    def read() -> None:
        assert world.client.find(ConfigMap, "new", namespace="ns") is None

    with waits(world, read):
        eventually(lambda: world.cache.find(ConfigMap, "new", namespace="ns"))


def test_an_object_that_is_deleted_by_name_before_the_cache_shows_it_is_waited_for_to_be_gone(world: World) -> None:
    own, informer = world.client._own_writes, world.cache.get_informer(ConfigMap)
    assert own is not None
    world.lagging.hold()
    made = world.client.create(config_map("new"))
    world.client.delete(config_map("new"))
    (unseen,) = own._unseen[informer].values()
    assert (unseen.uid, unseen.resource_version) == (made.metadata.uid, int(made.metadata.resource_version))
    world.lagging.release()
    assert world.client.find(ConfigMap, "new", namespace="ns") is None


def test_an_object_that_finalizers_hold_is_seen_to_be_deleted(world: World) -> None:
    world.client.patch(config_map("a"), {"metadata": {"finalizers": ["test/held"]}})
    held = world.read()
    world.lagging.hold()
    world.client.delete(held)
    seen: list[bool] = []
    with waits(world, lambda: seen.append(world.read().is_deleting)):
        pass
    assert seen == [True]


def test_a_deletion_by_name_forgets_no_write_before_it(world: World) -> None:
    world.client.patch(config_map("a"), {"metadata": {"finalizers": ["test/held"]}})
    world.client.delete(world.read())
    assert world.read().is_deleting
    world.lagging.hold()
    world.client.patch(config_map("a"), {"data": {"n": "2"}})
    seen: list[str] = []
    for _ in range(2):
        world.client.delete(config_map("a"))
    with waits(world, lambda: seen.append(world.read().data["n"])):
        pass
    assert seen == ["2"]


def test_an_object_that_its_last_finalizer_leaves_is_gone_from_the_next_read(world: World) -> None:
    world.client.patch(config_map("a"), {"metadata": {"finalizers": ["test/held"]}})
    world.client.delete(world.read())
    assert world.read().is_deleting
    world.lagging.hold()
    world.client.patch(config_map("a"), {"metadata": {"finalizers": None}})

    def read() -> None:
        assert world.client.find(ConfigMap, "a", namespace="ns") is None

    with waits(world, read):
        assert world.cache.get(ConfigMap, "a", namespace="ns")


def test_a_namespace_that_is_on_its_way_out_is_not_waited_for_to_be_gone() -> None:
    metadata = {"name": "n", "uid": "1", "resourceVersion": "5", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    namespace, other = ({"metadata": metadata, "kind": kind} for kind in ("Namespace", "Node"))
    assert not went_with(Namespace.from_dict(namespace))
    assert went_with(Node.from_dict(other))


def test_an_object_made_anew_under_the_same_name_is_what_the_next_read_shows(world: World) -> None:
    old = world.read()
    world.lagging.hold()
    world.client.delete(old)
    new = world.client.create(config_map("a", n="new"))
    seen: list[str] = []
    with waits(world, lambda: seen.append(world.read().metadata.uid)):
        pass
    assert seen == [new.metadata.uid]


def test_a_deletion_that_other_events_overtake_is_waited_for_to_its_end(world: World) -> None:
    world.lagging.hold()
    for number in range(5):
        world.server.patch(config_map("b"), {"data": {"n": str(number)}})
    world.client.delete(config_map("a"))
    with waits(world, lambda: world.client.list(ConfigMap)):
        pass
    assert [obj.name for obj in world.client.list(ConfigMap, namespace="ns")] == ["b"]


def test_a_write_of_a_subresource_is_waited_for(make: Make) -> None:
    world = make(Namespace)
    world.server.create(Namespace(metadata=ObjectMeta(name="n")))
    eventually(lambda: world.hasty.find(Namespace, "n"))
    world.lagging.hold()
    world.hasty.status.patch(Namespace(metadata=ObjectMeta(name="n")), {"status": {"phase": "Active"}})
    with pytest.raises(StaleCacheError):
        world.hasty.get(Namespace, "n")


def fail(world: World, write: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        write()


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(
            lambda world: world.hasty.patch(config_map("a"), {"data": {"n": "2"}}, options=WriteOptions(dry_run=True)),
            id="a dry run",
        ),
        pytest.param(
            lambda world: world.hasty.delete(config_map("a"), options=WriteOptions(dry_run=True)),
            id="a deletion that is a dry run",
        ),
        pytest.param(
            lambda world: fail(
                world,
                lambda: world.hasty.delete(config_map("a"), preconditions=Preconditions(uid="another")),
                ConflictError,
            ),
            id="a write that was refused",
        ),
        pytest.param(
            lambda world: (
                world.server.faults.drop_answer(verb="patch"),
                fail(world, lambda: world.hasty.patch(config_map("a"), {"data": {"n": "2"}}), TransportError),
            ),
            id="a write whose answer was lost",
        ),
        pytest.param(
            lambda world: world.hasty.patch(config_map("a"), {"data": {"n": "1"}}), id="a patch that changed nothing"
        ),
        pytest.param(lambda world: world.hasty.delete_all_of(ConfigMap, namespace="ns"), id="a collection's deletion"),
        pytest.param(
            lambda world: world.hasty.create(Secret(metadata=ObjectMeta(name="s", namespace="ns"))),
            id="a kind without informer",
        ),
    ],
)
def test_what_has_no_version_to_wait_for_is_not_waited_for(world: World, write: Callable[[World], object]) -> None:
    world.lagging.hold()
    write(world)
    assert world.hasty.get(ConfigMap, "a", namespace="ns").data == {"n": "1"}
    assert len(world.hasty.list(ConfigMap)) == 3


def test_a_kind_for_which_the_cache_is_disabled_is_not_waited_for(make: Make) -> None:
    world = make(disable_for=[ConfigMap])
    world.lagging.hold()
    written = world.hasty.patch(config_map("a"), {"data": {"n": "2"}})
    assert world.hasty.get(ConfigMap, "a", namespace="ns").data == {"n": "2"}
    world.hasty.wait_until_seen(written, BRIEFLY)


def test_an_object_outside_the_selectors_is_waited_for_only_if_it_leaves_them(make: Make) -> None:
    by_kind = {ConfigMap: KindOptions(labels="app=x", fields="metadata.name!=hidden")}
    world = make(by_kind=by_kind)
    world.client.create(config_map("chosen", labels={"app": "x"}))
    assert [obj.name for obj in world.client.list(ConfigMap)] == ["chosen"]
    world.lagging.hold()
    world.hasty.create(config_map("other-label", labels={"app": "y"}))
    world.hasty.create(config_map("hidden", labels={"app": "x"}))
    assert [obj.name for obj in world.hasty.list(ConfigMap)] == ["chosen"]
    world.hasty.patch(config_map("chosen"), {"metadata": {"labels": {"app": "y"}}})
    with pytest.raises(StaleCacheError):
        world.hasty.list(ConfigMap)
    world.lagging.release()
    eventually(lambda: not world.client.list(ConfigMap))


def test_an_informer_for_each_namespace_is_waited_for_in_its_own(make: Make) -> None:
    world = make(by_kind={ConfigMap: KindOptions(namespaces=("ns", "other"))})
    world.lagging.hold()
    written = world.hasty.patch(config_map("a"), {"data": {"n": "2"}})
    assert world.hasty.get(ConfigMap, "c", namespace="other").data["n"] == "1"
    with pytest.raises(StaleCacheError):
        world.hasty.list(ConfigMap, namespace="ns")
    world.hasty.create(config_map("a", "unwatched"))
    assert len(world.hasty.list(ConfigMap, namespace="other")) == 1
    world.lagging.release()
    world.client.wait_until_seen(written)
    assert world.read().data["n"] == "2"


def test_a_write_is_waited_for_by_reads_of_every_type_of_the_kind(make: Make) -> None:
    plain = Unstructured.of(ConfigMap.mapping)
    partial = PartialObjectMetadata.of(ConfigMap.mapping)
    world = make(ConfigMap, plain, partial)
    world.lagging.hold()
    world.hasty.patch(config_map("a"), {"metadata": {"labels": {"n": "2"}}})
    for kind in (ConfigMap, plain, partial):
        with pytest.raises(StaleCacheError):
            world.hasty.get(kind, "a", namespace="ns")
    world.lagging.release()
    for kind in (ConfigMap, plain, partial):
        eventually(lambda kind=kind: world.cache.get(kind, "a", namespace="ns").metadata.labels == {"n": "2"})
        assert world.hasty.get(kind, "a", namespace="ns")


def test_what_was_seen_is_forgotten(world: World) -> None:
    own = world.client._own_writes
    assert own is not None
    for number in range(300):
        written = world.client.patch(config_map("a"), {"data": {"n": str(number)}})
        world.client.create(config_map(f"new-{number}"))
    world.client.wait_until_seen(written)
    world.client.list(ConfigMap)
    assert not own._unseen


def test_wait_until_seen_and_gone_without_read_your_writes(world: World) -> None:
    client = CachedClient(world.cache, world.server)
    world.lagging.hold()
    written = client.patch(config_map("a"), {"data": {"n": "2"}})
    assert client.get(ConfigMap, "a", namespace="ns").data["n"] == "1"
    with pytest.raises(StaleCacheError):
        client.wait_until_seen(written, BRIEFLY)
    client.delete(written)
    with pytest.raises(StaleCacheError, match="the deletion of configmaps ns/a"):
        client.wait_until_gone(written, BRIEFLY)
    world.lagging.release()
    client.wait_until_seen(written)
    client.wait_until_gone(written)
    assert client.find(ConfigMap, "a", namespace="ns") is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "patch", "same", "hold", "held patch", "drop", "delete", "others", "get", "list"]),
        st.sampled_from("abc"),
    ),
    max_size=30,
)


class Model:
    """Carries out steps by a client that reads its own writes; after each, reads must show what the server has."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = world.client
        self.steps = 0

    def run(self, step: str, name: str) -> None:
        self.steps += 1
        obj, change = config_map(name), {"data": {"step": str(self.steps)}}
        try:
            match step:
                case "create":
                    self.client.create(obj)
                case "patch":
                    self.client.patch(obj, change)
                case "same":
                    self.client.patch(obj, {})
                case "hold":
                    self.client.patch(obj, {"metadata": {"finalizers": ["test/held"]}})
                case "held patch":
                    self.client.patch(obj, {"metadata": {"labels": {"step": str(self.steps)}, **change}})
                case "drop":
                    self.client.patch(obj, {"metadata": {"finalizers": None}})
                case "delete":
                    self.client.delete(obj)
                case "others":
                    self.world.server.patch(config_map("b", "other"), change)
                case "get":
                    self.compare(name)
                case "list":
                    assert self.named(self.client) == self.named(self.world.server)
        except (NotFoundError, AlreadyExistsError):
            return  # as any client might meet

    def compare(self, name: str) -> None:
        ours = self.client.find(ConfigMap, name, namespace="ns")
        theirs = self.world.server.find(ConfigMap, name, namespace="ns")
        # A deletion that is waited for by its uid may be seen with an older state of an object that finalizers hold.
        assert (ours and ours.metadata.uid) == (theirs and theirs.metadata.uid)
        if ours is not None and theirs is not None:
            assert ours.is_deleting == theirs.is_deleting
            assert ours.data == theirs.data

    @staticmethod
    def named(client: Client) -> list[tuple[str, str]]:
        return [(obj.name, obj.metadata.uid) for obj in client.list(ConfigMap, namespace="ns")]


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_a_client_does_its_next_read_shows_it(steps: list[tuple[str, str]]) -> None:
    world = World()
    try:
        model = Model(world)
        for step, name in steps:
            model.run(step, name)
        for name in "abc":
            model.compare(name)
        assert model.named(model.client) == model.named(world.server)
    finally:
        world.stop()


OWNER = ObjectKey("ns", "owner")


def test_a_reconcile_is_not_ready_until_the_cache_has_the_owners_last_write(world: World) -> None:
    store = ConsistencyStore(world.cache)
    store.ensure_ready(OWNER)
    world.lagging.hold()
    for number in range(3):
        store.wrote_at(OWNER, "u1", world.server.patch(config_map("a"), {"data": {"n": f"{number} of"}}))
    with pytest.raises(StaleCacheError):
        store.ensure_ready(OWNER)
    store.ensure_ready(ObjectKey("ns", "another"))
    world.lagging.release()

    def ready() -> bool:
        try:
            store.ensure_ready(OWNER)
        except StaleCacheError:
            return False
        return True

    eventually(ready)
    assert store._records == {}


def test_clear_forgets_the_owner_of_that_uid_only(world: World) -> None:
    store = ConsistencyStore(world.cache)
    world.lagging.hold()
    written = world.server.patch(config_map("a"), {"data": {"n": "2"}})
    store.wrote_at(OWNER, "old", written)
    store.wrote_at(OWNER, "new", written)
    store.clear(OWNER, "old")
    with pytest.raises(StaleCacheError):
        store.ensure_ready(OWNER)
    store.clear(OWNER, "new")
    store.ensure_ready(OWNER)
