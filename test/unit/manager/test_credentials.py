"""Which credentials a cache names, and which of them are copied."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.manager import JOBS, cache, namespace_cache

from localmodel.api import Cache, CredentialsConfig, LocalModelConfig
from localmodel.api.config import GcsConfig, S3Config
from localmodel.api.credentials import SOURCES_ANNOTATION, copied_key
from localmodel.manager.credentials import (
    Account,
    Named,
    StorageKey,
    described,
    entry_credentials,
    named_credentials,
)
from localmodel.manager.credentialsources import MAX_BYTES, MAX_SECRETS, MAX_SETTINGS, UnavailableError, wanted_copy
from localmodel.runtime.errors import ForbiddenError, ServiceUnavailableError
from localmodel.runtime.objects import Object, Secret, ServiceAccount
from localmodel.runtime.testing import FakeClient

OWN = LocalModelConfig.from_dict({"credentialNamespace": "own"})
CONFIG = CredentialsConfig()


def of(namespace: str = "team-a", **spec: Any) -> Cache:
    made = namespace_cache(namespace=namespace, **spec) if namespace else cache(**spec)
    made.metadata.uid = "uid-1"
    return made


def secret(name: str, *, namespace: str = "team-a", type_: str = "Opaque", **data: str) -> Secret:
    keys = {key.replace("__", "-"): base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return Secret.from_dict({"metadata": {"name": name, "namespace": namespace}, "type": type_, "data": keys})


def account(name: str, *secrets: str, **further: Any) -> ServiceAccount:
    return ServiceAccount.from_dict({
        "metadata": {"name": name, "namespace": "team-a"},
        "secrets": [{"name": secret} for secret in secrets],
        **further,
    })  # fmt: skip


def copied(named: Named, *objects: Object, config: CredentialsConfig = CONFIG) -> Secret:
    return wanted_copy(of(), named, JOBS, config, FakeClient(*objects))


def from_account(*secrets: Secret, config: CredentialsConfig = CONFIG, **further: Any) -> dict[str, str]:
    """Secret and key -> value, of an account with these Secrets."""
    there = account("reader", *(it.name for it in secrets), **further)
    found = copied(Account(name="reader"), there, *secrets, config=config)
    keys = {copied_key(it.name, key): f"{it.name} {key}" for it in secrets for key in it.data}
    return {keys[key]: base64.b64decode(value).decode() for key, value in found.data.items()}


# what is named --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({}, None),
        ({"serviceAccountName": "reader"}, Account(name="reader")),
        ({"storage": {"key": "s3"}}, StorageKey(key="s3", lookup="s3")),
        ({"storage": {"key": "s3"}, "serviceAccountName": "reader"}, StorageKey(key="s3", lookup="s3")),
        ({"storage": {"key": ""}}, StorageKey(key="", lookup="default")),
        ({"storage": {"key": "", "parameters": {"type": "s3"}}}, StorageKey(key="", lookup="default_s3")),
        ({"storage": {"parameters": {"a": "b"}}, "serviceAccountName": "reader"}, Account(name="reader")),
        ({"storage": {"parameters": {"a": "b"}}}, Account(name="default", optional=True)),
    ],
)
def test_what_a_cache_names_follows_kserves_order(spec: dict[str, Any], named: Named | None) -> None:
    assert named_credentials(of(**spec), OWN) == named


@pytest.mark.parametrize(
    ("namespace", "config"), [("team-a", LocalModelConfig()), ("", OWN), (OWN.jobs_namespace, OWN)]
)
def test_names_of_the_job_namespace_need_no_copy(namespace: str, config: LocalModelConfig) -> None:
    made = of(namespace, serviceAccountName="reader", storage={"key": "s3"})
    assert named_credentials(made, config) is None
    assert entry_credentials(made, config) == ("reader", made.spec.storage)


@pytest.mark.parametrize(
    ("spec", "account_name", "storage"),
    [
        ({}, "", None),
        ({"serviceAccountName": "reader"}, "localmodel-credentials-uid-1/reader", None),
        ({"storage": {"key": "s3"}, "serviceAccountName": "x"}, "", {"key": "localmodel-credentials-uid-1/s3"}),
        ({"storage": {"key": ""}}, "", {"key": "localmodel-credentials-uid-1/"}),
        ({"storage": {"parameters": {}}}, "localmodel-credentials-uid-1/default", {"parameters": {}}),
        ({"serviceAccountName": "copy-2/x"}, "localmodel-credentials-uid-1/copy-2/x", None),
    ],
)  # fmt: skip
def test_an_entry_names_the_copy_and_nothing_of_the_job_namespace_d18(
    spec: dict[str, Any], account_name: str, storage: dict[str, Any] | None
) -> None:
    named, found = entry_credentials(of(**spec), OWN)
    assert (named, found.to_dict() if found is not None else None) == (account_name, storage)


def test_what_is_named_can_be_told() -> None:
    assert described(Account(name="reader"), "team-a", CONFIG) == "ServiceAccount team-a/reader"
    assert described(StorageKey(key="", lookup="default"), "team-a", CONFIG) == (
        "key 'default' of Secret team-a/storage-config"
    )


# what is copied -------------------------------------------------------------------------------------------------------


def test_of_the_storage_secret_exactly_the_named_key_is_copied() -> None:
    found = copied(StorageKey(key="s3", lookup="s3"), secret("storage-config", s3="{}", other="not this"))
    assert found.data == {"s3": base64.b64encode(b"{}").decode()}


@pytest.mark.parametrize("objects", [(), (secret("storage-config", other="x"),)])
def test_the_default_storage_key_may_be_missing(objects: tuple[Object, ...]) -> None:
    assert copied(StorageKey(key="", lookup="default"), *objects).data == {}


def test_the_copy_carries_the_name_the_uid_and_the_cache() -> None:
    found = copied(Account(name="reader"), account("reader"))
    assert found.to_dict() == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "localmodel-credentials-uid-1",
            "namespace": JOBS,
            "labels": {"localmodel.kserve.io/cache-uid": "uid-1"},
            "annotations": {"localmodel.kserve.io/cache": "team-a/iris", SOURCES_ANNOTATION: "[]"},
        },
        "type": "Opaque",
    }


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        ({"awsSecretAccessKey": "x", "awsAccessKeyID": "y", "S3_ENDPOINT": "z", "note": "n"},
         {"awsSecretAccessKey", "awsAccessKeyID", "S3_ENDPOINT"}),
        ({"AZ_CLIENT_ID": "x", "AZURE_CLIENT_SECRET": "y", "HF_TOKEN": "n"}, {"AZ_CLIENT_ID", "AZURE_CLIENT_SECRET"}),
        ({"AZURE_STORAGE_ACCESS_KEY": "x", "AZURE_ACCOUNT_NAME": "n"}, {"AZURE_STORAGE_ACCESS_KEY"}),
        ({"https__host": "x", "headers": "y", "note": "n"}, {"https-host", "headers"}),
        ({"HDFS_NAMENODE": "x", "TLS_CA": "y", "note": "n"}, {"HDFS_NAMENODE", "TLS_CA"}),
        ({"HF_TOKEN": "x", "note": "n"}, {"HF_TOKEN"}),
        ({"MODELSCOPE_API_TOKEN": "x", "note": "n"}, {"MODELSCOPE_API_TOKEN"}),
        ({"note": "n"}, set()),
    ],
)  # fmt: skip
def test_of_a_secret_only_the_keys_are_copied_that_a_download_uses(data: dict[str, str], keys: set[str]) -> None:
    assert from_account(secret("s", **data)).keys() == {f"s {key}" for key in keys}


def test_the_configured_names_of_keys_count() -> None:
    config = CredentialsConfig(
        s3=S3Config(s3_access_key_id_name="id", s3_secret_access_key_name="secret"),
        gcs=GcsConfig(gcs_credential_file_name="gcs"),
    )
    found = from_account(secret("a", id="1", secret="2", awsAccessKeyID="3"), secret("b", gcs="4"), config=config)
    assert found == {"a id": "1", "a secret": "2", "b gcs": "4"}


def test_secrets_with_the_same_keys_are_both_copied() -> None:
    found = from_account(secret("a", https__host="one", headers="1"), secret("b", https__host="two", headers="2"))
    assert found == {"a https-host": "one", "a headers": "1", "b https-host": "two", "b headers": "2"}


@pytest.mark.parametrize("type_", ["kubernetes.io/service-account-token"])
def test_a_token_of_the_cluster_is_never_copied(type_: str) -> None:
    assert from_account(secret("s", type_=type_, token="t", HF_TOKEN="x")) == {}


def test_image_pull_secrets_are_not_even_read() -> None:
    there = account("reader", "hf", imagePullSecrets=[{"name": "registry"}])
    client = FakeClient(there, secret("hf", HF_TOKEN="x"), secret("registry", HF_TOKEN="y"))
    wanted_copy(of(), Account(name="reader"), JOBS, CONFIG, client)
    assert [action.name for action in client.actions] == ["reader", "hf"]


def test_the_settings_of_s3_in_annotations_are_kept_with_their_secret() -> None:
    annotated = secret("s", awsSecretAccessKey="x")
    annotated.metadata.annotations = {"serving.kserve.io/s3-endpoint": "minio:9000", "note": "n"}
    found = copied(Account(name="reader"), account("reader", "s"), annotated)
    assert found.metadata.annotations[SOURCES_ANNOTATION] == (
        '[{"name": "s", "annotations": {"serving.kserve.io/s3-endpoint": "minio:9000"}}]'
    )


def test_secrets_of_other_namespaces_are_not_read() -> None:
    there = ServiceAccount.from_dict({
        "metadata": {"name": "reader", "namespace": "team-a"}, "secrets": [{"name": "hf", "namespace": "team-b"}],
    })  # fmt: skip
    with pytest.raises(UnavailableError, match="Secret team-a/hf of ServiceAccount reader does not exist"):
        copied(Account(name="reader"), there, secret("hf", namespace="team-b", HF_TOKEN="x"))


# what cannot be had ---------------------------------------------------------------------------------------------------


def annotated(name: str, endpoint: str) -> Secret:
    found = secret(name, awsSecretAccessKey="x")
    found.metadata.annotations = {"serving.kserve.io/s3-endpoint": endpoint}
    return found


ROLE = {"metadata": {"name": "reader", "namespace": "team-a", "annotations": {"eks.amazonaws.com/role-arn": "arn"}}}


@pytest.mark.parametrize(
    ("named", "objects", "reason", "words"),
    [
        (StorageKey(key="k", lookup="k"), (), "CredentialsNotFound", "Secret team-a/storage-config does not exist"),
        (StorageKey(key="k", lookup="k"), (secret("storage-config", o="x"),), "CredentialsNotFound", "has no key 'k'"),
        (Account(name="reader"), (), "CredentialsNotFound", "ServiceAccount team-a/reader does not exist"),
        (Account(name="reader"), (account("reader", "s"),), "CredentialsNotFound", "Secret team-a/s of ServiceAccount"),
        (Account(name="reader"), (ServiceAccount.from_dict(ROLE),), "CredentialsNotCopied", "has a cloud role"),
        (Account(name="reader"), (account("reader", "s"), secret("s", HF_TOKEN="x" * (MAX_BYTES + 1))),
         "CredentialsNotCopied", "have more than 1048576 bytes together"),
        (Account(name="reader"), (account("reader", *map(str, range(MAX_SECRETS + 1))),),
         "CredentialsNotCopied", "has 33 Secrets, and those of at most 32 are copied"),
        (Account(name="reader"), (account("reader", "s"), annotated("s", "x" * MAX_SETTINGS)),
         "CredentialsNotCopied", "characters together, and at most 131072 are copied"),
    ],
)  # fmt: skip
def test_what_cannot_be_copied_is_named(named: Named, objects: tuple[Object, ...], reason: str, words: str) -> None:
    with pytest.raises(UnavailableError, match=words) as raised:
        copied(named, *objects)
    assert raised.value.problem.reason == reason


def test_no_more_is_read_of_an_account_than_a_copy_can_take() -> None:
    """Else whoever fills a namespace with Secrets fills the manager's memory."""
    names = [str(number) for number in range(5)]
    client = FakeClient(account("reader", *names), *(secret(it, HF_TOKEN="x" * (MAX_BYTES // 2)) for it in names))
    with pytest.raises(UnavailableError, match="have more than"):
        wanted_copy(of(), Account(name="reader"), JOBS, CONFIG, client)
    assert [action.name for action in client.actions if action.kind is Secret] == ["0", "1", "2"]


def test_a_role_beside_secrets_does_not_count() -> None:
    found = from_account(secret("s", HF_TOKEN="x"), **ROLE | {"secrets": [{"name": "s"}]})
    assert found == {"s HF_TOKEN": "x"}


def test_a_default_account_that_is_missing_has_nothing() -> None:
    assert copied(Account(name="default", optional=True)).data == {}


@pytest.mark.parametrize("name", ["../secrets/x", "copy/reader", "a b", "", "-", "x" * 254])
def test_what_no_object_can_be_called_is_not_asked_for(name: str) -> None:
    client = FakeClient(account("reader", name))
    for named in (Account(name=name), Account(name="reader")):
        with pytest.raises(UnavailableError, match="does not exist"):
            wanted_copy(of(), named, JOBS, CONFIG, client)
    assert [action.name for action in client.actions] == ["reader"]


def test_what_may_not_be_read_is_named_with_what_to_do() -> None:
    client = FakeClient(account("reader"))
    client.faults.fail(ForbiddenError.of("no right"), verb="get", kind=ServiceAccount)
    with pytest.raises(UnavailableError) as raised:
        wanted_copy(of(), Account(name="reader"), JOBS, CONFIG, client)
    assert raised.value.problem.reason == "CredentialsForbidden"
    assert raised.value.problem.message == (
        "ServiceAccount team-a/reader may not be read: give the manager `get` on it by a Role and a RoleBinding in "
        "namespace team-a (docs/security.md): no right"
    )


def test_an_api_server_that_fails_says_nothing_of_the_credentials() -> None:
    client = FakeClient(account("reader"))
    client.faults.fail(ServiceUnavailableError.of("down"), verb="get", kind=ServiceAccount)
    with pytest.raises(ServiceUnavailableError):
        wanted_copy(of(), Account(name="reader"), JOBS, CONFIG, client)
