"""Builder: runtimes.md 2.9 no. 130 and 2.10 nos. 139 and 140."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localmodel.runtime.builder import Builder, BuilderError
from localmodel.runtime.controller import Controller, ControllerOptions
from localmodel.runtime.event import CreateEvent
from localmodel.runtime.handler import EnqueueRequestForObject, EnqueueRequestForOwner, EnqueueRequestsFromMapFunc
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, Job, Object, ObjectMeta, OwnerReference, Pod, Secret
from localmodel.runtime.predicate import GenerationChanged, LabelChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.source import Channel, Kind
from localmodel.runtime.testing import FakeClient
from localmodel.runtime.workqueue import RateLimitingQueue


class Declaring(Reconciler):
    """Declares what the test passes."""

    def __init__(self, declare: Callable[[Builder], object]) -> None:
        self.declare = declare

    def setup(self, builder: Builder) -> None:
        self.declare(builder)

    def reconcile(self, request: Request) -> Result | None:
        """Not run here."""


@pytest.fixture
def manager() -> Manager:
    return Manager(FakeClient(), ManagerOptions(metrics_addr="0", health_probe_addr="0"))


def build(manager: Manager, declare: Callable[[Builder], object], **options: Any) -> Controller:
    return manager.add_reconciler(Declaring(declare), ControllerOptions(**options))


def kinds(controller: Controller) -> list[tuple[type, type, tuple[type, ...]]]:
    """Kind, handler type and predicate types of each kind that is watched."""
    return [
        (source.kind, type(source._handler), tuple(type(predicate) for predicate in source._predicates))
        for source in controller.sources
        if isinstance(source, Kind)
    ]


def test_for_owns_and_watches_become_sources_with_their_handlers(manager: Manager) -> None:
    mapped = EnqueueRequestsFromMapFunc[Secret](lambda secret: [])
    controller = build(manager, lambda b: b.for_(Job).owns(ConfigMap).watches(Secret, mapped))

    assert kinds(controller) == [
        (Job, EnqueueRequestForObject, ()),
        (ConfigMap, EnqueueRequestForOwner, ()),
        (Secret, EnqueueRequestsFromMapFunc, ()),
    ]


@pytest.mark.parametrize("match_every_owner", [False, True])
def test_133_owns_matches_the_controlling_owner_or_every_owner(manager: Manager, match_every_owner: bool) -> None:
    controller = build(manager, lambda b: b.for_(Job).owns(ConfigMap, match_every_owner=match_every_owner))
    handler = controller.sources[1]._handler
    queue: RateLimitingQueue[Request] = RateLimitingQueue()
    owners = [
        OwnerReference(api_version="batch/v1", kind="Job", name="owns", uid="1"),
        OwnerReference(api_version="batch/v1", kind="Job", name="controls", uid="2", controller=True),
    ]
    child = ConfigMap(metadata=ObjectMeta(name="child", namespace="ns", owner_references=owners))
    handler.handle(CreateEvent(child), queue)

    assert len(queue) == (2 if match_every_owner else 1)
    queue.shut_down()


def test_the_default_name_is_the_kind_in_lower_case(manager: Manager) -> None:
    assert build(manager, lambda b: b.for_(ConfigMap)).name == "configmap"


def test_130_two_controllers_of_one_name_are_refused(manager: Manager) -> None:
    build(manager, lambda b: b.for_(Job))
    with pytest.raises(ValueError, match="controller named job already"):
        build(manager, lambda b: b.for_(Job))

    assert build(manager, lambda b: b.named("other").for_(Job)).name == "other"


def test_130_a_name_may_be_shared_where_its_validation_is_skipped(manager: Manager) -> None:
    build(manager, lambda b: b.for_(Job))

    assert build(manager, lambda b: b.for_(Job), skip_name_validation=True).name == "job"


def test_130_names_are_compared_among_controllers_that_share_their_metrics(manager: Manager) -> None:
    """Not in the process, as controller-runtime does: there all controllers share their metrics."""
    options = ManagerOptions(metrics_addr="0", health_probe_addr="0")
    build(manager, lambda b: b.for_(Job))
    assert build(Manager(FakeClient(), options), lambda b: b.for_(Job)).name == "job"

    with pytest.raises(ValueError, match="controller named job already"):
        Controller("job", Declaring(lambda b: b), cache=manager.cache, metrics=manager.metrics)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda b: b, "must watch something"),
        (lambda b: b.named("x"), "must watch something"),
        (lambda b: b.for_(Job).for_(Pod), "called with Job already"),
        (lambda b: b.named("x").owns(ConfigMap), "owns needs for_"),
        (lambda b: b.watches(Secret, EnqueueRequestForObject()), "without for_ needs a name"),
    ],
)
def test_139_an_incomplete_declaration_is_refused(manager: Manager, declare: Any, message: str) -> None:
    with pytest.raises(BuilderError, match=message):
        build(manager, declare)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda b: b.for_(ConfigMap()), "is no kind: give a class"),
        (lambda b: b.for_(Object), "is no kind: give a class made from Object, with a mapping"),
        (lambda b: b.for_(Job).watches(Pod, lambda pod: []), "is no handler of Pod: .* EnqueueRequestsFromMapFunc"),
        (lambda b: b.for_(Job, lambda job: True), "is no predicate of Job: .* new_predicate_funcs"),
        (lambda b: b.for_(Job).with_event_filter(GenerationChanged), "is no predicate of Job: .* not its class"),
    ],
)
def test_what_would_fail_at_every_event_is_refused(manager: Manager, declare: Any, message: str) -> None:
    with pytest.raises(BuilderError, match=message):
        build(manager, declare)


def test_139_a_name_and_a_watch_are_enough(manager: Manager) -> None:
    controller = build(manager, lambda b: b.named("x").watches(Secret, EnqueueRequestForObject()))

    assert kinds(controller) == [(Secret, EnqueueRequestForObject, ())]


def test_140_global_predicates_apply_to_all_kinds_and_others_to_their_own(manager: Manager) -> None:
    channel = Channel(EnqueueRequestForObject())
    controller = build(
        manager,
        lambda b: (
            b.for_(Job, GenerationChanged())
            .owns(ConfigMap)
            .watches(Secret, EnqueueRequestForObject())
            .watches_source(channel)
            .with_event_filter(LabelChanged())
        ),
    )

    assert [predicates for _, _, predicates in kinds(controller)] == [
        (LabelChanged, GenerationChanged),
        (LabelChanged,),
        (LabelChanged,),
    ]
    assert channel._predicates == ()


def test_the_reconciler_gets_its_clients_clock_and_recorder(manager: Manager) -> None:
    reconciler = Declaring(lambda b: b.for_(Job))
    manager.add_reconciler(reconciler)

    assert reconciler.client is manager.client
    assert reconciler.live is manager.live
    assert reconciler.clock is manager.clock
    assert reconciler.recorder


def test_options_come_from_the_manager_and_may_be_replaced_in_setup(manager: Manager) -> None:
    assert build(manager, lambda b: b.for_(Job), workers=3).options.workers == 3
    replaced = build(manager, lambda b: b.for_(Pod).with_options(ControllerOptions(workers=5)), workers=3)
    assert replaced.options.workers == 5


def test_a_controller_without_options_of_its_own_has_those_of_the_manager() -> None:
    options = ManagerOptions(metrics_addr="0", health_probe_addr="0", controller=ControllerOptions(workers=7))
    manager = Manager(FakeClient(), options)

    assert manager.add_reconciler(Declaring(lambda b: b.for_(Job))).options.workers == 7


def test_an_async_reconcile_is_refused(manager: Manager) -> None:
    class Waiting(Reconciler):
        def setup(self, builder: Builder) -> None:
            builder.for_(Job)

        async def reconcile(self, request: Request) -> Result | None:  # type: ignore[override]
            return None

    with pytest.raises(BuilderError, match=r"Waiting\.reconcile is async: write def"):
        manager.add_reconciler(Waiting())
