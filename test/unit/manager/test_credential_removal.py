"""When the copies of credentials go, and that none is left behind."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from support.credentials import ELSEWHERE, JOB, World
from support.manager import JOBS, namespace_cache, service

from localmodel.api import LocalModelNamespaceCache
from localmodel.api.credentials import copy_name
from localmodel.manager.credentialcopies import REFRESH_SECONDS, RETRY_SECONDS
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.errors import (
    ForbiddenError,
    ServiceUnavailableError,
)
from localmodel.runtime.objects import PersistentVolumeClaim, Secret, ServiceAccount


def test_the_copy_goes_with_the_cache_before_the_finalizer() -> None:
    world = World()
    world.run()
    world.client.delete(world.namespace_cache())
    world.client.actions.clear()
    world.run()
    assert world.copy() is None
    writes = [str(action).partition(" ")[0] for action in world.client.writes if action.kind is not Secret]
    secrets = [index for index, action in enumerate(world.client.writes) if action.kind is Secret]
    assert (secrets[0], writes[-1]) == (0, "update")


def test_the_copy_goes_at_once_when_agents_have_yet_to_clean_up() -> None:
    world = World()
    world.reconcile_node()
    world.report(**{"team-a__iris": "ModelDownloaded"})
    world.run()
    world.client.delete(world.namespace_cache())
    world.run()
    assert world.namespace_cache().is_deleting
    assert world.copy() is None
    world.reads()
    world.run(15)
    assert world.reads() == []


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_copy_goes_when_the_cache_names_nothing_any_more(is_restarted: bool) -> None:
    world = World()
    world.run()
    world.change(serviceAccountName=None)
    if is_restarted:
        world.restart()
    world.run()
    assert world.copy() is None


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_copy_goes_when_the_setting_goes_back(is_restarted: bool) -> None:
    world = World()
    world.run()
    world.configure(JOB)
    if is_restarted:
        world.restart()
    world.run()
    world.reconcile_node()
    assert world.copy() is None
    assert world.local_model_node().spec.local_models[0].service_account_name == "reader"


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_copy_moves_with_the_job_namespace(is_restarted: bool) -> None:
    world = World()
    world.run()
    world.configure(ELSEWHERE)
    if is_restarted:
        world.restart()
    world.run()
    assert world.copy() is None
    assert world.copy("elsewhere") is not None


@pytest.mark.parametrize("verb", ["get", "delete"])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_copy_in_a_former_job_namespace_is_not_forgotten(verb: str, is_restarted: bool) -> None:
    world = World()
    world.run()
    world.configure(ELSEWHERE)
    fault = world.client.faults.fail(ServiceUnavailableError.of("down"), verb=verb, kind=Secret)
    with pytest.raises(ServiceUnavailableError):
        world.run()
    if is_restarted:
        world.restart()
    world.client.faults.clear(fault)
    world.run()
    assert world.copy() is None
    assert world.copy("elsewhere") is not None


def test_credentials_that_fail_do_not_keep_volumes_that_nobody_needs() -> None:
    world = World(service("s", "team-a", of="team-a"))
    world.run()
    assert world.client.find(PersistentVolumeClaim, "iris-gpu", namespace="team-a") is not None
    world.client.delete(world.client.get(InferenceService, "s", namespace="team-a"))
    world.client.faults.fail(ServiceUnavailableError.of("down"), verb="get", kind=ServiceAccount)
    with pytest.raises(ServiceUnavailableError):
        world.run(REFRESH_SECONDS)
    assert world.client.find(PersistentVolumeClaim, "iris-gpu", namespace="team-a") is None


def test_a_former_job_namespace_that_refuses_is_told_and_tried_again() -> None:
    world = World()
    world.run()
    world.configure(ELSEWHERE)
    fault = world.client.faults.fail(ForbiddenError.of("no"), verb="delete", kind=Secret, times=None)
    assert world.run() == RETRY_SECONDS
    assert world.copy("elsewhere") is not None
    assert world.condition()[1] == "CredentialsForbidden"
    world.client.faults.clear(fault)
    world.run(RETRY_SECONDS)
    assert world.copy() is None
    assert world.condition()[1] == "DownloadPending"


def test_the_copy_goes_if_somebody_takes_the_finalizer_away() -> None:
    world = World()
    world.run()
    found = world.namespace_cache()
    found.metadata.finalizers = []
    world.client.delete(world.client.update(found))
    world.run()
    assert world.copy() is None


def test_a_copy_that_may_not_be_removed_when_the_cache_is_gone_is_told() -> None:
    world = World()
    world.run()
    found = world.namespace_cache()
    found.metadata.finalizers = []
    world.client.delete(world.client.update(found))
    world.client.faults.fail(ForbiddenError.of("no"), verb="delete", kind=Secret)
    with capture_logs() as logs:
        world.run()
    (line,) = [line for line in logs if line["event"] == "Copy of credentials is left"]
    assert f"Secret {JOBS}/{copy_name(world.uid)} may not be written" in line["error"]


@pytest.mark.parametrize("verb", ["", "get", "delete", "create"])
def test_the_copy_of_an_earlier_cache_of_the_name_goes(verb: str) -> None:
    world = World()
    world.run()
    found = world.namespace_cache()
    found.metadata.finalizers = []
    world.client.delete(world.client.update(found))
    world.client.create(namespace_cache(serviceAccountName="reader"))
    if verb:
        world.client.faults.fail(ServiceUnavailableError.of("down"), verb=verb, kind=Secret)
        with pytest.raises(ServiceUnavailableError):
            world.run()
    world.run()
    assert world.copy() is None
    world.uid = world.namespace_cache().metadata.uid
    assert world.copied == {"HF_TOKEN": "t-1"}


def test_a_cache_that_names_nothing_is_looked_at_once() -> None:
    world = World(config=JOB)
    for _ in range(3):
        assert world.run() == 0.0
    assert world.reads() == [copy_name(world.uid)]


def test_a_deletion_ends_also_where_copies_may_not_be_looked_for_or_removed() -> None:
    world = World()
    world.run()
    world.client.faults.fail(ForbiddenError.of("no"), verb="delete", kind=Secret, times=None)
    world.client.delete(world.namespace_cache())
    world.run()
    assert world.client.find(LocalModelNamespaceCache, "iris", namespace="team-a") is None
    assert f"Secret {JOBS}/{copy_name(world.uid)}" in world.recorder.expect("CredentialsForbidden").message


def test_with_kserves_role_a_cache_without_credentials_says_nothing_and_ends() -> None:
    world = World(config=JOB)
    world.client.faults.fail(ForbiddenError.of("no"), kind=Secret, times=None)
    world.run()
    assert world.condition("Degraded")[0] == "False"
    world.client.delete(world.namespace_cache())
    world.run()
    assert world.client.find(LocalModelNamespaceCache, "iris", namespace="team-a") is None
