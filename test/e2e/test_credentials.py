"""A namespace downloads with a token of its own, which its administrator lends to the manager."""

from __future__ import annotations

import json
from pathlib import Path

from support.sandbox import TOKEN, Sandbox, lent_credentials, sandbox

from localmodel.api import LocalModelNamespaceCache
from localmodel.api.credentials import copied_key, copy_name
from localmodel.runtime.objects import Job, Secret
from localmodel.sandbox import demo_objects, install

TEAM = demo_objects.SERVICE_NAMESPACE


def ask(it: Sandbox, name: str, repository: str, **spec: str) -> None:
    document = demo_objects.cache(f"hf://{repository}", it.model.size, name=name)
    document["kind"] = LocalModelNamespaceCache.mapping.gvk.kind
    document["metadata"]["namespace"] = TEAM
    document["spec"] |= spec
    it.apply(document)


def cache(it: Sandbox, name: str) -> LocalModelNamespaceCache:
    return it.cluster.client.get(LocalModelNamespaceCache, name, namespace=TEAM)


def test_the_hub_is_asked_with_the_namespaces_own_token_and_nobody_elses(tmp_path: Path) -> None:
    with sandbox(tmp_path, nodes=1, size=1 << 20, config={"credentialNamespace": "own"}) as it:
        # The job namespace has another token, and an account of the same name that nobody of the team may use.
        it.apply(
            demo_objects.hf_secret("hf_wrong", install.JOB_NAMESPACE), *lent_credentials(install.JOB_NAMESPACE, "wrong")
        )
        it.apply(*lent_credentials(TEAM, TOKEN))
        ask(it, "own", "org/model-1", serviceAccountName="reader")
        it.eventually(lambda: (copies := cache(it, "own").status.copies) and copies.available == 1, timeout=60)
        assert it.problems("org/model-1") == []

        copy = copy_name(cache(it, "own").metadata.uid)
        (job,) = it.cluster.client.list(Job, namespace=install.JOB_NAMESPACE)
        text = json.dumps(job.to_dict())
        assert f'"name": "{copy}"' in text
        assert copied_key("hf", "HF_TOKEN") in text
        assert TOKEN not in text

        # Another cache that writes the copy's name gets nothing of it: what it names is looked for at home.
        ask(it, "thief", "org/model-2", serviceAccountName=f"{copy}/reader")
        it.eventually(lambda: any(c.reason == "CredentialsNotFound" for c in cache(it, "thief").status.conditions))

        it.cluster.client.delete(cache(it, "own"))
        it.eventually(
            lambda: it.cluster.client.find(LocalModelNamespaceCache, "own", namespace=TEAM) is None, timeout=60
        )
        assert it.cluster.client.find(Secret, copy, namespace=install.JOB_NAMESPACE) is None


def test_other_credentials_are_tried_on_the_hub_before_they_share_what_is_there(tmp_path: Path) -> None:
    with sandbox(tmp_path, nodes=1, size=1 << 20, config={"downloadImage": "localmodel-agent:latest"}) as it:
        for name, token in (("first", TOKEN), ("second", TOKEN), ("wrong", "hf_wrong")):
            secret = demo_objects.hf_secret(token, install.JOB_NAMESPACE)
            secret["metadata"]["name"] = name
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": install.JOB_NAMESPACE},
                "secrets": [{"name": name}],
            }
            it.apply(secret, account)
        ask(it, "first", "org/model-1", serviceAccountName="first")
        it.eventually(lambda: (copies := cache(it, "first").status.copies) and copies.available == 1, timeout=60)

        ask(it, "second", "org/model-1", serviceAccountName="second")
        ask(it, "wrong", "org/model-1", serviceAccountName="wrong")
        it.eventually(lambda: (copies := cache(it, "second").status.copies) and copies.available == 1, timeout=60)
        it.eventually(lambda: (copies := cache(it, "wrong").status.copies) and copies.failed == 1, timeout=60)
        assert cache(it, "first").status.copies.available == 1
        assert "authentication failed" in json.dumps(cache(it, "wrong").to_dict())

        args = [job.spec.template["spec"]["containers"][0]["args"][0] for job in it.cluster.client.list(Job)]
        assert sorted(args) == ["--check", "--check", "hf://org/model-1"]
