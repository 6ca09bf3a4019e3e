"""The copies of credentials in the job namespace: when they are made and renewed."""

from __future__ import annotations

from typing import Any

import pytest
from support.credentials import JOB, OWN, World, secret
from support.manager import JOBS, Cluster, cache, config_map, group, namespace_cache, node

from localmodel.api import LocalModelNamespaceCache
from localmodel.api.credentials import copy_name
from localmodel.manager.credentialcopies import REFRESH_SECONDS
from localmodel.runtime.errors import (
    ConflictError,
)
from localmodel.runtime.objects import Secret, ServiceAccount


def test_the_credentials_of_an_account_are_copied_and_told() -> None:
    world = World()
    world.run()
    assert world.copied == {"HF_TOKEN": "t-1"}
    event = world.recorder.expect("CredentialsCopied", type_="Normal")
    assert event.message == (
        f"The credentials of ServiceAccount team-a/reader are copied to Secret {JOBS}/{copy_name(world.uid)}"
    )


def test_the_storage_key_is_copied() -> None:
    world = World(secret("storage-config", s3="{}", other="x"), storage={"key": "s3"})
    world.run()
    assert world.copied == {"s3": "{}"}


def test_the_entries_of_nodes_name_the_copy_and_are_there_at_once() -> None:
    world = World()
    world.reconcile_node()
    (entry,) = world.local_model_node().spec.local_models
    assert entry.service_account_name == f"{copy_name(world.uid)}/reader"


def test_a_copy_is_made_only_for_a_cache_with_our_finalizer() -> None:
    world = World()
    world.client.faults.fail(ConflictError.of("later"), verb="update", kind=LocalModelNamespaceCache)
    with pytest.raises(ConflictError):
        world.run()
    assert world.copy() is None


@pytest.mark.parametrize("config", [OWN, JOB])
def test_nothing_is_copied_for_a_cache_of_the_cluster(config: str) -> None:
    cluster = Cluster(node(), group(), cache(serviceAccountName="reader"), config_map(config))
    cluster.reconcile_cache()
    cluster.reconcile_node()
    assert [a for a in cluster.client.actions if a.kind in (Secret, ServiceAccount)] == []
    assert cluster.local_model_node().spec.local_models[0].service_account_name == "reader"


def test_nothing_is_copied_where_the_credentials_are_in_the_job_namespace() -> None:
    world = World(config=JOB)
    world.run()
    assert world.copy() is None


def test_two_caches_of_one_account_have_a_copy_each() -> None:
    world = World(namespace_cache("rose", serviceAccountName="reader"))
    world.run()
    world.reconcile_cache("rose", "team-a")
    assert len(world.client.list(Secret, namespace=JOBS)) == 2


def test_a_new_credential_is_copied_within_five_minutes() -> None:
    world = World()
    assert world.run() == REFRESH_SECONDS < 300
    world.rotate("t-2")
    assert 0 < world.run(REFRESH_SECONDS - 1) <= 1
    assert world.copied == {"HF_TOKEN": "t-1"}
    world.run(1)
    assert world.copied == {"HF_TOKEN": "t-2"}
    assert world.recorder.reasons.count("CredentialsCopied") == 2


def test_credentials_are_read_when_the_cache_changes() -> None:
    world = World()
    world.run()
    world.rotate("t-2")
    world.change(priority=1)
    world.run()
    assert world.copied == {"HF_TOKEN": "t-2"}


def test_reports_of_nodes_cost_no_reading_of_secrets() -> None:
    world = World()
    world.reconcile_node()
    world.run()
    world.reads()
    for status in ("ModelDownloading", "ModelDownloaded"):
        world.report(team_a__iris=status, **{"team-a__iris": status})
        world.run()
    assert world.reads() == []


def test_nothing_is_written_when_nothing_changed() -> None:
    world = World()
    world.run()
    world.run()
    before = len(world.client.writes)
    world.run(REFRESH_SECONDS)
    world.restart()
    world.run()
    assert len(world.client.writes) == before


def test_another_account_takes_the_place_of_the_first() -> None:
    world = World(secret("storage-config", s3="{}"))
    world.run()
    world.change(storage={"key": "s3"})
    world.run()
    assert world.copied == {"s3": "{}"}
    found = world.copy()
    assert found is not None
    assert "localmodel.kserve.io/credential-sources" not in found.metadata.annotations


def test_what_somebody_did_to_the_copy_is_mended() -> None:
    world = World()
    world.run()
    found = world.copy()
    assert found is not None
    found.data = {}
    found.metadata.annotations = {"note": "n"}
    world.client.update(found)
    world.run(REFRESH_SECONDS)
    mended = world.copy()
    assert mended is not None
    assert world.copied == {"HF_TOKEN": "t-1"}
    assert mended.metadata.annotations["note"] == "n"


@pytest.mark.parametrize("odd", [{"immutable": True}, {"type": "example.com/other"}])
def test_a_copy_that_cannot_be_updated_is_made_anew(odd: dict[str, Any]) -> None:
    world = World()
    metadata = {
        "name": copy_name(world.uid),
        "namespace": JOBS,
        "labels": {"localmodel.kserve.io/cache-uid": world.uid},
    }
    old = world.client.create(Secret.from_dict({"metadata": metadata, "type": "Opaque", **odd}))
    world.run()
    made = world.copy()
    assert made is not None
    assert (made.immutable, made.type, made.metadata.uid == old.metadata.uid) == (None, "Opaque", False)
    assert world.copied == {"HF_TOKEN": "t-1"}


def test_an_immutable_secret_is_copied_like_any_other() -> None:
    world = World()
    found = world.client.get(Secret, "hf", namespace="team-a")
    found.immutable = True
    world.client.update(found)
    world.run()
    made = world.copy()
    assert made is not None
    assert made.immutable is None
