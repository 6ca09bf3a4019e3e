"""The ConfigMap `inferenceservice-config`: the keys localModel, storageInitializer and credentials.

Each value is a JSON document; an absent one means defaults. Whoever reads it keeps the last good configuration when a
new one raises ConfigError. Unknown keys are ignored, since the ConfigMap is shared with the rest of KServe.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, ValidationError

from localmodel.runtime.objects import ConfigMap, Model

from .names import DEFAULT_JOB_NAMESPACE

DEFAULT_DOWNLOAD_IMAGE: Final = "kserve/storage-initializer:latest"
"""The image of download jobs where nothing else is configured, as in KServe."""


class ConfigError(ValueError):
    """A value of the ConfigMap cannot be used; the message names the key and what is wrong with it."""


class ConfigSection(Model):
    """One key of the ConfigMap."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    config_key: ClassVar[str]

    @classmethod
    def from_config_map(cls, config_map: ConfigMap | None) -> Self:
        """The section, with defaults for what it leaves out (all, without ConfigMap or key); raises ConfigError."""
        text = config_map.data.get(cls.config_key, "") if config_map is not None else ""
        if not text.strip():
            return cls()
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{cls.config_key}: not JSON: {error}") from error
        if not isinstance(data, dict):
            raise ConfigError(f"{cls.config_key}: a JSON object is needed, not {type(data).__name__}")
        try:
            return cls.model_validate(_without_nulls(data))
        except ValidationError as error:
            raise ConfigError(f"{cls.config_key}: {_summary(error)}") from error


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    """null leaves the default, as Go's JSON decoder does."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in data.items()
        if value is not None
    }


def _summary(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())


class LocalModelConfig(ConfigSection):
    """The key localModel: KServe's settings, then ours (design.md section 6)."""

    config_key: ClassVar[str] = "localModel"

    enabled: bool = False
    """Services use cached models. Looked at by admission only: what is cached is cached either way."""
    job_namespace: str = DEFAULT_JOB_NAMESPACE
    """Where download jobs, their claims and their credentials live. Read `jobs_namespace` instead."""
    default_job_image: str = ""
    fs_group: int | None = None
    """The group of a download's files; no fsGroup in the job when absent."""
    job_ttl_seconds_after_finished: int = Field(default=3600, alias="jobTTLSecondsAfterFinished")
    reconcilation_frequency_in_secs: int = 60
    """How often an agent looks at its disk without being told to. The spelling is KServe's."""
    disable_volume_management: bool = False
    """No serving volumes are made or removed."""
    local_model_agent_image: str = ""
    local_model_agent_cpu_request: str = ""
    local_model_agent_memory_request: str = ""
    local_model_agent_cpu_limit: str = ""
    local_model_agent_memory_limit: str = ""

    download_image: str = ""
    """The image of download jobs; see `InferenceServiceConfig.download_image`."""
    download_mode: Literal["Job", "Agent"] = "Job"
    """Agent: the agent downloads itself, in a child process."""
    serving_volume_scope: Literal["root", "model"] = "root"
    """What a serving volume shows: the models root (KServe's layout) or one model's folder."""
    credential_namespace: Literal["job", "own"] = "job"
    """Where the credentials of a LocalModelNamespaceCache are: in the job namespace or in its own."""
    storage_isolation: Literal["verified", "shared", "namespace"] = "verified"
    """When two caches with different credentials may share one downloaded folder."""
    max_concurrent_downloads_per_node: int = Field(default=0, ge=0)
    """0 is no limit."""
    job_backoff_limit: int = Field(default=2, ge=0)
    unreferenced_grace_seconds: int = Field(default=3600, ge=0, le=10**9)
    """How long a model is kept that no entry asks for while its cache still exists."""
    high_watermark_percent: int = Field(default=80, ge=1, le=100)
    low_watermark_percent: int = Field(default=70, ge=0, le=100)

    @property
    def jobs_namespace(self) -> str:
        """The job namespace; KServe's documented default where it is set to nothing."""
        return self.job_namespace or DEFAULT_JOB_NAMESPACE


class StorageInitializerConfig(ConfigSection):
    """The key storageInitializer: the container of download jobs."""

    config_key: ClassVar[str] = "storageInitializer"

    image: str = ""
    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    ca_bundle_config_map_name: str = ""
    ca_bundle_volume_mount_path: str = ""


class S3Config(Model):
    """Names of the keys in S3 secrets, and defaults for what a secret does not say."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    s3_access_key_id_name: str = Field(default="awsAccessKeyID", alias="s3AccessKeyIDName")
    s3_secret_access_key_name: str = Field(default="awsSecretAccessKey", alias="s3SecretAccessKeyName")
    s3_endpoint: str = Field(default="", alias="s3Endpoint")
    s3_use_https: str = Field(default="", alias="s3UseHttps")
    s3_region: str = Field(default="", alias="s3Region")
    s3_verify_ssl: str = Field(default="", alias="s3VerifySSL")
    s3_use_virtual_bucket: str = Field(default="", alias="s3UseVirtualBucket")
    s3_use_accelerate: str = Field(default="", alias="s3UseAccelerate")
    s3_use_anonymous_credential: str = Field(default="", alias="s3UseAnonymousCredential")
    s3_ca_bundle_config_map: str = Field(default="", alias="s3CABundleConfigMap")
    s3_ca_bundle: str = Field(default="", alias="s3CABundle")


class GcsConfig(Model):
    """Names of the keys in Google Cloud secrets."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    gcs_credential_file_name: str = "gcloud-application-credentials.json"


class CredentialsConfig(ConfigSection):
    """The key credentials: where downloads find theirs."""

    config_key: ClassVar[str] = "credentials"

    storage_spec_secret_name: str = "storage-config"
    storage_secret_name_annotation: str = "serving.kserve.io/storageSecretName"
    s3: S3Config = Field(default_factory=S3Config)
    gcs: GcsConfig = Field(default_factory=GcsConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceServiceConfig:
    """All sections of the ConfigMap that concern the cache."""

    local_model: LocalModelConfig = field(default_factory=LocalModelConfig)
    storage_initializer: StorageInitializerConfig = field(default_factory=StorageInitializerConfig)
    credentials: CredentialsConfig = field(default_factory=CredentialsConfig)

    @classmethod
    def from_config_map(cls, config_map: ConfigMap | None) -> InferenceServiceConfig:
        """Raises ConfigError for the first section that cannot be used."""
        return cls(
            local_model=LocalModelConfig.from_config_map(config_map),
            storage_initializer=StorageInitializerConfig.from_config_map(config_map),
            credentials=CredentialsConfig.from_config_map(config_map),
        )

    @property
    def download_image(self) -> str:
        """The image of download jobs: ours if set, else KServe's two settings in their order, else KServe's default."""
        return (
            self.local_model.download_image
            or self.storage_initializer.image
            or self.local_model.default_job_image
            or DEFAULT_DOWNLOAD_IMAGE
        )
