"""The ConfigMap inferenceservice-config."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localmodel.api import ConfigError, InferenceServiceConfig, LocalModelConfig
from localmodel.runtime.objects import ConfigMap


def config_map(**sections: Any) -> ConfigMap:
    return ConfigMap(
        data={key: value if isinstance(value, str) else json.dumps(value) for key, value in sections.items()}
    )


@pytest.mark.parametrize("source", [None, ConfigMap(), config_map(localModel={}), config_map(localModel=" ")])
def test_what_is_absent_has_its_default(source: ConfigMap | None) -> None:
    config = LocalModelConfig.from_config_map(source)
    assert config.jobs_namespace == "kserve-localmodel-jobs"
    assert config.job_ttl_seconds_after_finished == 3600
    assert config.reconcilation_frequency_in_secs == 60
    assert not config.enabled


def test_the_documented_configuration_is_read_d88() -> None:
    config = LocalModelConfig.from_config_map(
        config_map(
            localModel={
                "enabled": True,
                "jobNamespace": "jobs",
                "defaultJobImage": "kserve/storage-initializer:latest",
                "fsGroup": 1000,
                "localModelAgentImage": "agent",
                "localModelAgentCpuRequest": "100m",
                "localModelAgentMemoryLimit": "300Mi",
                "jobTTLSecondsAfterFinished": 60,
                "reconcilationFrequencyInSecs": 5,
                "disableVolumeManagement": True,
                "somethingElse": [1],
            }
        )
    )
    assert config.enabled
    assert config.disable_volume_management
    assert (config.jobs_namespace, config.fs_group, config.job_ttl_seconds_after_finished) == ("jobs", 1000, 60)
    assert (config.local_model_agent_image, config.local_model_agent_cpu_request) == ("agent", "100m")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "object is needed"),
        ('{"jobTTLSecondsAfterFinished": "soon"}', "jobTTLSecondsAfterFinished"),
        ('{"credentialNamespace": "theirs"}', "credentialNamespace"),
        ('{"fsGroup": {}}', "fsGroup"),
    ],
)
def test_a_bad_value_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"localModel: .*{said}"):
        LocalModelConfig.from_config_map(config_map(localModel=text))


REFUSED: list[tuple[str, str, Any, str]] = [
    ("localModel", "enabled", "true", 'enabled is "true": give true or false'),
    ("localModel", "jobNamespace", "My_Jobs", 'jobNamespace is "My_Jobs": give the name of a namespace'),
    ("localModel", "jobNamespace", "a" * 64, "jobNamespace is .*at most 63 characters"),
    ("localModel", "defaultJobImage", " ", 'defaultJobImage is " ": give an image without spaces'),
    ("localModel", "downloadImage", "a b", "downloadImage is"),
    ("localModel", "localModelAgentImage", "a\n", "localModelAgentImage is"),
    ("localModel", "fsGroup", -1, "fsGroup is -1: give at least 0"),
    ("localModel", "fsGroup", True, "fsGroup is true: give a whole number"),
    ("localModel", "jobTTLSecondsAfterFinished", 0, "jobTTLSecondsAfterFinished is 0: give at least 1"),
    ("localModel", "jobTTLSecondsAfterFinished", 2**31, "jobTTLSecondsAfterFinished is 2147483648: give at most"),
    ("localModel", "reconcilationFrequencyInSecs", -60, "reconcilationFrequencyInSecs is -60: give at least 1"),
    ("localModel", "reconcilationFrequencyInSecs", 2**63, "reconcilationFrequencyInSecs is"),
    ("localModel", "disableVolumeManagement", 1, "disableVolumeManagement is 1: give true or false"),
    ("localModel", "localModelAgentCpuRequest", "some", 'localModelAgentCpuRequest is "some": give a quantity'),
    ("localModel", "localModelAgentCpuLimit", "1 Gi", "localModelAgentCpuLimit is"),
    ("localModel", "localModelAgentMemoryRequest", "-1Gi", "localModelAgentMemoryRequest is"),
    ("localModel", "localModelAgentMemoryLimit", 300, "localModelAgentMemoryLimit is 300: give a text, in quotes"),
    ("localModel", "downloadMode", "Pod", "downloadMode is \"Pod\": give one of 'Job' or 'Agent'"),
    ("localModel", "servingVolumeScope", "node", "servingVolumeScope is"),
    ("localModel", "storageIsolation", "none", "storageIsolation is"),
    ("localModel", "maxConcurrentDownloadsPerNode", -1, "maxConcurrentDownloadsPerNode is"),
    ("localModel", "jobBackoffLimit", -1, "jobBackoffLimit is"),
    ("localModel", "unreferencedGraceSeconds", -1, "unreferencedGraceSeconds is"),
    ("localModel", "highWatermarkPercent", 101, "highWatermarkPercent is 101: give at most 100"),
    ("localModel", "lowWatermarkPercent", 90, "lowWatermarkPercent 90 is above highWatermarkPercent 80: give both"),
    ("localModel", "scrubIntervalSeconds", -1, "scrubIntervalSeconds is -1: give at least 0"),
    ("localModel", "scrubBytesPerSecond", "fast", "scrubBytesPerSecond is"),
    ("localModel", "scrubBytesPerSecond", 50, "scrubBytesPerSecond is 50: give a text"),
    ("storageInitializer", "image", "a b", "image is"),
    ("storageInitializer", "cpuRequest", "fast", "cpuRequest is"),
    ("storageInitializer", "cpuLimit", 1, "cpuLimit is 1: give a text"),
    ("storageInitializer", "memoryRequest", "1GiB", "memoryRequest is"),
    ("storageInitializer", "memoryLimit", "lots", "memoryLimit is"),
    ("storageInitializer", "caBundleConfigMapName", "A b", "caBundleConfigMapName is"),
    ("storageInitializer", "caBundleVolumeMountPath", "etc/ssl", 'caBundleVolumeMountPath is "etc/ssl": give a path'),
    ("credentials", "storageSpecSecretName", "my secret", "storageSpecSecretName is"),
    ("credentials", "storageSecretNameAnnotation", "a/b/c", "storageSecretNameAnnotation is"),
    ("credentials", "s3", {"s3AccessKeyIDName": "a key"}, "s3.s3AccessKeyIDName is"),
    ("credentials", "s3", {"s3SecretAccessKeyName": ".."}, "s3.s3SecretAccessKeyName is"),
    ("credentials", "s3", {"s3CABundleConfigMap": "-"}, "s3.s3CABundleConfigMap is"),
    ("credentials", "s3", {"s3UseHttps": 1}, "s3.s3UseHttps is 1: give a text, in quotes"),
    ("credentials", "s3", [], "s3 is an array: give a JSON object"),
    ("credentials", "gcs", {"gcsCredentialFileName": "a/b"}, "gcs.gcsCredentialFileName is"),
]


@pytest.mark.parametrize(("key", "field", "value", "said"), REFUSED)
def test_a_refusal_names_key_field_and_value_and_says_what_to_do(key: str, field: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: {said}"):
        InferenceServiceConfig.from_config_map(config_map(**{key: {field: value}}))


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        LocalModelConfig.from_config_map(config_map(localModel={"fsGroup": -1, "enabled": 0}))
    assert str(refused.value) == (
        "localModel: enabled is 0: give true or false, without quotes; fsGroup is -1: give at least 0"
    )


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as refused:
        LocalModelConfig.from_config_map(config_map(localModel={"downloadImage": "x y" * 1000}))
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"fsGroup": ' + "1" * 5000 + "}"])
def test_what_overwhelms_the_parser_is_refused_like_anything_else(text: str) -> None:
    with pytest.raises(ConfigError, match="localModel: not JSON"):
        LocalModelConfig.from_config_map(config_map(localModel=text))


def test_what_kserve_ships_is_good() -> None:
    """config/configmap/inferenceservice.yaml of KServe, as far as it is read."""
    InferenceServiceConfig.from_config_map(
        config_map(
            localModel={
                "enabled": False,
                "jobNamespace": "kserve-localmodel-jobs",
                "defaultJobImage": "kserve/storage-initializer:latest",
                "fsGroup": 1000,
                "localModelAgentImage": "kserve/kserve-localmodelnode-agent:latest",
                "localModelAgentCpuRequest": "100m",
                "localModelAgentMemoryRequest": "200Mi",
                "localModelAgentCpuLimit": "100m",
                "localModelAgentMemoryLimit": "300Mi",
            },
            storageInitializer={
                "image": "kserve/storage-initializer:latest",
                "memoryRequest": "100Mi",
                "memoryLimit": "1Gi",
                "cpuRequest": "100m",
                "cpuLimit": "1",
                "caBundleConfigMapName": "",
                "caBundleVolumeMountPath": "/etc/ssl/custom-certs",
                "enableModelcar": True,
                "cpuModelcar": "10m",
                "memoryModelcar": "15Mi",
                "uidModelcar": 1010,
            },
            credentials={
                "storageSpecSecretName": "storage-config",
                "storageSecretNameAnnotation": "serving.kserve.io/storageSecretName",
                "gcs": {"gcsCredentialFileName": "gcloud-application-credentials.json"},
                "s3": {
                    "s3AccessKeyIDName": "AWS_ACCESS_KEY_ID",
                    "s3SecretAccessKeyName": "AWS_SECRET_ACCESS_KEY",
                    "s3Endpoint": "",
                    "s3UseHttps": "",
                    "s3Region": "",
                    "s3VerifySSL": "",
                    "s3UseVirtualBucket": "",
                    "s3UseAccelerate": "",
                    "s3UseAnonymousCredential": "",
                    "s3CABundleConfigMap": "",
                    "s3CABundle": "",
                },
            },
        )
    )


def test_an_empty_name_in_credentials_is_the_default_as_in_kserve() -> None:
    config = InferenceServiceConfig.from_config_map(
        config_map(credentials={"storageSpecSecretName": "", "s3": {"s3AccessKeyIDName": ""}})
    ).credentials
    assert (config.storage_spec_secret_name, config.s3.s3_access_key_id_name) == ("storage-config", "awsAccessKeyID")


def test_a_bad_section_stays_as_it_was_and_the_good_ones_are_taken() -> None:
    before = InferenceServiceConfig.from_config_map(config_map(localModel={"jobNamespace": "jobs"}))
    changed = config_map(localModel={"jobNamespace": "_"}, storageInitializer={"image": "new"})
    config, problems = before.updated(changed)
    assert config.local_model.jobs_namespace == "jobs"
    assert config.storage_initializer.image == "new"
    assert list(problems) == ["localModel"]


def test_without_a_last_good_state_the_good_fields_hold() -> None:
    config = InferenceServiceConfig.salvaged(
        config_map(
            localModel={
                "jobNamespace": "jobs",
                "jobTTLSecondsAfterFinished": 0,
                "highWatermarkPercent": 50,
                "lowWatermarkPercent": 60,
            },
            storageInitializer="{",
        )
    )
    assert config.local_model.jobs_namespace == "jobs"
    assert config.local_model.job_ttl_seconds_after_finished == 3600
    assert (config.local_model.low_watermark_percent, config.local_model.high_watermark_percent) == (70, 80)
    assert config.storage_initializer.image == ""


@pytest.mark.parametrize(("text", "rate"), [(None, 50 << 20), ("", 50 << 20), ("0", 0), ("1Mi", 1 << 20), ("1m", 1)])
def test_how_fast_models_are_read_again(text: str | None, rate: int) -> None:
    config = LocalModelConfig.from_config_map(config_map(localModel={"scrubBytesPerSecond": text}))
    assert config.scrub_rate == rate


def test_null_leaves_the_default() -> None:
    config = LocalModelConfig.from_config_map(config_map(localModel={"jobNamespace": None}))
    assert config.jobs_namespace == "kserve-localmodel-jobs"


def test_the_download_image_is_ours_then_the_storage_initializers_then_the_default_job_image_d31() -> None:
    def image(**sections: Any) -> str:
        return InferenceServiceConfig.from_config_map(config_map(**sections)).download_image

    ours, default = {"downloadImage": "a", "defaultJobImage": "c"}, {"defaultJobImage": "c"}
    assert image(localModel=ours, storageInitializer={"image": "b"}) == "a"
    assert image(localModel=default, storageInitializer={"image": "b"}) == "b"
    assert image(localModel=default) == "c"
    assert image() == "kserve/storage-initializer:latest"


def test_credentials_have_kserves_names() -> None:
    config = InferenceServiceConfig.from_config_map(
        config_map(credentials={"s3": {"s3AccessKeyIDName": "AWS_ACCESS_KEY_ID", "s3VerifySSL": "0"}})
    ).credentials
    assert config.storage_spec_secret_name == "storage-config"
    assert config.s3.s3_access_key_id_name == "AWS_ACCESS_KEY_ID"
    assert config.s3.s3_secret_access_key_name == "awsSecretAccessKey"
    assert config.s3.s3_verify_ssl == "0"
    assert config.gcs.gcs_credential_file_name == "gcloud-application-credentials.json"
