"""Credentials of download Jobs, row by row of kserve-behaviour.md 9; values never appear, only references."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from support.rigid import Rigid

from localmodel.agent.additions import Credentials
from localmodel.agent.credentials import CredentialsBuilder, fingerprint
from localmodel.agent.errors import CredentialsError
from localmodel.agent.s3 import s3_settings
from localmodel.api.config import CredentialsConfig, S3Config
from localmodel.api.credentials import (
    SOURCES_ANNOTATION,
    CopiedSecret,
    copied_key,
    copy_name,
    format_sources,
    secret_shape,
)
from localmodel.api.model import LocalModelStorageSpec
from localmodel.api.node import LocalModelInfo
from localmodel.runtime.objects import Object, Secret, ServiceAccount
from localmodel.runtime.testing.fake import FakeClient

JOBS = "jobs"


def secret(data: dict[str, str], name: str = "s", **annotations: str) -> Secret:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return Secret.from_dict(
        {"metadata": {"name": name, "namespace": JOBS, "annotations": annotations}, "data": encoded}
    )


def account(*secrets: str, name: str = "sa", **annotations: str) -> ServiceAccount:
    return ServiceAccount.from_dict({
        "metadata": {"name": name, "namespace": JOBS, "annotations": annotations},
        "secrets": [{"name": secret} for secret in secrets],
    })  # fmt: skip


def build(*objects: Object, config: CredentialsConfig | None = None, foreign: str = "", **entry: Any) -> Credentials:
    info = LocalModelInfo(model_name="iris", source_model_uri="s3://b/m", **entry)
    reader = Rigid(FakeClient(*objects))
    return CredentialsBuilder(reader, JOBS, config or CredentialsConfig(), foreign_image=foreign).build(info)


def env(found: Credentials) -> dict[str, Any]:
    """Variable -> its value, or "secret/key"."""
    plain = {}
    for item in found.env:
        reference = item.get("valueFrom", {}).get("secretKeyRef")
        plain[item["name"]] = f"{reference['name']}/{reference['key']}" if reference else item["value"]
    return plain


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"HF_TOKEN": "x"}, {"HF_TOKEN": "s/HF_TOKEN"}),
        ({"MODELSCOPE_API_TOKEN": "x"}, {"MODELSCOPE_API_TOKEN": "s/MODELSCOPE_API_TOKEN"}),
        ({"AZURE_STORAGE_ACCESS_KEY": "x"}, {"AZURE_STORAGE_ACCESS_KEY": "s/AZURE_STORAGE_ACCESS_KEY"}),
        ({"https-host": "models.example", "headers": "{}"}, {"models.example-headers": "s/headers"}),
        ({"https-host": "models.example"}, {}),
        ({"unrelated": "x"}, {}),
        (
            {"AZ_CLIENT_ID": "x", "AZ_CLIENT_SECRET": "x", "AZURE_ACCOUNT_NAME": "x"},
            {
                "AZURE_CLIENT_ID": "s/AZ_CLIENT_ID",
                "AZURE_CLIENT_SECRET": "s/AZ_CLIENT_SECRET",
                "AZURE_ACCOUNT_NAME": "s/AZURE_ACCOUNT_NAME",
            },
        ),
        (
            {"awsAccessKeyID": "x", "awsSecretAccessKey": "x", "S3_ENDPOINT": "http://minio:9000"},
            {
                "AWS_ACCESS_KEY_ID": "s/awsAccessKeyID",
                "AWS_SECRET_ACCESS_KEY": "s/awsSecretAccessKey",
                "S3_USE_HTTPS": "0",
                "S3_ENDPOINT": "minio:9000",
                "AWS_ENDPOINT_URL": "http://minio:9000",
            },
        ),
    ],
)
def test_a_secret_of_a_service_account_becomes_variables(data: dict[str, str], expected: dict[str, str]) -> None:
    found = build(account("s"), secret(data), service_account_name="sa")
    assert env(found) == expected


def test_azure_variables_refer_only_to_keys_that_are_there_d52() -> None:
    found = build(account("s"), secret({"AZURE_CLIENT_ID": "x"}), service_account_name="sa")
    assert env(found) == {"AZURE_CLIENT_ID": "s/AZURE_CLIENT_ID"}


def test_half_of_a_key_of_s3_is_named_d48() -> None:
    with pytest.raises(CredentialsError, match="Secret jobs/s has no key 'awsAccessKeyID', which goes with"):
        build(account("s"), secret({"awsSecretAccessKey": "x"}), service_account_name="sa")


def test_the_names_of_s3_keys_are_configurable() -> None:
    config = CredentialsConfig(
        s3=S3Config(s3_access_key_id_name="AWS_ACCESS_KEY_ID", s3_secret_access_key_name="AWS_SECRET_ACCESS_KEY")
    )
    data = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    found = build(account("s"), secret(data), config=config, service_account_name="sa")
    assert env(found)["AWS_SECRET_ACCESS_KEY"] == "s/AWS_SECRET_ACCESS_KEY"
    assert "very-secret" not in str(found)


def test_google_and_hdfs_secrets_are_mounted() -> None:
    objects = (secret({"gcloud-application-credentials.json": "{}"}, "g"), secret({"HDFS_NAMENODE": "n"}, "h"))
    found = build(account("g", "h"), *objects, service_account_name="sa")
    assert {v["name"]: v["secret"]["secretName"] for v in found.volumes} == {"user-gcp-sa": "g", "hdfs-secrets": "h"}
    assert [m["mountPath"] for m in found.volume_mounts if m["readOnly"]] == [
        "/var/secrets/kserve-hdfscreds",
        "/var/secrets/",
    ]
    assert env(found)["GOOGLE_APPLICATION_CREDENTIALS"] == "/var/secrets/gcloud-application-credentials.json"


def test_a_job_with_a_cloud_role_runs_as_its_service_account_d49() -> None:
    annotations = {"eks.amazonaws.com/role-arn": "arn", "serving.kserve.io/s3-region": "eu-west-1"}
    found = build(account(**annotations), service_account_name="sa")
    assert (found.service_account, env(found)) == ("sa", {"AWS_DEFAULT_REGION": "eu-west-1"})


def test_an_entry_without_credentials_gets_none() -> None:
    assert build() == Credentials()


def test_a_key_goes_before_a_service_account() -> None:
    config = secret({"k": '{"type": "s3"}'}, "storage-config")
    found = build(config, storage=LocalModelStorageSpec(key="k"), service_account_name="missing")
    assert env(found) == {"STORAGE_CONFIG": "storage-config/k"}


def test_an_hf_key_as_documented_is_accepted_d50() -> None:
    config = secret({"hf-credentials": '{"type": "hf", "token": "hf_x"}'}, "storage-config")
    found = build(config, storage=LocalModelStorageSpec(key="hf-credentials"))
    assert env(found) == {"STORAGE_CONFIG": "storage-config/hf-credentials"}


@pytest.mark.parametrize("parameters", [None, {"type": "hf"}])
def test_a_foreign_image_cannot_read_an_hf_key_and_the_entry_says_what_can_d50(
    parameters: dict[str, str] | None,
) -> None:
    config = secret({"k": '{"type": "hf", "token": "hf_x"}'}, "storage-config")
    with pytest.raises(CredentialsError, match="and kserve/storage-initializer:v1 is not: name ours in localModel"):
        build(
            config,
            storage=LocalModelStorageSpec(key="k", parameters=parameters),
            foreign="kserve/storage-initializer:v1",
        )


def test_a_foreign_image_reads_keys_of_kserves_types() -> None:
    config = secret({"k": '{"type": "s3"}'}, "storage-config")
    found = build(config, storage=LocalModelStorageSpec(key="k"), foreign="kserve/storage-initializer:v1")
    assert env(found) == {"STORAGE_CONFIG": "storage-config/k"}


@pytest.mark.parametrize("parameters", [None, {"type": "s3"}])
def test_a_bundle_that_a_key_names_is_used_whatever_the_parameters_say_d51(parameters: dict[str, str] | None) -> None:
    text = '{"type": "s3", "cabundle_configmap": "mine", "ca_bundle": "/certs/root.pem"}'
    config = secret({"k": text}, "storage-config")
    found = env(build(config, storage=LocalModelStorageSpec(key="k", parameters=parameters)))
    assert (found["AWS_CA_BUNDLE_CONFIGMAP"], found["AWS_CA_BUNDLE"]) == ("mine", "/certs/root.pem")


def test_parameters_count_beside_a_service_account_d50() -> None:
    found = build(
        account("s"),
        secret({"HF_TOKEN": "x"}),
        service_account_name="sa",
        storage=LocalModelStorageSpec(parameters={"region": "eu"}),
    )
    assert env(found) == {"HF_TOKEN": "s/HF_TOKEN", "STORAGE_OVERRIDE_CONFIG": '{"region": "eu"}'}


@pytest.mark.parametrize(
    "parameters",
    [
        {"secret_access_key": "x"},
        {"token": "x"},
        {"KERBEROS_KEYTAB": "x"},
        {"HEADERS": "x"},
        {"TLS_KEY": "x"},
        {"Password": "x"},
        {"endpoint_url": "https://me:x@minio"},
    ],
)
@pytest.mark.parametrize("entry", [{}, {"key": "k"}])
def test_credentials_among_parameters_are_named_and_not_shown_d21(
    parameters: dict[str, str], entry: dict[str, str]
) -> None:
    config = secret({"k": '{"type": "s3"}'}, "storage-config")
    (name,) = parameters
    with pytest.raises(CredentialsError, match=f"move {name} into a key of the storage secret") as caught:
        build(config, storage=LocalModelStorageSpec(parameters=parameters, **entry))
    assert "'x'" not in str(caught.value)


def test_settings_among_parameters_are_passed_on() -> None:
    parameters = {
        "type": "s3",
        "region": "eu",
        "bucket": "b",
        "endpoint_url": "https://minio:9000/a@b",
        "anonymous": "true",
    }
    found = build(storage=LocalModelStorageSpec(parameters=parameters))
    assert set(env(found)) == {"STORAGE_OVERRIDE_CONFIG"}


def test_what_a_parameter_says_is_taken_as_it_stands() -> None:
    found = build(storage=LocalModelStorageSpec(parameters={"endpoint_url": "https://x/$(AWS_SECRET_ACCESS_KEY)"}))
    assert env(found)["STORAGE_OVERRIDE_CONFIG"] == '{"endpoint_url": "https://x/$$(AWS_SECRET_ACCESS_KEY)"}'


def test_an_empty_key_takes_the_default_of_its_type() -> None:
    config = secret({"default_s3": '{"type": "s3"}'}, "storage-config")
    found = build(config, storage=LocalModelStorageSpec(key="", parameters={"type": "s3"}))
    assert env(found) == {"STORAGE_CONFIG": "storage-config/default_s3", "STORAGE_OVERRIDE_CONFIG": '{"type": "s3"}'}


def test_parameters_without_a_key_use_the_default_service_account_and_count_d50() -> None:
    found = build(
        account("s", name="default"), secret({"HF_TOKEN": "x"}), storage=LocalModelStorageSpec(parameters={"a": "b"})
    )
    assert env(found) == {"HF_TOKEN": "s/HF_TOKEN", "STORAGE_OVERRIDE_CONFIG": '{"a": "b"}'}


@pytest.mark.parametrize(
    ("objects", "entry", "words"),
    [
        ((), {"service_account_name": "sa"}, "ServiceAccount jobs/sa does not exist"),
        ((account("s"),), {"service_account_name": "sa"}, "Secret jobs/s of ServiceAccount sa does not exist"),
        ((), {"service_account_name": "a?b"}, r"ServiceAccount jobs/a\?b does not exist"),
        ((account("a/b"),), {"service_account_name": "sa"}, "Secret jobs/a/b of ServiceAccount sa does not exist"),
        ((account(""),), {"service_account_name": "sa"}, "Secret jobs/ of ServiceAccount sa does not exist"),
        ((), {"storage": LocalModelStorageSpec(key="k")}, "Secret jobs/storage-config with the key 'k' does not exist"),
    ],
)
def test_what_is_missing_is_named_d48(objects: tuple[Object, ...], entry: dict[str, Any], words: str) -> None:
    with pytest.raises(CredentialsError, match=words):
        build(*objects, **entry)


def test_a_broken_storage_key_does_not_leak_its_text() -> None:
    with pytest.raises(CredentialsError) as caught:
        build(secret({"k": "token=hf_secret"}, "storage-config"), storage=LocalModelStorageSpec(key="k"))
    assert "hf_secret" not in str(caught.value)


def test_fingerprints_tell_credentials_apart() -> None:
    def of(**fields: Any) -> str:
        return fingerprint(LocalModelInfo(model_name="a", source_model_uri="u", **fields))

    assert of() == ""
    prints = [of(service_account_name="x"), of(storage=LocalModelStorageSpec(key="x")), of(revision="x")]
    assert len({*prints, ""}) == 4


# copies of the manager ------------------------------------------------------------------------------------------------

UID = "uid-1"
COPY = copy_name(UID)


def copy_of(data: dict[str, str], sources: str = "") -> Secret:
    annotations = {SOURCES_ANNOTATION: sources} if sources else {}
    return secret(data, COPY, **annotations)


def of_own(*objects: Object, uid: str = UID, **entry: Any) -> Credentials:
    return build(*objects, namespace="team-a", cache_uid=uid, **entry)


def test_a_storage_key_of_a_copy_is_read_from_it() -> None:
    found = of_own(copy_of({"k": '{"type": "s3"}'}), storage=LocalModelStorageSpec(key=f"{COPY}/k"))
    assert env(found) == {"STORAGE_CONFIG": f"{COPY}/k"}


def test_the_default_key_of_a_copy_may_be_missing() -> None:
    storage = LocalModelStorageSpec(key=f"{COPY}/", parameters={"type": "s3"})
    assert env(of_own(copy_of({}), storage=storage)) == {"STORAGE_OVERRIDE_CONFIG": '{"type": "s3"}'}


def test_the_secrets_of_a_copied_account_are_looked_through_in_their_order() -> None:
    data = {copied_key("a", "HF_TOKEN"): "1", copied_key("b", "HF_TOKEN"): "2", copied_key("c", "HF_TOKEN"): "3"}
    sources = format_sources([CopiedSecret(name="b"), CopiedSecret(name="a")])
    found = of_own(copy_of(data, sources), service_account_name=f"{COPY}/reader")
    assert env(found) == {"HF_TOKEN": f"{COPY}/{copied_key('a', 'HF_TOKEN')}"}


def test_of_a_copied_secret_only_its_own_keys_are_mounted_under_their_names() -> None:
    data = {copied_key("h", "HDFS_NAMENODE"): "n", copied_key("t", "HF_TOKEN"): "t"}
    sources = format_sources([CopiedSecret(name="h"), CopiedSecret(name="t")])
    found = of_own(copy_of(data, sources), service_account_name=f"{COPY}/reader")
    item = {"key": copied_key("h", "HDFS_NAMENODE"), "path": "HDFS_NAMENODE"}
    assert found.volumes == ({"name": "hdfs-secrets", "secret": {"secretName": COPY, "items": [item]}},)


def test_an_account_without_credentials_downloads_without() -> None:
    assert of_own(copy_of({}, "[]"), service_account_name=f"{COPY}/reader") == Credentials()


def test_parameters_count_beside_a_copied_account() -> None:
    storage = LocalModelStorageSpec(parameters={"a": "b"})
    found = of_own(copy_of({}, "[]"), service_account_name=f"{COPY}/default", storage=storage)
    assert env(found) == {"STORAGE_OVERRIDE_CONFIG": '{"a": "b"}'}


@pytest.mark.parametrize("uid", ["uid-2", ""])
@pytest.mark.parametrize(
    "entry",
    [{"service_account_name": f"{COPY}/reader"}, {"storage": LocalModelStorageSpec(key=f"{COPY}/k")}],
)
def test_a_copy_is_of_no_use_to_another_cache_d18(uid: str, entry: dict[str, Any]) -> None:
    with pytest.raises(CredentialsError, match="that is not of team-a/iris"):
        of_own(copy_of({"k": "{}"}, "[]"), uid=uid, **entry)


def test_a_secret_of_the_job_namespace_cannot_be_named_as_a_copy() -> None:
    with pytest.raises(CredentialsError, match="that is not of /iris"):
        build(secret({"k": "{}"}, "mine"), storage=LocalModelStorageSpec(key="mine/k"), cache_uid=UID)


def test_a_missing_copy_points_at_the_cache() -> None:
    with pytest.raises(CredentialsError, match="does not exist: the conditions of the cache say why"):
        of_own(service_account_name=f"{COPY}/reader")


@pytest.mark.parametrize("sources", ["", "{}", "[{}]", "[1]", "x"])
def test_a_copy_that_was_tampered_with_is_refused(sources: str) -> None:
    with pytest.raises(CredentialsError, match=f"annotation {re.escape(SOURCES_ANNOTATION)} of"):
        of_own(copy_of({}, sources or "null"), service_account_name=f"{COPY}/reader")


def test_copies_of_one_namespace_and_name_may_share_a_download_and_others_may_not() -> None:
    def of(namespace: str, uid: str, named: str = "reader") -> str:
        return fingerprint(
            LocalModelInfo(namespace=namespace, service_account_name=f"{copy_name(uid)}/{named}" if uid else named)
        )

    assert of("team-a", "1") == of("team-a", "2")
    others = [of("team-b", "3"), of("team-a", "1", "writer"), of("team-a", ""), of("", "1")]
    # Nor can a name of another namespace be written by hand, in whichever setting.
    others += [of("team-b", "", "team-a/reader"), of("team-b", "3", "team-a/reader"), of("", "", "team-a/reader")]
    assert of("team-a", "1") not in others


def test_the_storage_key_of_a_copy_counts_in_the_fingerprint() -> None:
    def of(namespace: str, uid: str) -> str:
        return fingerprint(
            LocalModelInfo(namespace=namespace, storage=LocalModelStorageSpec(key=f"{copy_name(uid)}/k"))
        )

    assert of("team-a", "1") == of("team-a", "2") != of("team-b", "1")


def test_what_s3_settings_ask_a_secret_for_is_all_copied() -> None:
    asked: set[str] = set()

    class Asked(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return default

    s3_settings(S3Config(), annotations={}, data=Asked())
    shape = secret_shape({"awsSecretAccessKey"}, CredentialsConfig())
    assert shape is not None
    assert asked | {"awsAccessKeyID", "awsSecretAccessKey"} == shape.keys
