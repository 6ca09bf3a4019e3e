"""Which caches share a download, and whose credentials it uses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.agent import KEY, URI, World
from support.rivals import ONE, THREE, TWO, account_of, checks, downloads, rivals, shared, under_way

from localmodel.agent.decisions import Wanted, entry_key
from localmodel.agent.manifest import Check, KeyRecord, Try
from localmodel.agent.sharing import Grouping, fingerprint
from localmodel.api import LocalModelCache
from localmodel.api.model import LocalModelStorageSpec
from localmodel.api.names import storage_key
from localmodel.api.node import LocalModelInfo
from localmodel.runtime.objects import ConfigMap

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def grouped(
    entries: list[LocalModelInfo], record: KeyRecord | None = None, *, isolation: str = "verified"
) -> list[Wanted]:
    return Grouping(lambda _: record or KeyRecord()).of(entries, now=NOW, isolation=isolation)


def names(entries: Iterable[LocalModelInfo]) -> list[str]:
    return [entry.model_name for entry in entries]


def entry(name: str, uri: str = "s3://a", **fields: Any) -> LocalModelInfo:
    return LocalModelInfo(model_name=name, source_model_uri=uri, node_group="g", **fields)


def test_entries_with_one_uri_share_a_download() -> None:
    (group,) = grouped([entry("b"), entry("a", namespace="team")])
    assert [entry_key(e) for e in group.sharing] == ["b", "team/a"]
    assert group.refused == ()


def test_entries_with_other_credentials_do_not() -> None:
    entries = [entry("a", service_account_name="x"), entry("b"), entry("c", storage=LocalModelStorageSpec(key="k"))]
    (group,) = grouped(entries)
    assert (names(group.sharing), names(group.claimants), group.refused) == (["a"], ["b", "c"], ())


def test_a_cache_without_credentials_does_not_share_what_the_default_account_has_brought_d16() -> None:
    (group,) = grouped([entry("a", storage=LocalModelStorageSpec()), entry("b")])
    assert (names(group.sharing), names(group.claimants)) == (["a"], ["b"])


def test_who_downloaded_first_keeps_the_model_when_another_comes() -> None:
    (group,) = grouped([entry("a", service_account_name="x"), entry("b")], KeyRecord(owners=("b",)))
    assert group.leader.model_name == "b"


def test_incomplete_and_repeated_entries_are_left_out() -> None:
    groups = grouped([entry(""), entry("a", uri=""), entry("b"), entry("b", uri="s3://other")])
    assert [g.uri for g in groups] == ["s3://a"]


def test_high_priority_goes_first() -> None:
    groups = grouped([entry("low", "s3://1"), entry("high", "s3://2", priority=5)])
    assert [g.leader.model_name for g in groups] == ["high", "low"]


def test_other_files_of_the_uri_are_refused_whatever_the_credentials() -> None:
    (group,) = grouped([entry("a"), entry("b", revision="v2"), entry("c", include=["*.json"])])
    assert (names(group.sharing), names(group.claimants), names(group.refused)) == (["a"], [], ["b", "c"])


@pytest.mark.parametrize("isolation", ["shared", "namespace"])
def test_credentials_do_not_matter_where_the_isolation_says_so(isolation: str) -> None:
    (group,) = grouped([entry("a", service_account_name="x"), entry("b")], isolation=isolation)
    assert (names(group.sharing), group.claimants) == (["a", "b"], ())


def test_a_namespace_has_a_folder_of_its_own() -> None:
    entries = [
        entry("a"),
        entry("b", namespace="team-a"),
        entry("c", namespace="team-b"),
        entry("d", namespace="team-a"),
    ]
    groups = {group.key: names(group.sharing) for group in grouped(entries, isolation="namespace")}
    assert groups == {
        storage_key("s3://a"): ["a"],
        storage_key("s3://a", "team-a"): ["b", "d"],
        storage_key("s3://a", "team-b"): ["c"],
    }


def test_proved_credentials_share_until_they_are_others() -> None:
    a, b = entry("a"), entry("b", service_account_name="x")
    record = KeyRecord(owners=("a",), checks=(Check(entry="b", credentials=fingerprint(b), proved=True),))
    (group,) = grouped([a, b], record)
    assert names(group.sharing) == ["a", "b"]
    (group,) = grouped([a, entry("b", service_account_name="y")], record)
    assert (names(group.sharing), names(group.claimants)) == (["a"], ["b"])


def failed(who: LocalModelInfo, *tries: Try, retry: float = 30.0) -> KeyRecord:
    return KeyRecord(
        attempt=1, outcome="failed", owners=(entry_key(who),), credentials=fingerprint(who), failures=1, message="401",
        next_retry_time=NOW + timedelta(seconds=retry), tries=tries,
    )  # fmt: skip


def tried(who: LocalModelInfo, retry: float) -> Try:
    return Try(credentials=fingerprint(who), failures=1, next_retry_time=NOW + timedelta(seconds=retry))


def test_after_a_failure_it_is_the_turn_of_credentials_that_were_never_tried_d17() -> None:
    a, b = entry("a", service_account_name="wrong"), entry("b", service_account_name="right")
    (group,) = grouped([a, b], failed(a))
    assert (names(group.sharing), names(group.claimants)) == (["b"], ["a"])


def test_then_of_those_whose_next_try_is_due_first() -> None:
    a, b, c = (entry(name, service_account_name=name) for name in "abc")
    (group,) = grouped([a, b, c], failed(a, tried(b, -1), tried(c, -2), retry=30))
    assert group.leader == c


def test_nobody_takes_a_turn_before_a_try_is_due() -> None:
    a, b = (entry(name, service_account_name=name) for name in "ab")
    (group,) = grouped([a, b], failed(a, tried(b, 60)))
    assert group.leader == a


# with the agent ------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return rivals(tmp_path)


def test_a_check_asks_the_source_with_the_credentials_and_mounts_no_model(world: World) -> None:
    shared(world, TWO)
    (job,) = checks(world)
    spec = job.spec.template["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "localmodel-agent:1"
    assert container["args"] == ["--check", URI]
    assert (job.spec.active_deadline_seconds, job.spec.backoff_limit) == (600, 0)
    assert all("persistentVolumeClaim" not in volume for volume in spec["volumes"])
    assert container["volumeMounts"] == []
    assert spec["serviceAccountName"] == "two"
    assert (world.status("team-b/two"), world.model("team-b/two").reason) == (
        "ModelDownloadPending", "CheckingCredentials",
    )  # fmt: skip


def test_a_check_that_succeeds_gives_the_model_without_a_download(world: World) -> None:
    shared(world, TWO)
    world.finish(checks(world)[0], "Complete", succeeded=1)
    world.run()
    assert (world.status("one"), world.status("team-b/two")) == ("ModelDownloaded", "ModelDownloaded")
    world.restart()
    world.run()
    assert world.status("team-b/two") == "ModelDownloaded"
    assert (len(downloads(world)), len(checks(world))) == (1, 1)
    assert "CredentialsProved" in world.reasons()


def test_what_was_proved_outlives_the_cache_that_downloaded_it(world: World) -> None:
    shared(world, TWO)
    world.finish(checks(world)[0], "Complete", succeeded=1)
    world.run()
    world.client.delete(world.client.get(LocalModelCache, "one"))
    world.want(dict(TWO))
    world.run()
    assert world.status("team-b/two") == "ModelDownloaded"
    assert len(downloads(world)) == 1


def test_a_check_that_fails_says_so_and_is_repeated_later(world: World) -> None:
    shared(world, TWO)
    world.finish(checks(world)[0], "Failed", failed=1)
    world.run()
    model = world.model("team-b/two")
    assert (world.status("team-b/two"), model.reason) == ("ModelDownloadError", "CredentialsRejected")
    assert model.next_retry_time is not None
    world.run()
    assert len(checks(world)) == 1
    world.clock.advance(31)
    world.run()
    assert len(checks(world)) == 2
    assert world.status("one") == "ModelDownloaded"


def test_changed_credentials_are_checked_anew(world: World) -> None:
    shared(world, TWO)
    world.finish(checks(world)[0], "Complete", succeeded=1)
    world.run()
    world.want(dict(ONE), {**TWO, "serviceAccountName": "three"})
    world.run()
    assert len(checks(world)) == 2


def test_each_claimant_is_checked_by_itself(world: World) -> None:
    shared(world, TWO, THREE)
    two = next(job for job in checks(world) if "team-b" in job.metadata.labels.values())
    world.finish(two, "Complete", succeeded=1)
    world.run()
    assert (world.status("team-b/two"), world.status("team-c/three")) == ("ModelDownloaded", "ModelDownloadPending")


def test_a_missing_account_stops_its_own_check_only(world: World) -> None:
    shared(world, TWO, {**THREE, "serviceAccountName": "missing"})
    assert world.model("team-c/three").reason == "CredentialsInvalid"
    assert len(checks(world)) == 1


def test_a_foreign_image_cannot_prove_and_the_cache_says_what_to_do(world: World) -> None:
    world.configure(downloadImage="example.com/loader:1", storageIsolation="verified")
    found = world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    settings = json.loads(found.data["localModel"])
    del settings["downloadImage"]
    found.data["localModel"] = json.dumps(settings)
    world.client.update(found)
    shared(world, TWO)
    assert checks(world) == []
    assert world.model("team-b/two").reason == "CredentialsDiffer"
    assert "set downloadImage" in world.model("team-b/two").message


def test_a_check_is_no_download_and_protects_no_folder(world: World) -> None:
    shared(world, TWO)
    world.client.delete(world.client.get(LocalModelCache, "one"))
    world.want()
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_wrong_credentials_of_the_first_keep_nobody_from_the_model_d17(world: World) -> None:
    world.want(dict(ONE), dict(TWO))
    world.run()
    world.finish(downloads(world)[0], "Failed", failed=1)
    world.run()
    assert world.status("one") == "ModelDownloadError"
    world.run()
    second = next(job for job in downloads(world) if not job.is_failed)
    assert second.spec.template["spec"]["serviceAccountName"] == "two"
    assert (world.status("one"), world.model("one").message) == ("ModelDownloadError", "Test: said the Job")
    world.download(second)
    world.run()
    assert world.status("team-b/two") == "ModelDownloaded"
    (check,) = checks(world)
    assert check.spec.template["spec"]["serviceAccountName"] == "one"


def test_both_wrong_take_turns_with_growing_pauses(world: World) -> None:
    world.want(dict(ONE), dict(TWO))
    seen: list[str] = []
    for _ in range(400):
        world.run()
        for job in downloads(world):
            if not job.is_failed:
                seen.append(job.spec.template["spec"]["serviceAccountName"])
                world.finish(job, "Failed", failed=1)
        world.clock.advance(5)
    assert seen[:4] == ["one", "two", "one", "two"]
    assert len(seen) == 14  # in 2,000 s, at 0, 30, 90, 210, 450, 930 and 1,890 for each


def test_leftovers_of_others_credentials_are_not_resumed(world: World) -> None:
    world.want(dict(ONE), dict(TWO))
    world.run()
    (job,) = downloads(world)
    mount = job.spec.template["spec"]["containers"][0]["volumeMounts"][0]["subPath"]
    (world.root / mount / "secret.bin").write_bytes(b"x")
    world.finish(job, "Failed", failed=1)
    world.run()
    world.run()
    assert [account_of(job) for job in under_way(world)] == ["two"]
    assert not (world.root / mount / "secret.bin").exists()


def test_shared_gives_the_model_to_all(world: World) -> None:
    world.configure(storageIsolation="shared")
    shared(world, TWO, THREE)
    assert {world.status(key) for key in ("one", "team-b/two", "team-c/three")} == {"ModelDownloaded"}
    assert checks(world) == []


def test_namespaces_download_each_for_itself(world: World) -> None:
    world.configure(storageIsolation="namespace", servingVolumeScope="model")
    world.want(dict(ONE), dict(TWO))
    world.run()
    for job in downloads(world):
        world.download(job)
    world.run()
    assert {world.status("one"), world.status("team-b/two")} == {"ModelDownloaded"}
    for key in (KEY, storage_key(URI, "team-b")):
        assert (world.root / "models" / key).is_dir()
    world.restart()
    world.run()
    assert world.status("team-b/two") == "ModelDownloaded"


def test_what_has_not_changed_is_the_same_object_in_the_next_pass() -> None:
    records = {storage_key("s3://b"): KeyRecord()}
    grouping = Grouping(lambda key: records.setdefault(key, KeyRecord()))

    def passes(version: int, *entries: LocalModelInfo) -> dict[str, Wanted]:
        return {it.uri: it for it in grouping.of(entries, now=NOW, isolation="verified", version=version)}

    entries = [entry("a", "s3://a"), entry("b", "s3://b"), entry("c", "s3://b", service_account_name="x")]
    first = passes(1, *entries)
    again = passes(1, *entries)
    assert all(again[uri] is first[uri] for uri in first)
    records[storage_key("s3://b")] = KeyRecord(owners=("c",), credentials=fingerprint(entries[2]))
    assert passes(1, *entries)["s3://b"].leader is entries[2]
    assert passes(1, *entries)["s3://a"] is first["s3://a"]
    assert passes(2, entry("a", "s3://a", priority=3))["s3://a"].priority == 3


def test_the_turn_of_credentials_comes_with_time_alone() -> None:
    failed = KeyRecord(outcome="failed", credentials="", next_retry_time=NOW + timedelta(minutes=1))
    other = entry("b", service_account_name="x")
    tried = Try(credentials=fingerprint(other), next_retry_time=NOW + timedelta(seconds=30))
    grouping = Grouping(lambda _: msgspec.structs.replace(failed, tries=(tried,)))
    leaders = [
        grouping.of([entry("a"), other], now=NOW + timedelta(seconds=after), isolation="verified", version=1)[0].leader
        for after in (0, 31)
    ]
    assert [leader.model_name for leader in leaders] == ["a", "b"]
