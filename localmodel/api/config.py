"""The ConfigMap `inferenceservice-config`: the keys localModel, storageInitializer and credentials.

Each value is a JSON document; an absent one means defaults. One that cannot be used raises ConfigError, and whoever
reads it keeps the last good state of that key: `InferenceServiceConfig.updated`. Unknown fields are ignored, since the
ConfigMap is shared with the rest of KServe. Every field is described in docs/configuration.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from localmodel.runtime.objects import ConfigMap, Model, parse_quantity

from .configvalues import (
    AbsolutePath,
    AnnotationName,
    DataKey,
    Image,
    Namespace,
    Natural32,
    ObjectName,
    Positive32,
    Positive64,
    Quantity,
    empty_means,
    explain,
)
from .names import DEFAULT_JOB_NAMESPACE

DEFAULT_DOWNLOAD_IMAGE: Final = "kserve/storage-initializer:latest"
"""The image of download jobs where nothing else is configured, as in KServe."""

DEFAULT_AGENT_DOWNLOADS: Final = 4
"""How many downloads an agent runs at a time where it downloads itself and no number is configured."""
DEFAULT_DOWNLOAD_MEMORY: Final = 256 << 20
"""Bytes that one of them may take where `storageInitializer.memoryLimit` says nothing; ours takes under half of it."""


class ConfigError(ValueError):
    """A value of the ConfigMap cannot be used; the message names key, field and value, and says what to do."""


class ConfigSection(Model):
    """One key of the ConfigMap."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)
    config_key: ClassVar[str]
    compared: ClassVar[tuple[str, ...]] = ()
    """The fields that rules compare with each other; the message of a broken rule names its own."""

    @classmethod
    def from_config_map(cls, config_map: ConfigMap | None) -> Self:
        """The section, with defaults for what it leaves out (all, without ConfigMap or key); raises ConfigError."""
        try:
            return cls.model_validate(_parse(cls._text(config_map)))
        except ValidationError as error:
            raise ConfigError(f"{cls.config_key}: {explain(error)}") from error
        except ValueError as error:
            raise ConfigError(f"{cls.config_key}: {error}") from error

    @classmethod
    def salvaged(cls, config_map: ConfigMap | None) -> Self:
        """The fields that can be used, and defaults for the others: for who has no last good state yet.

        A program that restarts beside one wrong value must not lose the rest: another job namespace, say.
        """
        try:
            data = _parse(cls._text(config_map))
        except ValueError:
            return cls()
        for _ in range(_TRIES):
            try:
                return cls.model_validate(data)
            except ValidationError as error:
                bad = {field for found in error.errors() for field in found["loc"][:1] or cls._named_in(found["msg"])}
                data = {key: value for key, value in data.items() if key not in bad}
        return cls()

    @classmethod
    def _named_in(cls, message: str) -> list[str]:
        return [field for field in cls.compared if field in message]

    @classmethod
    def _text(cls, config_map: ConfigMap | None) -> str:
        return config_map.data.get(cls.config_key, "") if config_map is not None else ""


_TRIES: Final = 3
"""What is compared is looked at when each field is good by itself."""


def _parse(text: str) -> dict[str, Any]:
    """The document, empty for an empty text; raises ValueError."""
    if not text.strip():
        return {}
    try:
        data = json.loads(text)
        if isinstance(data, dict):
            return _without_nulls(data)
    except RecursionError:
        raise ValueError("not JSON that can be read: it is nested too deeply") from None
    except ValueError as error:  # also for a number of thousands of digits, which is no JSONDecodeError
        raise ValueError(f"not JSON: {error}") from error
    raise ValueError(f"a JSON object is needed, not {type(data).__name__}")


def _without_nulls(data: dict[str, Any]) -> dict[str, Any]:
    """null leaves the default, as Go's JSON decoder does."""
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in data.items()
        if value is not None
    }


_SCRUB_RATE: Final = "50Mi"


class LocalModelConfig(ConfigSection):
    """The key localModel: KServe's settings, then ours (design.md section 6)."""

    config_key: ClassVar[str] = "localModel"
    compared: ClassVar[tuple[str, ...]] = (
        "highWatermarkPercent",
        "lowWatermarkPercent",
        "storageIsolation",
        "servingVolumeScope",
    )

    enabled: bool = False
    """Services use cached models. Looked at by admission only: what is cached is cached either way."""
    job_namespace: Namespace = DEFAULT_JOB_NAMESPACE
    """Where download jobs, their claims and their credentials live. Read `jobs_namespace` instead."""
    default_job_image: Image = ""
    fs_group: Natural32 | None = None
    """The group of a download's files; no fsGroup in the job when absent."""
    job_ttl_seconds_after_finished: Positive32 = Field(default=3600, alias="jobTTLSecondsAfterFinished")
    reconcilation_frequency_in_secs: Positive64 = 60
    """How often an agent looks at its disk without being told to. The spelling is KServe's."""
    disable_volume_management: bool = False
    """No serving volumes are made or removed."""
    local_model_agent_image: Image = ""
    local_model_agent_cpu_request: Quantity = ""
    local_model_agent_memory_request: Quantity = ""
    local_model_agent_cpu_limit: Quantity = ""
    local_model_agent_memory_limit: Quantity = ""

    download_image: Image = ""
    """The image of download jobs; see `InferenceServiceConfig.download_image`."""
    download_mode: Literal["Job", "Agent"] = "Job"
    """Agent: the agent downloads itself, in a child process."""
    serving_volume_scope: Literal["root", "model"] = "root"
    """What a serving volume shows: the models root (KServe's layout) or one model's folder."""
    credential_namespace: Literal["job", "own"] = "job"
    """Where a LocalModelNamespaceCache's credentials are: in the job namespace or in its own, from where the manager
    copies them. Those of a LocalModelCache are in the job namespace either way."""
    storage_isolation: Literal["verified", "shared", "namespace"] = "verified"
    """When two caches with different credentials may share one downloaded folder: after the second one's were tried on
    the source, always, or never beyond a namespace (`docs/security.md`)."""
    max_concurrent_downloads_per_node: Natural32 = 0
    """0 is no limit."""
    job_backoff_limit: Natural32 = 2
    job_priority_class_name: ObjectName = ""
    job_image_pull_secrets: list[ObjectName] = Field(default_factory=list)
    """Secrets of the job namespace, for all download Jobs."""
    job_active_deadline_seconds: Natural32 = 0
    """`activeDeadlineSeconds` of download Jobs: all their pods together; 0 is none, as a large model takes its time."""
    job_start_timeout_seconds: Natural32 = 900
    """A download whose pod has not started for that long has failed; 0 is never."""
    download_stall_seconds: Natural32 = 3600
    """A download that has written nothing for that long has failed; 0 is never."""
    unreferenced_grace_seconds: int = Field(default=3600, ge=0, le=10**9)
    """How long a model is kept that no entry asks for while its cache still exists."""
    high_watermark_percent: int = Field(default=80, ge=1, le=100)
    low_watermark_percent: int = Field(default=70, ge=0, le=100)
    eviction_minimum_idle_seconds: int = Field(default=600, ge=0, le=10**9)
    """A model that a pod used so short a time ago is not evicted."""
    scrub_interval_seconds: int = Field(default=604800, ge=0, le=10**9)
    """How often an agent reads every model again and compares digests; 0 is never."""
    scrub_bytes_per_second: Annotated[Quantity, empty_means(_SCRUB_RATE)] = _SCRUB_RATE
    """How fast it reads; 0 is no limit. Read `scrub_rate` instead."""

    @model_validator(mode="after")
    def _watermarks_are_in_order(self) -> Self:
        if self.low_watermark_percent > self.high_watermark_percent:
            raise ValueError(
                f"lowWatermarkPercent {self.low_watermark_percent} is above highWatermarkPercent "
                f"{self.high_watermark_percent}: give both, the first at most as large as the second"
            )
        return self

    @model_validator(mode="after")
    def _folders_can_be_found(self) -> Self:
        if self.isolates_namespaces and self.serving_volume_scope != "model":
            raise ValueError(
                "storageIsolation namespace needs servingVolumeScope model: KServe's own volumes show a service the "
                "folder that the namespaces share; give both"
            )
        return self

    @property
    def isolates_namespaces(self) -> bool:
        """The caches of a namespace have folders of their own."""
        return self.storage_isolation == "namespace"

    @property
    def jobs_namespace(self) -> str:
        """The job namespace; KServe's documented default where it is set to nothing."""
        return self.job_namespace or DEFAULT_JOB_NAMESPACE

    @property
    def downloads_in_agent(self) -> bool:
        """The agent downloads itself; no Jobs are made."""
        return self.download_mode == "Agent"

    @property
    def concurrent_downloads(self) -> int:
        """How many downloads may run on a node at a time; 0 is no limit.

        The agent's own processes share its memory limit, so of them there is always a bound.
        """
        return self.max_concurrent_downloads_per_node or (DEFAULT_AGENT_DOWNLOADS if self.downloads_in_agent else 0)

    @property
    def scrub_rate(self) -> int:
        """`scrub_bytes_per_second` in bytes, 0 for no limit."""
        return parse_quantity(self.scrub_bytes_per_second)

    @property
    def serves_single_models(self) -> bool:
        """Services get volumes that show one model each. Where nobody makes serving volumes, there are none such."""
        return self.serving_volume_scope == "model" and not self.disable_volume_management


class StorageInitializerConfig(ConfigSection):
    """The key storageInitializer: the container of download jobs."""

    config_key: ClassVar[str] = "storageInitializer"

    image: Image = ""
    cpu_request: Quantity = ""
    cpu_limit: Quantity = ""
    memory_request: Quantity = ""
    memory_limit: Quantity = ""
    ca_bundle_config_map_name: ObjectName = ""
    ca_bundle_volume_mount_path: AbsolutePath = ""


class S3Config(Model):
    """Names of the keys in S3 secrets, and defaults for what a secret does not say."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    s3_access_key_id_name: Annotated[DataKey, empty_means("awsAccessKeyID")] = Field(
        default="awsAccessKeyID", alias="s3AccessKeyIDName"
    )
    s3_secret_access_key_name: Annotated[DataKey, empty_means("awsSecretAccessKey")] = Field(
        default="awsSecretAccessKey", alias="s3SecretAccessKeyName"
    )
    s3_endpoint: str = Field(default="", alias="s3Endpoint")
    s3_use_https: str = Field(default="", alias="s3UseHttps")
    s3_region: str = Field(default="", alias="s3Region")
    s3_verify_ssl: str = Field(default="", alias="s3VerifySSL")
    s3_use_virtual_bucket: str = Field(default="", alias="s3UseVirtualBucket")
    s3_use_accelerate: str = Field(default="", alias="s3UseAccelerate")
    s3_use_anonymous_credential: str = Field(default="", alias="s3UseAnonymousCredential")
    s3_ca_bundle_config_map: ObjectName = Field(default="", alias="s3CABundleConfigMap")
    s3_ca_bundle: str = Field(default="", alias="s3CABundle")


_GCS_FILE: Final = "gcloud-application-credentials.json"


class GcsConfig(Model):
    """Names of the keys in Google Cloud secrets."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    gcs_credential_file_name: Annotated[DataKey, empty_means(_GCS_FILE)] = _GCS_FILE


class CredentialsConfig(ConfigSection):
    """The key credentials: where downloads find theirs."""

    config_key: ClassVar[str] = "credentials"

    storage_spec_secret_name: Annotated[ObjectName, empty_means("storage-config")] = "storage-config"
    storage_secret_name_annotation: AnnotationName = "serving.kserve.io/storageSecretName"
    s3: S3Config = Field(default_factory=S3Config)
    gcs: GcsConfig = Field(default_factory=GcsConfig)


_SECTIONS: Final[dict[str, type[ConfigSection]]] = {
    "local_model": LocalModelConfig,
    "storage_initializer": StorageInitializerConfig,
    "credentials": CredentialsConfig,
}
"""By the field below."""

CONFIG_KEYS: Final = tuple(section.config_key for section in _SECTIONS.values())
"""The ConfigMap's keys that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceServiceConfig:
    """All sections of the ConfigMap that concern the cache."""

    local_model: LocalModelConfig = field(default_factory=LocalModelConfig)
    storage_initializer: StorageInitializerConfig = field(default_factory=StorageInitializerConfig)
    credentials: CredentialsConfig = field(default_factory=CredentialsConfig)

    @classmethod
    def from_config_map(cls, config_map: ConfigMap | None) -> InferenceServiceConfig:
        """Raises ConfigError for the first section that cannot be used."""
        config, problems = cls().updated(config_map)
        for problem in problems.values():
            raise problem
        return config

    @classmethod
    def salvaged(cls, config_map: ConfigMap | None) -> InferenceServiceConfig:
        """What can be used of each section, and defaults; see `ConfigSection.salvaged`."""
        return cls(
            local_model=LocalModelConfig.salvaged(config_map),
            storage_initializer=StorageInitializerConfig.salvaged(config_map),
            credentials=CredentialsConfig.salvaged(config_map),
        )

    def updated(self, config_map: ConfigMap | None) -> tuple[InferenceServiceConfig, dict[str, ConfigError]]:
        """What holds after the ConfigMap has changed, and by key what is wrong with it.

        A section that cannot be used stays as it is here; the others are taken.
        """
        sections: dict[str, Any] = {}
        problems: dict[str, ConfigError] = {}
        for name, section in _SECTIONS.items():
            try:
                sections[name] = section.from_config_map(config_map)
            except ConfigError as error:
                problems[section.config_key] = error
        return replace(self, **sections), problems

    @property
    def download_memory(self) -> int:
        """Bytes of memory that one download of an agent's own may take."""
        limit = self.storage_initializer.memory_limit
        return parse_quantity(limit) if limit else DEFAULT_DOWNLOAD_MEMORY

    @property
    def agent_downloads_memory(self) -> int:
        """Bytes of memory that an agent's own downloads may take together; 0 where Jobs download."""
        local_model = self.local_model
        return self.download_memory * local_model.concurrent_downloads if local_model.downloads_in_agent else 0

    @property
    def download_image(self) -> str:
        """The image of download jobs: ours if set, else KServe's two settings in their order, else KServe's default."""
        return (
            self.local_model.download_image
            or self.storage_initializer.image
            or self.local_model.default_job_image
            or DEFAULT_DOWNLOAD_IMAGE
        )
