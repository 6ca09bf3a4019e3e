"""Credentials of downloads by the agent itself: their values reach the process, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.agent import JOBS, World
from support.childruns import account, container, secret, started, want

from localmodel.agent.childplan import FILES as FILES_OF_PLAN
from localmodel.runtime.objects import ConfigMap


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, children=True)


def test_the_environment_of_a_storage_container_counts_and_its_image_does_not(world: World) -> None:
    secret(world, "hf", HF_TOKEN="hf_canary", OTHER="other")
    reference = {"secretKeyRef": {"name": "hf", "key": "HF_TOKEN"}}
    env = [{"name": "HF_ENDPOINT", "value": "http://hub"}, {"name": "HF_TOKEN", "valueFrom": reference}]
    container(world, env=env, envFrom=[{"prefix": "X_", "secretRef": {"name": "hf"}}])
    want(world)
    child = started(world)
    assert child.plan.env["HF_ENDPOINT"] == "http://hub"
    assert child.plan.env["HF_TOKEN"] == "hf_canary"
    assert child.plan.env["X_OTHER"] == "other"
    world.run()
    assert world.reasons().count("ImageNotUsed") == 1


def test_an_account_s_secret_is_given_by_value(world: World) -> None:
    secret(world, "hf", HF_TOKEN="hf_canary")
    account(world, "reader", "hf")
    want(world, serviceAccountName="reader")
    child = started(world)
    assert child.plan.env["HF_TOKEN"] == "hf_canary"
    assert "hf_canary" in child.plan.secrets
    assert "hf_canary" not in repr(child.plan)


def test_a_missing_secret_stops_the_download(world: World) -> None:
    reference = {"secretKeyRef": {"name": "hf", "key": "HF_TOKEN"}}
    container(world, env=[{"name": "HF_TOKEN", "valueFrom": reference}])
    want(world)
    world.run()
    assert world.children.started == []
    assert world.model().reason == "CredentialsInvalid"
    assert world.model().message == f"Secret {JOBS}/hf does not exist"


def test_a_cloud_identity_alone_cannot_work_and_says_so(world: World) -> None:
    account(world, "irsa", **{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"})
    want(world, serviceAccountName="irsa")
    world.run()
    assert world.children.started == []
    assert world.model().reason == "DownloadModeUnsupported"
    assert f"ServiceAccount {JOBS}/irsa has its rights by eks.amazonaws.com/role-arn" in world.model().message


def test_a_cloud_identity_beside_a_secret_stops_nothing(world: World) -> None:
    secret(world, "hf", HF_TOKEN="hf_canary")
    account(world, "irsa", "hf", **{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"})
    want(world, serviceAccountName="irsa")
    assert started(world).plan.env["HF_TOKEN"] == "hf_canary"


def test_a_container_cannot_steer_the_process_itself(world: World) -> None:
    names = ["PATH", "LD_PRELOAD", "PYTHONPATH", "TERMINATION_LOG", "HOME"]
    container(world, env=[{"name": name, "value": "/evil"} for name in names])
    want(world)
    assert started(world).plan.env == {}


def test_no_secret_shows_in_status_or_events(world: World) -> None:
    secret(world, "hf", HF_TOKEN="hf_canary")
    account(world, "reader", "hf")
    want(world, serviceAccountName="reader")
    started(world).fails("refused")
    world.run()
    assert "hf_canary" not in str(world.node.to_dict())
    assert not any("hf_canary" in str(event) for event in world.recorder.events)


def test_certificates_to_trust_are_given_as_files(world: World) -> None:
    world.set_config({"caBundleConfigMapName": "bundle"}, downloadMode="Agent")
    document = {"metadata": {"name": "bundle", "namespace": JOBS}, "data": {"cabundle.crt": "PEM"}}
    world.client.create(ConfigMap.from_dict(document))
    want(world)
    plan = started(world).plan
    assert plan.files == {"0/cabundle.crt": b"PEM"}
    assert plan.env["CA_BUNDLE_VOLUME_MOUNT_POINT"] == f"{FILES_OF_PLAN}/0"


def test_what_a_cache_says_is_never_taken_for_a_variable(world: World) -> None:
    secret(world, "hf", HF_TOKEN="hf_canary")
    account(world, "reader", "hf")
    want(world, serviceAccountName="reader", storage={"parameters": {"endpoint": "http://h/$(HF_TOKEN)"}})
    assert "$(HF_TOKEN)" in started(world).plan.env["STORAGE_OVERRIDE_CONFIG"]
