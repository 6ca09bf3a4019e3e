"""The copies of credentials in the job namespace: when they are made, renewed and removed."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.manager import JOBS, Cluster, agent_pod, cache, config_map, group, namespace_cache, node, service

from localmodel.api import LocalModelNamespaceCache
from localmodel.api.credentials import copied_key, copy_name
from localmodel.manager.credentialcopies import REFRESH_SECONDS, RETRY_SECONDS
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    ServiceUnavailableError,
    TransportError,
)
from localmodel.runtime.objects import ConfigMap, Object, ObjectMeta, PersistentVolumeClaim, Secret, ServiceAccount

OWN = '{"credentialNamespace": "own"}'
ELSEWHERE = '{"credentialNamespace": "own", "jobNamespace": "elsewhere"}'
JOB = "{}"


def secret(name: str = "hf", *, namespace: str = "team-a", **data: str) -> Secret:
    keys = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return Secret.from_dict({"metadata": {"name": name, "namespace": namespace}, "type": "Opaque", "data": keys})


def account(*secrets: str) -> ServiceAccount:
    metadata = {"name": "reader", "namespace": "team-a"}
    return ServiceAccount.from_dict({"metadata": metadata, "secrets": [{"name": name} for name in secrets]})


class World(Cluster):
    """One LocalModelNamespaceCache that names the ServiceAccount reader, which has a token of Hugging Face."""

    def __init__(self, *objects: Object, config: str = OWN, **spec: Any) -> None:
        super().__init__(
            node(),
            agent_pod(),
            group(),
            account("hf"),
            secret(HF_TOKEN="t-1"),
            namespace_cache(**(spec or {"serviceAccountName": "reader"})),
            config_map(config),
            *objects,
        )
        self.uid = self.namespace_cache().metadata.uid

    def run(self, seconds: float = 1.0) -> float:
        """Reconciles once, that much later; seconds until it shall be again."""
        self.clock.advance(seconds)
        result = self.reconcile_cache(namespace="team-a")
        return result.requeue_after if result is not None else 0.0

    def copy(self, namespace: str = JOBS) -> Secret | None:
        return self.client.find(Secret, copy_name(self.uid), namespace=namespace)

    @property
    def copied(self) -> dict[str, str] | None:
        """Of the copy in the job namespace; the token under its own name."""
        found = self.copy()
        if found is None:
            return None
        names = {copied_key("hf", "HF_TOKEN"): "HF_TOKEN"}
        return {names.get(key, key): base64.b64decode(value).decode() for key, value in found.data.items()}

    def configure(self, local_model: str) -> None:
        found = self.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
        found.data["localModel"] = local_model
        self.client.update(found)

    def change(self, **spec: Any) -> None:
        found = self.namespace_cache().to_dict()
        found["spec"] = {name: value for name, value in (found["spec"] | spec).items() if value is not None}
        self.client.update(LocalModelNamespaceCache.from_dict(found))

    def rotate(self, token: str) -> None:
        found = self.client.get(Secret, "hf", namespace="team-a")
        found.data = secret(HF_TOKEN=token).data
        self.client.update(found)

    def remove(self, kind: type[Object] = Secret, name: str = "hf") -> None:
        self.client.delete(self.client.get(kind, name, namespace="team-a"))

    def condition(self, type_: str = "Ready") -> tuple[str, str, str]:
        found = find_status_condition(self.namespace_cache().status.conditions, type_)
        assert found is not None
        return found.status, found.reason, found.message

    def reads(self) -> list[str]:
        """Of credentials, since the last call."""
        found = [a for a in self.client.actions if a.verb == "get" and a.kind in (Secret, ServiceAccount)]
        self.client.actions.clear()
        return [action.name for action in found]

    def restart(self) -> None:
        self.namespace_caches = self.wired(type(self.namespace_caches)(self.settings))


# made and renewed -----------------------------------------------------------------------------------------------------


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


# what cannot be had ---------------------------------------------------------------------------------------------------


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


# removed --------------------------------------------------------------------------------------------------------------


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


# values ---------------------------------------------------------------------------------------------------------------


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
