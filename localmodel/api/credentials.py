"""Which keys of a Secret are credentials (kserve-behaviour.md 9.3, 9.4), and how a copy of them is called and laid out.

With `credentialNamespace: own` the manager copies what a LocalModelNamespaceCache names in its own namespace into one
Secret of the job namespace, the *copy*. The entries of LocalModelNodes name that instead, as `<copy>/<what was named>`:
no ServiceAccount and no key of a Secret has a slash in its name, so the two cannot be mistaken for each other. The copy
has the cache's uid in its name: the agent takes it for an entry of that very cache and for no other.

The copy of a storage key has that key. The copy of a ServiceAccount has the credentials of all Secrets of the account,
each under a key that tells whose it is (`copied_key`); which Secrets there are, in which order, says an annotation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from .config import CredentialsConfig

ROLE_ANNOTATION: Final = "eks.amazonaws.com/role-arn"
"""On a ServiceAccount: pods that run as it have this role."""
S3_ANNOTATION_PREFIX: Final = "serving.kserve.io/s3-"
"""On a Secret of S3 keys, or a ServiceAccount with a role: settings that are no secrets."""
SERVICE_ACCOUNT_TOKEN: Final = "kubernetes.io/service-account-token"
"""Secrets of this type belong to the cluster, whatever keys they have."""
DEFAULT_ACCOUNT: Final = "default"
"""The ServiceAccount of a cache that has storage parameters, and names neither a key nor an account."""

AZURE_VARIABLES: Final[Mapping[str, str]] = {
    "AZURE_SUBSCRIPTION_ID": "AZ_SUBSCRIPTION_ID",
    "AZURE_TENANT_ID": "AZ_TENANT_ID",
    "AZURE_CLIENT_ID": "AZ_CLIENT_ID",
    "AZURE_CLIENT_SECRET": "AZ_CLIENT_SECRET",
    "AZURE_STORAGE_ACCESS_KEY": "",
    "AZURE_ACCESS_TOKEN": "",
    "AZURE_ACCESS_EXPIRES_ON_SECONDS": "",
    "AZURE_ACCOUNT_NAME": "",
    "AZURE_SERVICE_URL": "",
}
"""Variable -> the older key that goes before the key of the variable's own name."""
_S3_SETTINGS: Final = frozenset({
    "S3_USE_HTTPS", "S3_ENDPOINT", "S3_VERIFY_SSL", "awsAnonymousCredential", "AWS_DEFAULT_REGION",
    "S3_USER_VIRTUAL_BUCKET", "S3_USE_ACCELERATE", "AWS_CA_BUNDLE", "AWS_CA_BUNDLE_CONFIGMAP",
})  # fmt: skip
_HDFS: Final = frozenset({
    "HDFS_NAMENODE", "HDFS_ROOTPATH", "USER_PROXY", "HEADERS", "N_THREADS", "TLS_SKIP_VERIFY", "KERBEROS_PRINCIPAL",
    "KERBEROS_KEYTAB", "TLS_CERT", "TLS_KEY", "TLS_CA",
})  # fmt: skip


class SecretKind(Enum):
    """What a Secret of a ServiceAccount is for."""

    S3 = auto()
    GCS = auto()
    AZURE = auto()
    AZURE_STORAGE_KEY = auto()
    HTTPS = auto()
    HDFS = auto()
    HUGGING_FACE = auto()
    MODELSCOPE = auto()


@dataclass(frozen=True, slots=True)
class SecretShape:
    """One row of the table in kserve-behaviour.md 9.3."""

    kind: SecretKind
    decided_by: frozenset[str]
    """A Secret with one of these keys is of the kind, unless an earlier row has it."""
    keys: frozenset[str]
    """All keys that a download may take from it."""


def secret_shape(keys: Collection[str], config: CredentialsConfig) -> SecretShape | None:
    """The row that a Secret with these keys belongs to; None where it has no credentials that a download knows."""
    return next((shape for shape in _shapes(config) if not shape.decided_by.isdisjoint(keys)), None)


def _shapes(config: CredentialsConfig) -> Iterable[SecretShape]:
    s3_id, s3_secret = config.s3.s3_access_key_id_name, config.s3.s3_secret_access_key_name
    yield SecretShape(SecretKind.S3, frozenset({s3_secret}), frozenset({s3_id, s3_secret}) | _S3_SETTINGS)
    yield _alone(SecretKind.GCS, config.gcs.gcs_credential_file_name)
    azure = frozenset({"AZ_CLIENT_ID", "AZURE_CLIENT_ID", "AZURE_ACCESS_TOKEN"})
    all_azure = frozenset(AZURE_VARIABLES) | frozenset(filter(None, AZURE_VARIABLES.values()))
    yield SecretShape(SecretKind.AZURE, azure, all_azure)
    yield _alone(SecretKind.AZURE_STORAGE_KEY, "AZURE_STORAGE_ACCESS_KEY")
    yield SecretShape(SecretKind.HTTPS, frozenset({"https-host"}), frozenset({"https-host", "headers"}))
    yield SecretShape(SecretKind.HDFS, frozenset({"HDFS_NAMENODE"}), _HDFS)
    yield _alone(SecretKind.HUGGING_FACE, "HF_TOKEN")
    yield _alone(SecretKind.MODELSCOPE, "MODELSCOPE_API_TOKEN")


def _alone(kind: SecretKind, key: str) -> SecretShape:
    return SecretShape(kind, frozenset({key}), frozenset({key}))


def storage_lookup_key(key: str, type_: str) -> str:
    """The key of the storage Secret that `storage.key` means: if empty the default, of the type where it is given."""
    return key or (f"default_{type_}" if type_ else "default")


# copies ---------------------------------------------------------------------------------------------------------------

COPY_PREFIX: Final = "localmodel-credentials-"
SOURCES_ANNOTATION: Final = "localmodel.kserve.io/credential-sources"
"""On the copy of a ServiceAccount: its Secrets (`CopiedSecret`), as JSON."""


def copy_name(cache_uid: str) -> str:
    """The name of a cache's copy in the job namespace."""
    return COPY_PREFIX + cache_uid


@dataclass(frozen=True, slots=True)
class CopyReference:
    """What an entry names in the place of a ServiceAccount or a storage key."""

    copy: str
    """The name of the Secret in the job namespace."""
    named: str
    """What the cache names in its own namespace; an empty storage key stays empty."""

    def __str__(self) -> str:
        return f"{self.copy}/{self.named}"

    @classmethod
    def parse(cls, text: str) -> CopyReference | None:
        """None for the plain name of a ServiceAccount or key.

        >>> CopyReference.parse("reader"), CopyReference.parse("localmodel-credentials-1/reader").named
        (None, 'reader')
        """
        copy, slash, named = text.partition("/")
        return cls(copy, named) if slash else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedSecret:
    """A Secret of a ServiceAccount whose credentials are in the copy."""

    name: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Those with settings of S3."""


def copied_key(secret: str, key: str) -> str:
    """The key in the copy of a key of one of the account's Secrets: it stays the same when other Secrets come or go."""
    return f"{hashlib.sha256(secret.encode()).hexdigest()[:16]}.{key}"


def format_sources(sources: Iterable[CopiedSecret]) -> str:
    """The value of SOURCES_ANNOTATION."""
    return json.dumps([{"name": source.name, "annotations": dict(source.annotations)} for source in sources])


def parse_sources(text: str) -> list[CopiedSecret]:
    """What `format_sources` was given; raises ValueError for anything else."""
    items = json.loads(text)
    try:
        if not isinstance(items, list):
            raise TypeError(type(items).__name__)
        return [CopiedSecret(name=item["name"], annotations=item["annotations"]) for item in items]
    except (KeyError, TypeError) as error:
        raise ValueError("not a list of Secrets with names and annotations") from error
