"""No value of a credential is told by the manager, and errors of copies say what they can without."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from support.credentials import World
from support.manager import JOBS

from localmodel.api.credentials import copy_name
from localmodel.runtime.errors import (
    ApiError,
    ForbiddenError,
    InvalidError,
    ServiceUnavailableError,
    TransportError,
)
from localmodel.runtime.objects import ObjectMeta, Secret, ServiceAccount


@pytest.mark.parametrize(
    "error",
    [
        InvalidError.of("data: Invalid value: s-e-c-r-e-t"),
        TransportError("lost"),
        ForbiddenError.of("no"),
        ForbiddenError.of("admission webhook denied the request: s-e-c-r-e-t is a token"),
        None,
    ],
)
def test_no_value_is_in_logs_events_conditions_or_errors(error: Exception | None) -> None:
    world = World()
    world.rotate("s-e-c-r-e-t")
    if error is not None:
        world.client.faults.fail(error, verb="create", kind=Secret)
    told = []
    with capture_logs() as logs:
        try:
            world.run()
        except (ApiError, TransportError) as raised:
            told.append(f"{raised} {raised.__cause__} {raised.__suppress_context__}")
    found = world.namespace_cache()
    told += [str(logs), str(found.status.to_dict()), *world.recorder.lines]
    assert [text for text in told if "s-e-c-r-e-t" in text or found_in(world, text)] == []


def found_in(world: World, text: str) -> bool:
    """Whether the encoded token is in it."""
    return world.client.get(Secret, "hf", namespace="team-a").data["HF_TOKEN"] in text


def test_an_error_of_a_write_says_when_to_come_back() -> None:
    world = World()
    refused = ServiceUnavailableError.of("quoted", details={"retryAfterSeconds": 7})
    world.client.faults.fail(refused, verb="create", kind=Secret)
    with pytest.raises(ServiceUnavailableError) as raised:
        world.run()
    assert raised.value.retry_after == 7
    assert str(raised.value) == f"Secret {JOBS}/{copy_name(world.uid)} cannot be written: 503 ServiceUnavailable"


def test_the_copys_metadata_is_ours_alone() -> None:
    world = World()
    found = world.client.get(ServiceAccount, "reader", namespace="team-a")
    found.metadata = ObjectMeta.from_dict(found.metadata.to_dict() | {"annotations": {"iam.gke.io/x": "y"}})
    world.client.update(found)
    world.run()
    made = world.copy()
    assert made is not None
    assert sorted(made.metadata.annotations) == [
        "localmodel.kserve.io/cache",
        "localmodel.kserve.io/credential-sources",
    ]
