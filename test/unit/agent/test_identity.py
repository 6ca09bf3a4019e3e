"""As whom a download's pod runs, and with which pull secrets."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.agent.additions import Credentials
from localmodel.agent.identity import pull_secrets, runs_as
from localmodel.api.config import LocalModelConfig
from localmodel.runtime.objects import ServiceAccount
from localmodel.runtime.testing.fake import FakeClient

JOBS = "kserve-localmodel-jobs"


def account(name: str = "reader", *pulls: str, **metadata: Any) -> ServiceAccount:
    return ServiceAccount.from_dict(
        {
            "metadata": {"name": name, "namespace": JOBS, **metadata},
            "imagePullSecrets": [{"name": pull} for pull in pulls],
        }
    )


@pytest.mark.parametrize(
    "annotations",
    [{"eks.amazonaws.com/role-arn": "arn"}, {"iam.gke.io/gcp-service-account": "a@p.iam.gserviceaccount.com"}, {}],
)
def test_a_pod_runs_as_the_account_whatever_binds_it_to_a_cloud_d49(annotations: dict[str, str]) -> None:
    found = runs_as(account(annotations=annotations))
    assert (found.service_account, found.pod_labels) == ("reader", {})


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {"azure.workload.identity/client-id": "c"}},
        {"labels": {"azure.workload.identity/use": "true"}},
    ],
)
def test_azures_webhook_is_asked_by_a_label_of_the_pod_d49(metadata: dict[str, Any]) -> None:
    assert runs_as(account(**metadata)).pod_labels == {"azure.workload.identity/use": "true"}


def found(
    *accounts: ServiceAccount, configured: tuple[str, ...] = (), named: ServiceAccount | None = None
) -> list[str]:
    config = LocalModelConfig(job_image_pull_secrets=list(configured))
    return pull_secrets(FakeClient(*accounts), config, runs_as(named) if named is not None else Credentials())


def test_without_anything_named_kubernetes_finds_the_pull_secrets_itself_d54() -> None:
    assert found(account("default", "regcred")) == []


def test_those_of_the_configuration_the_account_and_the_default_account_go_together_d54() -> None:
    default = account("default", "regcred", "shared")
    assert found(default, configured=("mirror",)) == ["mirror", "regcred", "shared"]
    assert found(default, named=account("reader", "own", "shared")) == ["own", "shared", "regcred"]


def test_a_namespace_without_a_default_account_has_no_more_d54() -> None:
    assert found(named=account("reader", "own")) == ["own"]
