"""Several finalizers of one kind (controller-runtime's pkg/finalizer)."""

from __future__ import annotations

import pytest

from localmodel.runtime.errors import TerminalError
from localmodel.runtime.finalizer import FinalizerError, Finalizers
from localmodel.runtime.objects import Job, JobCondition, ObjectMeta
from localmodel.runtime.testing import FakeClient

BUCKET, USER = "example.com/bucket", "example.com/user"


def job(*finalizers: str) -> Job:
    return Job(metadata=ObjectMeta(name="a", namespace="ns", finalizers=list(finalizers)))


def deleted(*finalizers: str) -> Job:
    """As a reconciler gets it while it is being deleted."""
    client = FakeClient(job("example.com/someone-else", *finalizers))
    client.delete(job())
    return client.get(Job, "a", namespace="ns")


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def finalizers(ran: list[str]) -> Finalizers[Job]:
    finalizers: Finalizers[Job] = Finalizers()
    finalizers.register(BUCKET, lambda obj: ran.append(f"bucket of {obj.name}"))
    finalizers.register(USER, lambda obj: ran.append(f"user of {obj.name}"))
    return finalizers


def test_a_living_object_gets_the_finalizers_it_lacks(finalizers: Finalizers[Job], ran: list[str]) -> None:
    obj = job(USER)
    result = finalizers.finalize(obj)

    assert obj.metadata.finalizers == [USER, BUCKET]
    assert (result.updated, result.status_updated) == (True, False)
    assert result.outcomes == {BUCKET: "added", USER: "present"}
    assert not finalizers.finalize(obj).updated
    assert ran == []


def test_a_deleted_object_is_cleaned_up_and_released(finalizers: Finalizers[Job], ran: list[str]) -> None:
    obj = deleted(BUCKET)
    result = finalizers.finalize(obj)

    assert ran == ["bucket of a"], "only what is still due"
    assert obj.metadata.finalizers == ["example.com/someone-else"]
    assert result.updated
    assert result.outcomes == {BUCKET: "finalized", USER: "absent"}
    result.raise_failure()

    again = finalizers.finalize(obj)
    assert not again.updated
    assert ran == ["bucket of a"]


def test_a_cleanup_that_fails_keeps_its_finalizer_and_stops_no_other(
    finalizers: Finalizers[Job], ran: list[str]
) -> None:
    def fail(obj: Job) -> None:
        obj.status.conditions.append(JobCondition(type="Stuck", status="True"))
        raise TerminalError("the bucket is locked")

    failing: Finalizers[Job] = Finalizers()
    failing.register(BUCKET, fail)
    failing.register(USER, lambda obj: ran.append("user"))
    obj = deleted(BUCKET, USER)
    result = failing.finalize(obj)

    assert ran == ["user"]
    assert obj.metadata.finalizers == ["example.com/someone-else", BUCKET]
    assert result.outcomes == {BUCKET: "failed", USER: "finalized"}
    assert (result.updated, result.status_updated) == (True, True)
    with pytest.raises(TerminalError, match="the bucket is locked"):
        result.raise_failure()


def test_several_failures_are_raised_as_one() -> None:
    def fail(obj: Job) -> None:
        raise TerminalError("locked")

    finalizers: Finalizers[Job] = Finalizers()
    finalizers.register(BUCKET, fail)
    finalizers.register(USER, fail)
    result = finalizers.finalize(deleted(BUCKET, USER))

    assert (result.updated, result.status_updated) == (False, False)
    with pytest.raises(FinalizerError, match="of Job ns/a failed, they stay on it: example") as raised:
        result.raise_failure()
    assert set(raised.value.errors) == {BUCKET, USER}


def test_a_key_is_registered_once_and_must_be_acceptable(finalizers: Finalizers[Job]) -> None:
    with pytest.raises(ValueError, match=r"there is a finalizer example.com/user already"):
        finalizers.register(USER, lambda obj: None)
    with pytest.raises(ValueError, match="'not a name' is not a name for a finalizer"):
        finalizers.register("not a name", lambda obj: None)
