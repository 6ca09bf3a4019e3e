"""What is told of the containers of download jobs."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from support.manager import JOBS, Cluster, cache, config_map, namespace_cache

from localmodel.api import ClusterStorageContainer, LocalModelCache
from localmodel.manager.containers import SECRET_CHECK_SECONDS, ClusterStorageContainerReconciler
from localmodel.manager.storagecontainers import SecretReference, secret_references
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.errors import ForbiddenError, ServiceUnavailableError
from localmodel.runtime.objects import Object, Secret
from localmodel.runtime.reconcile import Request, Result

HF = {"prefix": "hf://"}


def container(
    name: str, *formats: dict[str, str], workload: str = "localModelDownloadJob", disabled: bool = False, **of: Any
) -> ClusterStorageContainer:
    return ClusterStorageContainer.from_dict(
        {
            "metadata": {"name": name},
            "spec": {
                "container": {"image": name, **of},
                "supportedUriFormats": list(formats or (HF,)),
                "workloadType": workload,
            },
            "disabled": disabled,
        }
    )


def with_secret(name: str = "a", *, key: str = "HF_TOKEN", **reference: Any) -> ClusterStorageContainer:
    source = {"secretKeyRef": {"name": "hf-secret", "key": key, **reference}}
    return container(name, env=[{"name": "HF_TOKEN", "valueFrom": source}])


def secret(*keys: str, name: str = "hf-secret", namespace: str = JOBS) -> Secret:
    return Secret.from_dict({"metadata": {"name": name, "namespace": namespace}, "data": dict.fromkeys(keys, "eA==")})


class World(Cluster):
    """A cluster with the reconciler, and its metrics."""

    def __init__(self, *objects: Object) -> None:
        super().__init__(*objects)
        self.registry = CollectorRegistry()
        self.containers = self.wired(ClusterStorageContainerReconciler(self.settings, registry=self.registry))

    def check(self, *names: str) -> Result | None:
        """Reconciles the containers, all if none is named; the last result."""
        result = None
        for name in names or [found.name for found in self.client.list(ClusterStorageContainer)]:
            result = self.containers.reconcile(Request("", name))
        return result

    @property
    def told(self) -> list[tuple[str, str]]:
        """Container and reason of each event."""
        return [(event.object.name, event.reason) for event in self.recorder.events]

    def metric(self, name: str, reason: str) -> float | None:
        labels = {"container": name, "reason": reason}
        return self.registry.get_sample_value("localmodel_storage_container_problems", labels)


def told(*objects: Object) -> list[tuple[str, str]]:
    world = World(*objects)
    world.check()
    return world.told


# what is checked ------------------------------------------------------------------------------------------------------


def test_a_good_container_is_left_alone() -> None:
    world = World(container("a"), cache())
    assert world.check() is None
    assert world.told == []
    assert world.client.writes == []
    assert world.metric("a", "ContainersOverlap") == 0


@pytest.mark.parametrize("other", [{"disabled": True}, {"workload": "initContainer"}, {"workload": ""}])
def test_a_container_that_is_not_for_downloads_is_not_looked_at(other: dict[str, Any]) -> None:
    assert told(container("a", {"regex": "("}, **other), container("b")) == []


# formats --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regex", ["(", "a{1001}", "*", "(?=lookaround)", r"(back)\1", "(" * 5000])
def test_a_regex_that_cannot_be_read_is_told(regex: str) -> None:
    world = World(container("a", HF, {"regex": regex}))
    world.check()
    assert world.told == [("a", "InvalidUriFormat")]
    assert len(world.recorder.events[0].message) < 1024
    assert world.metric("a", "InvalidUriFormat") == 1


def test_the_event_quotes_the_regex() -> None:
    world = World(container("a", {"regex": "s3://("}))
    world.check()
    event = world.recorder.expect("InvalidUriFormat", type_="Warning")
    assert event.message == (
        "supportedUriFormats: 's3://(' is not a regular expression of RE2 (missing ): s3://(): correct it. "
        "Until then it fits no URI: what it is meant for is downloaded by another container that fits, or by the image "
        "of downloads"
    )


def test_a_regex_beside_a_prefix_is_never_looked_at() -> None:
    assert told(container("a", {"prefix": "hf://", "regex": "("})) == []


# overlaps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ({"prefix": "hf://"}, {"prefix": "hf://"}, "URIs that start with 'hf://'"),
        ({"prefix": "hf://"}, {"prefix": "hf://org/"}, "URIs that start with 'hf://org/'"),
        ({"prefix": "hf://org/"}, {"prefix": "hf://"}, "URIs that start with 'hf://org/'"),
        ({"regex": "blob"}, {"regex": "blob"}, "URIs that match 'blob'"),
    ],
)
def test_the_later_of_two_that_overlap_is_told_who_wins_d53(
    first: dict[str, str], second: dict[str, str], shared: str
) -> None:
    world = World(container("b", first), container("c", second))
    world.check()
    assert world.told == [("c", "ContainersOverlap")]
    assert world.recorder.events[0].message.startswith(
        f"ClusterStorageContainer b downloads {shared} as well and wins, being the first by name"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"prefix": "hf://a"}, {"prefix": "hf://b"}),
        ({"prefix": "hf://"}, {"regex": "hf"}),
        ({"regex": "hf"}, {"regex": "hf:"}),
        ({}, {}),
        ({"regex": "("}, {"regex": "("}),
    ],
)
def test_what_cannot_be_decided_by_the_formats_is_no_overlap(first: dict[str, str], second: dict[str, str]) -> None:
    assert ("b", "ContainersOverlap") not in told(container("a", first), container("b", second))


def test_a_format_behind_one_that_cannot_be_read_counts() -> None:
    assert ("b", "ContainersOverlap") in told(container("a", {"regex": "("}, HF), container("b", HF), cache())


def test_a_cache_that_both_fit_shows_an_overlap() -> None:
    world = World(
        container("a", {"regex": "org"}),
        container("b", HF),
        cache("other", sourceModelUri="hf://o/m"),
        cache("second", sourceModelUri="hf://org/n"),
        namespace_cache("third", sourceModelUri="hf://org/o"),
    )
    world.check()
    assert world.told == [("b", "ContainersOverlap")]
    assert "downloads 'hf://org/n' of LocalModelCache second as well" in world.recorder.events[0].message


def test_a_cache_that_is_being_deleted_shows_nothing() -> None:
    world = World(container("a", {"regex": "org"}), container("b", HF), cache(sourceModelUri="hf://org/n"))
    world.reconcile_cache()
    world.client.delete(world.cache())
    assert world.client.get(LocalModelCache, "iris").is_deleting
    world.check()
    assert ("b", "ContainersOverlap") not in world.told


def test_another_cache_that_shows_the_same_overlap_is_no_new_event() -> None:
    world = World(container("a", {"regex": "org"}), container("b", HF), cache("z", sourceModelUri="hf://org/z"))
    world.check()
    world.client.create(cache("a", sourceModelUri="hf://org/a"))
    world.check()
    assert len(world.told) == 1


# mounts ---------------------------------------------------------------------------------------------------------------


def test_mounts_that_a_job_replaces_are_told_d53() -> None:
    mounts = [{"name": "certs", "mountPath": "/certs"}, {"name": "tmp", "mountPath": "/tmp"}]
    world = World(container("a", volumeMounts=mounts))
    world.check()
    assert "certs, tmp" in world.recorder.expect("VolumeMountsIgnored", type_="Warning").message


# secrets --------------------------------------------------------------------------------------------------------------


def test_a_missing_secret_is_told_and_looked_for_again() -> None:
    world = World(with_secret(), secret("HF_TOKEN", namespace="default"))
    assert world.check() == Result(requeue_after=SECRET_CHECK_SECONDS)
    assert f"Secret {JOBS}/hf-secret is not found" in world.recorder.expect("SecretNotFound", type_="Warning").message
    world.client.create(secret("HF_TOKEN"))
    assert world.check() is None
    assert world.metric("a", "SecretNotFound") == 0


def test_a_key_that_a_secret_lacks_is_told() -> None:
    world = World(with_secret(), secret("token"))
    assert world.check() == Result(requeue_after=SECRET_CHECK_SECONDS)
    assert "has no key 'HF_TOKEN'" in world.recorder.expect("SecretKeyNotFound").message


def test_a_secret_whose_keys_all_become_env_must_exist() -> None:
    from_all = container("a", envFrom=[{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "x"}}])
    assert told(from_all) == [("a", "SecretNotFound")]
    assert told(from_all, secret(name="all")) == []


def test_what_is_optional_may_be_missing() -> None:
    assert told(with_secret(optional=True)) == []
    assert told(container("a", envFrom=[{"secretRef": {"name": "all", "optional": True}}])) == []


def test_the_job_namespace_is_the_configured_one() -> None:
    world = World(with_secret(), secret("HF_TOKEN", namespace="jobs"), config_map('{"jobNamespace": "jobs"}'))
    assert world.check() is None


def test_only_the_secrets_that_are_named_are_read() -> None:
    world = World(with_secret(), secret("HF_TOKEN"), secret("x", name="other"))
    world.check()
    reads = [(action.verb, action.namespace, action.name) for action in world.client.actions if action.kind is Secret]
    assert reads == [("get", JOBS, "hf-secret")]


def test_a_secret_that_may_not_be_read_is_logged_once_and_not_called_missing() -> None:
    world = World(with_secret())
    world.client.faults.fail(ForbiddenError.of("secrets is forbidden"), verb="get", kind=Secret, times=2)
    with capture_logs() as logs:
        assert world.check() == Result(requeue_after=SECRET_CHECK_SECONDS)
        assert world.check() == Result(requeue_after=SECRET_CHECK_SECONDS)
    warned = [line["secret"] for line in logs if line["log_level"] == "warning" and "secret" in line]
    assert warned == [f"{JOBS}/hf-secret"]
    assert world.told == []
    world.check()
    assert world.told == [("a", "SecretNotFound")]


def test_a_server_that_does_not_answer_is_no_missing_secret() -> None:
    world = World(with_secret())
    world.client.faults.fail(ServiceUnavailableError.of("etcd is away"), verb="get", kind=Secret)
    with pytest.raises(ServiceUnavailableError):
        world.check()
    assert world.told == []


@pytest.mark.parametrize(
    "of",
    [
        {"env": None, "envFrom": "x", "volumeMounts": {}},
        {"env": ["x", {"name": ["x"], "valueFrom": 1}, {"valueFrom": {"secretKeyRef": {}}}]},
        {"envFrom": [{"secretRef": None}, None]},
    ],
)
def test_a_container_that_no_schema_checked_stops_nothing(of: dict[str, Any]) -> None:
    assert told(container("a", **of)) == []


def test_of_env_entries_of_a_name_the_last_counts_as_in_the_job() -> None:
    sources = [{"secretKeyRef": {"name": name, "key": "k"}} for name in ("one", "two")]
    found = secret_references(container("a", env=[{"name": "T", "valueFrom": source} for source in sources]))
    assert found == [SecretReference("two", "k")]


# how often it is told -------------------------------------------------------------------------------------------------


def test_a_finding_is_told_once_and_again_when_it_came_back() -> None:
    world = World(with_secret())
    world.check()
    world.check()
    assert len(world.told) == 1
    made = world.client.create(secret("HF_TOKEN"))
    world.check()
    world.client.delete(made)
    world.check()
    assert world.told == [("a", "SecretNotFound")] * 2


def test_a_container_made_anew_is_told_of_again() -> None:
    world = World(container("a", {"regex": "("}))
    world.check()
    world.client.delete(world.client.get(ClusterStorageContainer, "a"))
    world.client.create(container("a", {"regex": "("}))
    world.check()
    assert len(world.told) == 2


def test_a_container_that_is_gone_leaves_no_series() -> None:
    world = World(container("a", {"regex": "("}))
    world.check()
    world.client.delete(world.client.get(ClusterStorageContainer, "a"))
    world.check("a")
    assert world.metric("a", "InvalidUriFormat") is None


# whom a change concerns -----------------------------------------------------------------------------------------------


def names(requests: Any) -> list[str]:
    return [request.name for request in requests]


def test_a_container_concerns_those_after_it() -> None:
    world = World(container("a"), container("b"), container("c"), container("d", disabled=True))
    assert names(world.containers._later(container("b"))) == ["c"]


def test_a_cache_concerns_the_containers_that_fit_it_but_for_the_first() -> None:
    world = World(container("a", {"prefix": "s3://"}), container("b"), container("c"), container("d", {"regex": "("}))
    assert names(world.containers._losers(cache())) == ["c"]
    assert names(world.containers._losers(cache(sourceModelUri="s3://b"))) == []


def test_other_kinds_change_while_the_kind_is_not_served() -> None:
    world = World()
    world.client.faults.fail(KindNotServedError("not served"), kind=ClusterStorageContainer, times=None)
    assert names(world.containers._losers(cache())) == []
    assert names(world.containers._all(config_map("{}"))) == []
