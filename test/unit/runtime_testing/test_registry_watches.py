"""Watches: where they begin, what they tell, bookmarks, timeouts (promises 39 and 203 of runtimes.md, and 5.4)."""

from __future__ import annotations

import base64
import contextlib
import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.widgets import NS, PODS, WIDGETS, events_so_far, told, widget

from localmodel.runtime.client import MERGE_PATCH
from localmodel.runtime.errors import ApiError, BadRequestError, ExpiredError, ServerTimeoutError, TransportError
from localmodel.runtime.listwatch import ListOptions, WatchEvent, WatchOptions
from localmodel.runtime.testing import FakeClock, Registry
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.watching import BUFFER_LIMIT, INITIAL_EVENTS_END

CHANGES = WatchOptions(allow_bookmarks=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(clock: FakeClock) -> Registry:
    return Registry(clock=clock)


def make(registry: Registry, *names: str, **labels: str) -> None:
    for name in names:
        registry.create(WIDGETS, NS, widget(name, labels=labels))


def relabel(registry: Registry, name: str, **labels: str | None) -> None:
    registry.patch(WIDGETS, NS, name, {"metadata": {"labels": labels}}, MERGE_PATCH)


def body(event: WatchEvent) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(event.object)
    return decoded


@pytest.mark.parametrize("version", ["", "0"])
def test_without_a_version_a_watch_begins_with_the_present_state(registry: Registry, version: str) -> None:
    make(registry, "a", "b")
    watch = registry.watch(WIDGETS, WatchOptions(resource_version=version, allow_bookmarks=False))
    make(registry, "c")
    assert [told(event) for event in events_so_far(watch)] == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


def test_203_from_a_version_a_watch_tells_what_came_after(registry: Registry) -> None:
    make(registry, "a", "b")
    watch = registry.watch(WIDGETS, WatchOptions(resource_version="1"))
    relabel(registry, "a", x="1")
    registry.delete(WIDGETS, NS, "b")
    events = events_so_far(watch)
    assert [told(event) for event in events] == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert body(events[2])["metadata"]["resourceVersion"] == "4"


def test_203_a_version_before_the_history_has_expired(registry: Registry) -> None:
    make(registry, "a", "b", "c")
    registry.store.compact()
    with pytest.raises(ExpiredError, match=r"too old resource version: 1 \(3\)"):
        registry.watch(WIDGETS, WatchOptions(resource_version="1"))


def test_a_version_in_the_future_times_out(registry: Registry) -> None:
    with pytest.raises(ServerTimeoutError, match="Too large resource version: 9, current: 0"):
        registry.watch(WIDGETS, WatchOptions(resource_version="9"))


def test_a_selector_that_cannot_be_read_is_a_bad_request(registry: Registry) -> None:
    with pytest.raises(BadRequestError):
        registry.watch(WIDGETS, WatchOptions(field_selector="spec.other=1"))


def test_an_object_that_moves_into_a_selector_is_added_and_one_that_moves_out_deleted(registry: Registry) -> None:
    make(registry, "a", tier="x")
    make(registry, "b", tier="y")
    watch = registry.watch(WIDGETS, WatchOptions(label_selector="tier=x", resource_version="2"))
    relabel(registry, "b", tier="x")
    relabel(registry, "b", more="1")
    relabel(registry, "b", tier="z")
    registry.delete(WIDGETS, NS, "b")
    events = events_so_far(watch)
    assert [told(event) for event in events] == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]
    gone = body(events[2])["metadata"]
    assert (gone["labels"]["tier"], gone["resourceVersion"]) == ("x", "5")


def test_a_watch_may_select_by_field_and_namespace(registry: Registry) -> None:
    watch = registry.watch(PODS, WatchOptions(field_selector="spec.nodeName=n1", namespace=NS, allow_bookmarks=False))
    registry.create(PODS, NS, widget("a"))
    registry.create(PODS, "other", {"metadata": {"name": "b"}, "spec": {"nodeName": "n1"}})
    registry.patch(PODS, NS, "a", {"spec": {"nodeName": "n1"}}, MERGE_PATCH)
    assert [told(event) for event in events_so_far(watch)] == [("ADDED", "a")]


@pytest.mark.parametrize("version", ["", "0"])
def test_a_watch_that_wants_no_initial_events_begins_now(registry: Registry, version: str) -> None:
    make(registry, "a")
    options = WatchOptions(resource_version=version, send_initial_events=False)
    watch = registry.watch(WIDGETS, options)
    make(registry, "b")
    assert [told(event) for event in events_so_far(watch)] == [("ADDED", "b")]


def test_39_203_initial_events_end_with_a_marked_bookmark(registry: Registry) -> None:
    """39."""
    make(registry, "a", "b")
    options = WatchOptions(resource_version="1", send_initial_events=True)
    watch = registry.watch(WIDGETS, options)
    make(registry, "c")
    events = events_so_far(watch)
    assert [told(event)[0] for event in events] == ["ADDED", "ADDED", "BOOKMARK", "ADDED"]
    marker = body(events[2])
    assert marker["metadata"]["annotations"][INITIAL_EVENTS_END] == "true"
    assert (marker["metadata"]["resourceVersion"], marker["kind"], marker["apiVersion"]) == (
        "2",
        "Widget",
        "example.com/v1",
    )


@pytest.mark.parametrize("version", ["", "0"])
def test_the_present_state_ends_with_a_marked_bookmark_for_those_who_take_them(
    registry: Registry, version: str
) -> None:
    make(registry, "a")
    events = events_so_far(registry.watch(WIDGETS, WatchOptions(resource_version=version)))
    assert [event.type for event in events] == ["ADDED", "BOOKMARK"]


@pytest.mark.parametrize(
    ("definition", "empty"),
    [
        (PODS, b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}\n'),
        (WIDGETS, b'{"apiVersion":"example.com/v1","items":[],"kind":"WidgetList"}\n'),
    ],
)
def test_the_bookmark_behind_the_present_state_carries_the_empty_list(
    registry: Registry, definition: ResourceDefinition, empty: bytes
) -> None:
    (marker,) = events_so_far(registry.watch(definition))
    annotations = body(marker)["metadata"]["annotations"]
    assert base64.b64decode(annotations["kubernetes.io/initial-events-list-blueprint"]) == empty


def test_203_a_bookmark_comes_each_minute_and_shortly_before_the_end(registry: Registry, clock: FakeClock) -> None:
    registry.create(PODS, NS, widget("first"))
    watch = registry.watch(WIDGETS, WatchOptions(timeout_seconds=150, resource_version="1"))
    read: list[tuple[float, str, str]] = []

    def reader() -> None:
        read.extend((clock.monotonic(), event.type, body(event)["metadata"]["resourceVersion"]) for event in watch)

    thread = threading.Thread(target=reader)
    thread.start()
    registry.create(PODS, NS, widget("other"))
    for _ in range(150):
        clock.wait_for_waiters()
        clock.advance(1)
        if watch.ended:
            break
    thread.join(10)
    assert not thread.is_alive()
    assert read == [(60.0, "BOOKMARK", "2"), (120.0, "BOOKMARK", "2"), (148.0, "BOOKMARK", "2")]


def test_bookmarks_are_for_those_who_ask(registry: Registry, clock: FakeClock) -> None:
    watch = registry.watch(WIDGETS, WatchOptions(allow_bookmarks=False))
    clock.advance(61)
    watch.tick()
    assert events_so_far(watch) == []


def test_a_watch_ends_after_its_timeout(registry: Registry, clock: FakeClock) -> None:
    watch = registry.watch(WIDGETS, WatchOptions(timeout_seconds=5, allow_bookmarks=False))
    thread = threading.Thread(target=list, args=(watch,))
    thread.start()
    while thread.is_alive() and clock.monotonic() < 5:
        clock.wait_for_waiters()
        clock.advance(1)
    thread.join(10)
    assert watch.ended


def test_close_wakes_a_blocked_reader_and_is_idempotent(registry: Registry, clock: FakeClock) -> None:
    watch = registry.watch(WIDGETS, CHANGES)
    thread = threading.Thread(target=list, args=(watch,))
    thread.start()
    clock.wait_for_waiters()
    watch.close()
    watch.close()
    thread.join(10)
    assert not thread.is_alive()


def test_what_was_delivered_is_read_before_an_error_ends_the_watch(registry: Registry) -> None:
    watch = registry.watch(WIDGETS, CHANGES)
    make(registry, "a")
    assert registry.end_watches("widgets.example.com", TransportError("cut")) == 1
    stream = iter(watch)
    assert told(next(stream)) == ("ADDED", "a")
    with pytest.raises(TransportError, match="cut"):
        next(stream)


def test_a_callback_is_told_at_once_and_may_write(registry: Registry) -> None:
    seen: list[tuple[str, str]] = []
    ends: list[bool] = []

    def on_event(event: WatchEvent) -> None:
        seen.append(told(event))
        if told(event) == ("ADDED", "a"):
            make(registry, "b")

    watch = registry.watch(WIDGETS, WatchOptions(timeout_seconds=90), on_event, on_end=lambda: ends.append(True))
    seen.clear()  # the bookmark behind the present state
    make(registry, "a")
    assert seen == [("ADDED", "a"), ("ADDED", "b")]
    assert watch.tick() == pytest.approx(60)
    watch.close()
    make(registry, "c")
    assert (len(seen), ends) == (2, [True])


def test_a_reader_that_does_not_read_is_dropped(registry: Registry) -> None:
    watch = registry.watch(WIDGETS, CHANGES)
    event = WatchEvent("ADDED", b'{"metadata":{}}')
    for _ in range(BUFFER_LIMIT + 1):
        watch._send(event)
    assert watch.ended


def test_a_callback_that_fails_ends_its_watch_and_not_the_write(registry: Registry) -> None:
    ends: list[bool] = []

    def fail(_: WatchEvent) -> None:
        raise RuntimeError("broken")

    watch = registry.watch(WIDGETS, CHANGES, fail, on_end=lambda: ends.append(True))
    make(registry, "a")
    assert (watch.ended, ends, len(registry.list(WIDGETS).items)) == (True, [True], 1)


def test_a_watch_beside_many_writers_leads_to_the_final_state(registry: Registry) -> None:
    watch = registry.watch(WIDGETS, CHANGES)

    def write(thread: int) -> None:
        for step in range(60):
            name = f"n{(thread + step) % 7}"
            with contextlib.suppress(ApiError):
                if step % 3 == 0:
                    make(registry, name)
                elif step % 3 == 1:
                    registry.patch(WIDGETS, NS, name, {"spec": {"by": f"{thread}-{step}"}}, MERGE_PATCH)
                else:
                    registry.delete(WIDGETS, NS, name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    state: dict[str, bytes] = {}
    for event in events_so_far(watch):
        name = told(event)[1]
        assert (name in state) == (event.type != "ADDED")
        if event.type == "DELETED":
            del state[name]
        else:
            state[name] = bytes(event.object)
    assert [state[name] for name in sorted(state)] == registry.list(WIDGETS).items


class TestReplay:
    """Applying the events after revision n to the list at n gives the list at m."""

    steps = st.lists(
        st.tuples(
            st.sampled_from(["create", "label", "spec", "delete"]), st.sampled_from("abc"), st.sampled_from("xy")
        ),
        max_size=25,
    )

    @staticmethod
    def run(registry: Registry, step: tuple[str, str, str]) -> None:
        verb, name, value = step
        exists = registry.store.get(WIDGETS.resource, NS, name) is not None
        if verb == "create" and not exists:
            make(registry, name, tier=value)
        elif verb == "label" and exists:
            relabel(registry, name, tier=value)
        elif verb == "spec" and exists:
            registry.patch(WIDGETS, NS, name, {"spec": {"size": value}}, MERGE_PATCH)
        elif verb == "delete" and exists:
            registry.delete(WIDGETS, NS, name)

    @given(before=steps, after=steps, selector=st.sampled_from(["", "tier=x", "tier!=x"]))
    def test_events_after_a_list_lead_to_the_next_list(
        self, before: list[Any], after: list[Any], selector: str
    ) -> None:
        registry = Registry(clock=FakeClock())
        for step in before:
            self.run(registry, step)
        page = registry.list(WIDGETS, ListOptions(label_selector=selector))
        state = {item["metadata"]["name"]: item for item in map(msgspec.json.decode, page.items)}
        # Version 0 would mean "from the present state" instead.
        version = page.resource_version if page.resource_version != "0" else ""
        live = registry.watch(
            WIDGETS, WatchOptions(label_selector=selector, resource_version=version, allow_bookmarks=False)
        )
        for step in after:
            self.run(registry, step)
        late = registry.watch(
            WIDGETS, WatchOptions(label_selector=selector, resource_version=version, allow_bookmarks=False)
        )
        events = events_so_far(live)
        if version:
            assert events_so_far(late) == events
        versions = [int(body(event)["metadata"]["resourceVersion"]) for event in events]
        assert versions == sorted(set(versions))
        for event in events:
            item = body(event)
            name = item["metadata"]["name"]
            assert (name in state) == (event.type != "ADDED")
            if event.type == "DELETED":
                del state[name]
            else:
                state[name] = item
        final = registry.list(WIDGETS, ListOptions(label_selector=selector)).items
        assert list(map(msgspec.json.decode, final)) == [state[name] for name in sorted(state)]
        exact = ListOptions(label_selector=selector, resource_version=version, resource_version_match="Exact")
        if version:
            assert registry.list(WIDGETS, exact).items == page.items


def test_a_watch_of_a_resource_that_is_no_longer_served_ends_behind_its_last_change(registry: Registry) -> None:
    """A subscriber that is told first, and ends the resource on that, keeps the change from nobody."""
    make(registry, "a")
    from_here = WatchOptions(resource_version="1", allow_bookmarks=False)
    registry.register(WIDGETS)
    registry.watch(WIDGETS, from_here, lambda _: registry.unregister(WIDGETS.group_resource))
    watch = registry.watch(WIDGETS, from_here)
    registry.delete(WIDGETS, NS, "a")
    assert [told(event) for event in watch] == [("DELETED", "a")]


def test_a_deletion_tells_of_the_object_with_the_finalizer_that_held_it(registry: Registry) -> None:
    registry.create(WIDGETS, NS, {"metadata": {"name": "a", "finalizers": ["example.com/held"]}})
    registry.delete(WIDGETS, NS, "a")
    watch = registry.watch(WIDGETS, WatchOptions(resource_version="2"))
    registry.patch(WIDGETS, NS, "a", {"metadata": {"finalizers": None}}, MERGE_PATCH)
    (event,) = events_so_far(watch)
    metadata = body(event)["metadata"]
    assert (event.type, metadata["finalizers"], metadata["resourceVersion"]) == ("DELETED", ["example.com/held"], "3")
