"""A directory outside the cluster goes before its object does."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.examples import load

from localmodel.runtime import ConflictError, ObjectMeta, Reconciler, Request, TerminalError
from localmodel.runtime.testing import FakeClient, wire

KEY = Request("default", "a")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("02_finalizer")


@pytest.fixture
def reconciler(example: ModuleType, fake_client: FakeClient, tmp_path: Path) -> Reconciler:
    created: Reconciler = wire(example.BucketReconciler(tmp_path), fake_client)
    return created


def bucket(example: ModuleType, name: str = "photos") -> Any:
    return example.Bucket(metadata=ObjectMeta(name="a", namespace="default"), spec={"name": name})


def test_the_finalizer_is_there_before_the_directory(
    example: ModuleType, reconciler: Reconciler, fake_client: FakeClient, tmp_path: Path
) -> None:
    fake_client.create(bucket(example))
    fake_client.faults.fail(ConflictError.of("somebody was faster"), verb="update")
    with pytest.raises(ConflictError):
        reconciler.reconcile(KEY)
    assert list(tmp_path.iterdir()) == []

    reconciler.reconcile(KEY)
    assert fake_client.get(example.Bucket, "a", namespace="default").metadata.finalizers == [example.FINALIZER]
    assert (tmp_path / "default" / "photos").is_dir()


def test_a_deleted_bucket_stays_until_its_directory_is_gone(
    example: ModuleType, reconciler: Reconciler, fake_client: FakeClient, tmp_path: Path
) -> None:
    stored = fake_client.create(bucket(example))
    reconciler.reconcile(KEY)
    (tmp_path / "default" / "photos" / "one.jpg").touch()

    fake_client.delete(stored)
    assert fake_client.get(example.Bucket, "a", namespace="default").is_deleting
    reconciler.reconcile(KEY)
    assert not (tmp_path / "default" / "photos").exists()
    assert fake_client.find(example.Bucket, "a", namespace="default") is None
    assert reconciler.reconcile(KEY) is None


def test_cleaning_up_may_be_done_twice(
    example: ModuleType, reconciler: Reconciler, fake_client: FakeClient, tmp_path: Path
) -> None:
    stored = fake_client.create(bucket(example))
    reconciler.reconcile(KEY)
    fake_client.delete(stored)
    fake_client.faults.fail(ConflictError.of("somebody was faster"), verb="update")
    with pytest.raises(ConflictError):
        reconciler.reconcile(KEY)
    assert not (tmp_path / "default" / "photos").exists()
    reconciler.reconcile(KEY)
    assert fake_client.find(example.Bucket, "a", namespace="default") is None


def test_a_name_that_leads_elsewhere_is_not_tried_again(
    example: ModuleType, reconciler: Reconciler, fake_client: FakeClient
) -> None:
    fake_client.create(bucket(example, "../../etc"))
    with pytest.raises(TerminalError, match="without a slash"):
        reconciler.reconcile(KEY)
