"""What a Job of the agent refers to for its credentials, and what is said where they are missing."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.agent import JOBS, URI, World

from localmodel.runtime.objects import Job, Secret, ServiceAccount


def env_of(job: Job) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in job.spec.template["spec"]["containers"][0]["env"]}


def secret(name: str, **data: str) -> Secret:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return Secret.from_dict({"metadata": {"name": name, "namespace": JOBS}, "data": encoded})


def test_a_service_accounts_token_is_referred_to(world: World) -> None:
    world.client.create(secret("hf-secret", HF_TOKEN="hf_secret_value"))
    world.client.create(
        ServiceAccount.from_dict({"metadata": {"name": "hf", "namespace": JOBS}, "secrets": [{"name": "hf-secret"}]})
    )
    world.want({"modelName": "iris", "sourceModelUri": URI, "serviceAccountName": "hf"})
    world.run()
    assert env_of(world.jobs[0]) == {"HF_TOKEN": {"secretKeyRef": {"name": "hf-secret", "key": "HF_TOKEN"}}}
    assert b"hf_secret_value" not in world.jobs[0].to_json()


def test_a_key_of_the_storage_secret_is_referred_to(world: World) -> None:
    world.client.create(secret("storage-config", mine='{"type": "s3", "access_key_id": "AKIA"}'))
    storage = {"key": "mine", "parameters": {"region": "eu"}}
    world.want({"modelName": "iris", "sourceModelUri": URI, "storage": storage})
    world.run()
    assert env_of(world.jobs[0]) == {
        "STORAGE_CONFIG": {"secretKeyRef": {"name": "storage-config", "key": "mine"}},
        "STORAGE_OVERRIDE_CONFIG": '{"region": "eu"}',
    }
    assert b"AKIA" not in world.jobs[0].to_json()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, f"Secret {JOBS}/storage-config has no key 'mine'"),
        ("not json", "must be a JSON object"),
        ('{"type": "ftp"}', "storage type 'ftp' is not supported"),
        ('{"a": "b"}', "the storage type is not known"),
    ],
)
def test_a_storage_key_that_cannot_be_used_is_named(world: World, content: str | None, words: str) -> None:
    world.client.create(secret("storage-config", **({"mine": content} if content else {})))
    world.want({"modelName": "iris", "sourceModelUri": URI, "storage": {"key": "mine"}})
    world.run()
    assert world.jobs == []
    assert words in world.model().message
    assert world.model().reason == "CredentialsInvalid"
