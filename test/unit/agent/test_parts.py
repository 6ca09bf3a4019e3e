"""The small parts: room, use, messages, status writing, digests."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.rigid import Rigid

from localmodel.agent.eviction import Request, admit
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.inuse import find_in_use
from localmodel.agent.limits import Bounds
from localmodel.agent.manifest import Reference
from localmodel.agent.observation import job_state
from localmodel.agent.requirements import Requirements
from localmodel.agent.s3 import s3_settings
from localmodel.agent.scrub import Scrubber
from localmodel.agent.space import human, promised, shortage
from localmodel.agent.status import ModelReport, NodeModels, NodeStatusWriter, ProgressPolicy, build_status
from localmodel.agent.store import ModelStore
from localmodel.agent.symptoms import MAX_MESSAGE, pod_symptom, symptom_of
from localmodel.agent.usage import DiskUsage
from localmodel.agent.verification import Publication
from localmodel.api import LocalModelNode
from localmodel.api.config import LocalModelConfig, S3Config
from localmodel.api.names import download_pvc_name, model_pvc_name, other_download_pvc_name
from localmodel.api.node import LocalModelInfo, LocalModelNodeStatus, ModelStatus
from localmodel.runtime.errors import ConflictError, ForbiddenError
from localmodel.runtime.objects import Job, PersistentVolumeClaim, Pod
from localmodel.runtime.testing.fake import FakeClient
from localmodel.runtime.testing.fake_clock import FakeClock

KEY = "89da10faf446bbf1"
GIB = 1 << 30


# room ------------------------------------------------------------------------------------------------------------


def test_the_room_is_what_users_have_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As df counts: of 1,000 blocks 100 are used, and root keeps 400 back."""
    said = os.statvfs_result((4096, 4096, 1000, 900, 500, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: said)
    assert FileSystem().room(Path("/")) == (600 * 4096, 500 * 4096)


def usage(*, available: int = 100 * GIB, used: int = 0, **staged: int) -> DiskUsage:
    return DiskUsage(capacity=100 * GIB, available=available, used=used, staged=staged)


@pytest.mark.parametrize(
    ("fits", "facts", "reserved", "limit"),
    [
        (True, usage(), {}, None),
        (True, usage(used=5 * GIB), {}, 10 * GIB),
        (False, usage(used=5 * GIB + 1), {}, 10 * GIB),
        (False, usage(available=5 * GIB - 1), {}, None),
        (True, usage(available=3 * GIB, used=2 * GIB, mine=2 * GIB), {}, 5 * GIB),
        (False, usage(), {"other": 6 * GIB}, 10 * GIB),
        (True, usage(used=6 * GIB, other=1 * GIB), {"other": 1 * GIB}, 11 * GIB),
        (False, usage(available=9 * GIB), {"other": 5 * GIB}, None),
        (True, usage(available=9 * GIB, used=2 * GIB, other=2 * GIB), {"other": 5 * GIB}, None),
        (True, usage(), {"mine": 9 * GIB}, 5 * GIB),
    ],
)
def test_a_model_of_5_gib_fits_or_not(
    fits: bool, facts: DiskUsage, reserved: dict[str, int], limit: int | None
) -> None:
    bounds = Bounds(limit=limit, high=limit, low=limit, high_percent=100, low_percent=100)
    disk = promised("mine", usage=facts, reserved=reserved, bounds=bounds)
    assert (admit(disk, Request(key="mine", size=5 * GIB)) is not None) == fits


@pytest.mark.parametrize(
    ("limit", "available", "words"),
    [
        (5 * GIB, 100 * GIB, "of the node group's limit of 5.0 GiB, of which eviction leaves 5.0 GiB, and"),
        (None, 2 * GIB, "the disk has about 2.0 GiB left of 100.0 GiB, of which 0 B stay free, and"),
    ],
)
def test_want_of_room_is_told_in_the_same_words_while_other_downloads_go_on(
    limit: int | None, available: int, words: str
) -> None:
    bounds = Bounds(limit=limit, high=limit, low=limit, high_percent=100, low_percent=100)
    told = set()
    for written in (0, GIB // 4, GIB // 2):
        facts = usage(available=available - written, used=written, other=written)
        told.add(shortage(5 * GIB, promised("mine", usage=facts, reserved={"other": GIB}, bounds=bounds), GIB))
    (message,) = told
    assert message.startswith("the model needs 5.0 GiB; ")
    assert f"{words} 1.0 GiB are reserved for downloads under way; " in message


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (GIB, "the node group's limit is 1.0 GiB; raise storageLimit, or correct modelSize"),
        (None, "the disk is 100.0 GiB; give this node a larger disk, or correct modelSize"),
    ],
)
def test_a_model_that_is_larger_than_all_the_room_is_not_said_to_lack_what_others_take(
    limit: int | None, words: str
) -> None:
    bounds = Bounds(limit=limit, high=limit, low=limit, high_percent=80, low_percent=70)
    disk = promised("mine", usage=usage(available=50 * GIB), reserved={"other": GIB}, bounds=bounds)
    told = shortage(101 * GIB, disk, GIB)
    assert told == f"the model needs 101.0 GiB and can never fit: {words}"


def test_bytes_are_written_for_people() -> None:
    assert [human(n) for n in (5, 1536, 3 * GIB)] == ["5 B", "1.5 KiB", "3.0 GiB"]


# use -------------------------------------------------------------------------------------------------------------

OURS = {
    KEY: (Reference(model="iris", node_group="gpu1"),),
    "b" * 16: (Reference(namespace="team", model="x", node_group="g"),),
}


def pod(claim: str = "", sub_path: str = "", namespace: str = "default", **metadata: Any) -> Pod:
    volumes = [{"name": "m", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    mounts = [{"name": "m", "mountPath": "/m", "subPath": sub_path}]
    return Pod.from_dict({
        "metadata": {"name": "p", "namespace": namespace, **metadata},
        "spec": {"volumes": volumes, "containers": [{"name": "c", "image": "i", "volumeMounts": mounts}]},
        "status": {"phase": "Running"},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("user", "keys"),
    [
        (pod(), set()),
        (pod("foreign", "data"), set()),
        (pod("iris-gpu1", f"models/{KEY}"), {KEY}),
        (pod("renamed", f"models/{KEY}/v1"), {KEY}),
        (pod("renamed", "models/" + "c" * 16), set()),
        (pod("iris-gpu1", ""), set(OURS)),
        (pod("x-g", f"models/{'b' * 16}", namespace="team"), {"b" * 16}),
        (pod("x-g", "", namespace="elsewhere"), set()),
        (pod(model_pvc_name("iris", "another", "s3://mybucket/mymodel"), "v1"), {KEY}),
        (pod(model_pvc_name("x", "g", "s3://b"), labels={"internal.serving.kserve.io/localmodel": "x"}), set()),
        (pod("unknown", "", labels={"internal.serving.kserve.io/localmodel": "m"}), set(OURS)),
        (
            pod(
                "iris-gpu1",
                f"models/.staging/{KEY}",
                namespace="jobs",
                labels={"localmodel.kserve.io/storage-key": KEY},
            ),
            set(),
        ),
    ],
)
def test_which_models_a_pod_uses(user: Pod, keys: set[str]) -> None:
    found = find_in_use([user], lambda: OURS, jobs_namespace="jobs")
    assert {key for key in OURS if key in found} == keys


def test_a_finished_pod_uses_nothing() -> None:
    user = pod("iris-gpu1", f"models/{KEY}")
    user.status.phase = "Succeeded"
    assert KEY not in find_in_use([user], lambda: OURS, jobs_namespace="jobs")


def test_a_pod_holds_what_a_key_had_also_when_the_key_is_forgotten() -> None:
    user = pod("iris-gpu1", "models/0123456789abcdef", creationTimestamp="2026-01-02T00:00:00Z", uid="u")
    found = find_in_use([user], lambda: OURS, jobs_namespace="jobs")
    assert found.pods["0123456789abcdef"] == {"u": datetime(2026, 1, 2, tzinfo=UTC)}


# the claim of a download -----------------------------------------------------------------------------------------

PLAIN, OTHER = download_pvc_name("a", "b-c"), other_download_pvc_name("a", "b-c")


def claim(name: str, of: str = "") -> PersistentVolumeClaim:
    annotations = {"localmodel.kserve.io/cache": of} if of else {}
    return PersistentVolumeClaim.from_dict(
        {"metadata": {"name": name, "namespace": "jobs", "annotations": annotations}}
    )


@pytest.mark.parametrize(
    ("there", "mounted"),
    [
        ([], PLAIN),
        ([claim(PLAIN)], PLAIN),
        ([claim(PLAIN, "a")], PLAIN),
        ([claim(PLAIN, "a-b")], OTHER),
        ([claim(PLAIN, "a-b"), claim(OTHER, "a")], OTHER),
        ([claim(OTHER, "a")], OTHER),
        ([claim(PLAIN, "a"), claim(OTHER, "a")], PLAIN),
    ],
)
def test_which_claim_a_download_mounts_d59(there: list[PersistentVolumeClaim], mounted: str) -> None:
    entry = LocalModelInfo(model_name="a", node_group="b-c")
    assert Requirements(FakeClient(*there)).claim_for(entry, "jobs") == mounted


def test_where_claims_may_not_be_read_a_download_mounts_the_plain_one() -> None:
    client = FakeClient(claim(PLAIN, "a-b"))
    client.faults.fail(ForbiddenError.of("no"), verb="get")
    assert Requirements(client).claim_for(LocalModelInfo(model_name="a", node_group="b-c"), "jobs") == PLAIN


def test_a_group_that_nothing_can_be_called_is_not_there_and_stops_no_other_entry() -> None:
    requirements = Requirements(Rigid(FakeClient()))
    assert requirements.group("a/b") is None
    assert requirements.limits.bounds(["a/b"], LocalModelConfig()).limit is None


# messages --------------------------------------------------------------------------------------------------------


def status_of(**status: Any) -> Pod:
    return Pod.from_dict({"metadata": {"name": "p"}, "status": status})


def state(**state: dict[str, Any]) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "c", "state": state}]}


LOGGED = '{"files": 13, "event": "resolved", "level": "info"}\n'
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no claim"}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({}, ""),
        (state(terminated={"exitCode": 1, "reason": "Error", "message": "401"}), "401"),
        (state(terminated={"exitCode": 137, "reason": "OOMKilled"}), "OOMKilled: exit code 137, ended by SIGKILL"),
        (state(terminated={"exitCode": 3, "reason": "Error"}), "exit code 3"),
        (state(terminated={"exitCode": 137, "message": LOGGED}), "exit code 137, ended by SIGKILL"),
        (state(terminated={"exitCode": 1, "message": LOGGED + '{"event": "404", "level": "error"}'}), "404"),
        (state(terminated={"exitCode": 1, "message": '{"code": 5}\n{half'}), '{"code": 5}\n{half'),
        (state(terminated={"exitCode": 0}), ""),
        (state(waiting={"reason": "ContainerCreating"}), ""),
        (state(waiting={"reason": "ImagePullBackOff", "message": "no"}), "ImagePullBackOff: no"),
        ({"conditions": [UNSCHEDULABLE]}, "Unschedulable: no claim"),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}, "the pod was evicted: disk pressure"),
    ],
)
def test_what_a_pod_says(status: dict[str, Any], message: str) -> None:
    assert pod_symptom(status_of(**status)).message.partition(";")[0] == message


def test_long_messages_keep_their_end() -> None:
    failed = Job.from_dict({
        "metadata": {"name": "j", "uid": "u"},
        "status": {"conditions": [{"type": "Failed", "status": "True", "message": "x" * 2000 + "the cause"}]},
    })  # fmt: skip
    message = symptom_of(failed, []).message
    assert len(message) == MAX_MESSAGE
    assert message.endswith("the cause")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, "pending"),
        ({"active": 1}, "pending"),
        ({"active": 1, "ready": 1}, "running"),
        ({"active": 1, "failed": 1}, "retrying"),
        ({"failed": 3, "conditions": [{"type": "Failed", "status": "True"}]}, "failed"),
        ({"succeeded": 1, "failed": 1, "conditions": [{"type": "Complete", "status": "True"}]}, "succeeded"),
    ],
)
def test_how_a_job_stands(status: dict[str, Any], expected: str) -> None:
    assert job_state(Job.from_dict({"metadata": {"name": "j"}, "status": status})) == expected


# S3 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "use_https", "expected"),
    [
        ("https://h:9", "0", {"S3_USE_HTTPS": "1", "S3_ENDPOINT": "h:9", "AWS_ENDPOINT_URL": "https://h:9"}),
        ("http://h:9", "1", {"S3_USE_HTTPS": "0", "S3_ENDPOINT": "h:9", "AWS_ENDPOINT_URL": "http://h:9"}),
        (" h:9 ", "0", {"S3_USE_HTTPS": "0", "S3_ENDPOINT": "h:9", "AWS_ENDPOINT_URL": "http://h:9"}),
        ("h:9", "", {"S3_ENDPOINT": "h:9", "AWS_ENDPOINT_URL": "https://h:9"}),
        ("", "1", {}),
    ],
)
def test_s3_endpoints(endpoint: str, use_https: str, expected: dict[str, str]) -> None:
    data = {"S3_ENDPOINT": endpoint, "S3_USE_HTTPS": use_https}
    assert s3_settings(S3Config(), annotations={}, data=data) == expected


def test_s3_settings_prefer_annotation_then_secret_then_configuration() -> None:
    config = S3Config(s3_region="config", s3_verify_ssl="0")
    found = s3_settings(
        config, annotations={"serving.kserve.io/s3-region": "note"}, data={"AWS_DEFAULT_REGION": "data"}
    )
    assert found == {"AWS_DEFAULT_REGION": "note", "S3_VERIFY_SSL": "0"}


# status ----------------------------------------------------------------------------------------------------------


class Writing:
    """A LocalModelNode and the writer of its status; `say` reports a download of 100 bytes."""

    def __init__(self, *, interval: float = 15) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(LocalModelNode.from_dict({"metadata": {"name": "n"}}), clock=self.clock)
        policy = ProgressPolicy.every(interval)
        self.writer = NodeStatusWriter(self.client, self.client, policy=policy, clock=self.clock)

    def say(self, downloaded: int, status: ModelStatus = ModelStatus.MODEL_DOWNLOADING) -> bool:
        node = self.client.get(LocalModelNode, "n")
        report = ModelReport(status=status, size=100, downloaded=downloaded)
        facts = DiskUsage(capacity=10_000, available=9_000, used=downloaded)
        wanted = build_status(node.status, {"iris": report}, usage=facts, limit=None)
        return self.writer.write(node, wanted)


def test_mere_progress_is_written_15_seconds_and_5_percent_apart() -> None:
    writing = Writing()
    assert writing.say(1)
    assert not writing.say(50)
    writing.clock.advance(15)
    assert not writing.say(5)
    assert writing.say(50)


def test_a_change_of_state_is_written_at_once() -> None:
    writing = Writing()
    assert writing.say(1)
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    assert not writing.say(100, ModelStatus.MODEL_DOWNLOADED)


def test_where_someone_watches_each_movement_counts() -> None:
    writing = Writing(interval=1)
    assert writing.say(1)
    writing.clock.advance(1)
    assert writing.say(2)


def test_what_a_status_says_of_a_model_is_kept_while_its_report_is_the_same() -> None:
    models, report = NodeModels(), ModelReport(status=ModelStatus.MODEL_DOWNLOADED, size=1)
    first = models.of([("iris", report)], {})
    again = models.of([("iris", report)], first)
    other = models.of([("iris", replace(report, size=2))], again)
    assert again["iris"] is first["iris"]
    assert other["iris"].size_bytes == 2
    assert models.of([], other) == {}


def test_an_agent_that_finds_its_status_as_it_shall_be_writes_nothing() -> None:
    writing = Writing()
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    writing.writer = NodeStatusWriter(writing.client, writing.client, policy=ProgressPolicy(), clock=writing.clock)
    assert not writing.say(100, ModelStatus.MODEL_DOWNLOADED)


def test_a_status_that_somebody_empties_is_written_again_also_by_an_agent_that_wrote_none() -> None:
    writing = Writing()
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    writing.writer = NodeStatusWriter(writing.client, writing.client, policy=ProgressPolicy(), clock=writing.clock)
    assert not writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    writing.client.status.patch(writing.client.get(LocalModelNode, "n"), {"status": None})
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)


def test_a_stale_cache_does_not_lose_a_status() -> None:
    writing = Writing()
    stale = writing.client.get(LocalModelNode, "n")
    writing.client.patch(stale, {"metadata": {"labels": {"a": "b"}}})
    report = ModelReport(status=ModelStatus.MODEL_DOWNLOADED)
    wanted = build_status(LocalModelNodeStatus(), {"iris": report}, usage=None, limit=None)
    assert writing.writer.write(stale, wanted)
    assert writing.client.get(LocalModelNode, "n").status.model_status == {"iris": "ModelDownloaded"}


def test_a_pruned_status_is_not_written_again_and_again() -> None:
    def prune(action: Any, proceed: Any) -> Any:
        if action.subresource == "status":
            action.object.status.models = {}
        return proceed()

    writing = Writing()
    writing.writer = NodeStatusWriter(
        FakeClient(registry=writing.client.registry, interceptors=[prune]),
        writing.client,
        policy=ProgressPolicy(),
        clock=writing.clock,
    )
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    assert not writing.say(100, ModelStatus.MODEL_DOWNLOADED)


def test_a_conflict_that_does_not_end_is_raised() -> None:
    def refuse(action: Any, proceed: Any) -> Any:
        if action.subresource == "status":
            raise ConflictError.of("modified")
        return proceed()

    writing = Writing()
    client = FakeClient(registry=writing.client.registry, interceptors=[refuse])
    writing.writer = NodeStatusWriter(client, client, policy=ProgressPolicy(), clock=writing.clock)
    with pytest.raises(ConflictError):
        writing.say(1)


# digests ---------------------------------------------------------------------------------------------------------


def test_missing_digests_are_computed_in_the_background(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    (store.prepare_staging(KEY, "s3://mybucket/mymodel") / "a").write_bytes(b"a")
    store.publish(KEY, Publication(uri="s3://mybucket/mymodel"))
    Scrubber(store).run_once(threading.Event())
    manifest = store.manifest(KEY)
    assert manifest is not None
    assert manifest.digest.startswith("sha256:")


def test_computing_digests_stops_when_told_to(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    (store.prepare_staging(KEY, "s3://mybucket/mymodel") / "a").write_bytes(b"a")
    store.publish(KEY, Publication(uri="s3://mybucket/mymodel"))
    stop = threading.Event()
    stop.set()
    Scrubber(store).run_once(stop)
    manifest = store.manifest(KEY)
    assert manifest is not None
    assert manifest.digest == ""
