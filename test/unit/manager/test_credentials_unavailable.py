"""Credentials that cannot be had, or cannot be had any more: what the cache says, and what becomes of the copy."""

from __future__ import annotations

import pytest
from support.credentials import World, secret
from support.manager import JOBS

from localmodel.api.credentials import copy_name
from localmodel.manager.credentialcopies import REFRESH_SECONDS, RETRY_SECONDS
from localmodel.runtime.errors import (
    ForbiddenError,
    ServiceUnavailableError,
)
from localmodel.runtime.objects import Object, Secret, ServiceAccount


def test_without_the_right_the_cache_says_what_to_do_and_the_entry_stays() -> None:
    world = World()
    fault = world.client.faults.fail(ForbiddenError.of("no"), verb="get", kind=ServiceAccount, times=None)
    world.reconcile_node()
    assert world.run() == RETRY_SECONDS
    state, reason, message = world.condition()
    assert (state, reason) == ("False", "CredentialsForbidden")
    assert message.startswith("ServiceAccount team-a/reader may not be read: give the manager `get` on it by a Role")
    assert world.recorder.reasons.count("CredentialsForbidden") == 1
    assert world.entries() == ["team-a/iris"]
    world.client.faults.clear(fault)
    world.run(RETRY_SECONDS)
    assert world.copied == {"HF_TOKEN": "t-1"}
    assert world.condition()[1] == "DownloadPending"


def test_a_condition_that_stays_is_told_once_and_costs_no_write() -> None:
    world = World()
    world.remove()
    world.run()
    before = len(world.client.writes)
    for _ in range(3):
        assert world.run(RETRY_SECONDS) == RETRY_SECONDS
    assert len(world.client.writes) == before
    assert world.recorder.reasons.count("CredentialsNotFound") == 1


@pytest.mark.parametrize(("kind", "name"), [(Secret, "hf"), (ServiceAccount, "reader")])
def test_a_credential_that_is_deleted_is_revoked(kind: type[Object], name: str) -> None:
    world = World()
    world.run()
    world.remove(kind, name)
    world.run(REFRESH_SECONDS)
    assert world.copy() is None
    assert world.condition()[1] == "CredentialsNotFound"


def test_a_right_that_is_taken_away_revokes_too() -> None:
    world = World()
    world.run()
    world.client.faults.fail(ForbiddenError.of("no"), verb="get", kind=ServiceAccount)
    world.run(REFRESH_SECONDS)
    assert world.copy() is None


def test_a_model_that_is_everywhere_stays_ready_without_its_credentials() -> None:
    world = World()
    world.reconcile_node()
    world.report(**{"team-a__iris": "ModelDownloaded"})
    world.remove()
    world.run()
    assert world.condition()[:2] == ("True", "AllCopiesAvailable")
    assert world.condition("Degraded")[:2] == ("True", "CredentialsNotFound")
    assert world.entries() == ["team-a/iris"]


def test_an_api_server_that_fails_revokes_nothing() -> None:
    world = World()
    world.run()
    world.client.faults.fail(ServiceUnavailableError.of("down"), verb="get", kind=ServiceAccount)
    with pytest.raises(ServiceUnavailableError):
        world.run(REFRESH_SECONDS)
    assert world.copied == {"HF_TOKEN": "t-1"}
    assert world.condition("Degraded")[1] == "CredentialsFailed"


def test_a_foreign_secret_of_the_name_is_neither_taken_nor_removed() -> None:
    world = World()
    world.client.create(secret(copy_name(world.uid), namespace=JOBS, mine="x"))
    world.run()
    assert world.copied == {"mine": "x"}
    assert world.condition()[1] == "CredentialsConflict"
    world.change(serviceAccountName=None)
    world.run()
    world.client.delete(world.namespace_cache())
    world.run()
    assert world.copied == {"mine": "x"}


def test_a_copy_that_is_being_deleted_is_waited_for() -> None:
    world = World()
    world.run()
    found = world.copy()
    assert found is not None
    found.metadata.finalizers = ["example.com/hold"]
    world.client.delete(world.client.update(found))
    world.rotate("t-2")
    assert world.run(REFRESH_SECONDS) == RETRY_SECONDS
    assert world.condition()[1:] == (
        "CredentialsConflict",
        f"Secret {JOBS}/{copy_name(world.uid)} is being deleted: waiting until it is gone",
    )


@pytest.mark.parametrize("verb", ["create", "get"])
def test_a_manager_without_its_role_names_it(verb: str) -> None:
    world = World(storage={"parameters": {}})  # the default account, which is not there: no other Secret is read
    world.client.faults.fail(ForbiddenError.of("no"), verb=verb, kind=Secret, times=None)
    world.run()
    state, reason, message = world.condition()
    assert (state, reason) == ("False", "CredentialsForbidden")
    assert f"the Role kserve-localmodel-manager-credentials-role in {JOBS}" in message
