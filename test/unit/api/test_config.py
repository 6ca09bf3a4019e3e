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


def test_the_documented_configuration_is_read() -> None:
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
