"""What is copied of the credentials that a cache names in its own namespace. Reads them live; no writes.

Copied are the keys that a download can use, and no others (`localmodel.api.credentials`). Never copied: tokens of the
cluster, image pull secrets, and cloud roles. A role belongs to an account of one namespace: a copy of its annotation
would give whoever writes it any role that trusts the accounts of the job namespace.
"""

from __future__ import annotations

import base64
from typing import Final

from localmodel.api import Cache, CredentialsConfig
from localmodel.api.credentials import (
    ROLE_ANNOTATION,
    S3_ANNOTATION_PREFIX,
    SERVICE_ACCOUNT_TOKEN,
    SOURCES_ANNOTATION,
    CopiedSecret,
    copied_key,
    copy_name,
    format_sources,
    secret_shape,
)
from localmodel.api.names import CACHE_ANNOTATION, CACHE_UID_LABEL, is_object_name, status_key
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Object, ObjectKey, ObjectMeta, Secret, ServiceAccount, T

from .credentials import Account, Named, StorageKey
from .status import Problem

FORBIDDEN: Final = "CredentialsForbidden"
NOT_FOUND: Final = "CredentialsNotFound"
NOT_COPIED: Final = "CredentialsNotCopied"
OPAQUE: Final = "Opaque"
MAX_BYTES: Final = 1 << 20
"""The most that a Secret's values may have together: MaxSecretSize of Kubernetes."""
MAX_SETTINGS: Final = 1 << 17
"""Characters of SOURCES_ANNOTATION: half of what Kubernetes allows for all annotations of an object."""
MAX_SECRETS: Final = 32
"""The most Secrets of an account: whoever writes its list must not keep the manager busy reading them."""


class UnavailableError(Exception):
    """There is nothing to copy, or it may not be had; `problem` says why. It has no value of a Secret in it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.problem = credentials_problem(reason, message)


def credentials_problem(reason: str, message: str) -> Problem:
    """Of a cache whose credentials cannot be had: copies of the model that are there stay what they are."""
    return Problem(reason=reason, message=message, new_copies_only=True)


def wanted_copy(cache: Cache, named: Named, namespace: str, config: CredentialsConfig, live: Reader) -> Secret:
    """The copy as it shall be, read from the cache's namespace now; `namespace` is the job namespace.

    Raises UnavailableError, and what the reader raises.
    """
    copy = Secret(
        metadata=ObjectMeta(
            name=copy_name(cache.metadata.uid),
            namespace=namespace,
            labels={CACHE_UID_LABEL: cache.metadata.uid},
            annotations={CACHE_ANNOTATION: status_key(cache.name, cache.namespace)},
        ),
        type=OPAQUE,
    )
    if isinstance(named, StorageKey):
        copy.data = _storage_data(cache.namespace, named, config, live)
    else:
        _add_account(copy, cache.namespace, named, config, live)
    return copy


def _storage_data(namespace: str, named: StorageKey, config: CredentialsConfig, live: Reader) -> dict[str, str]:
    key = ObjectKey(namespace, config.storage_spec_secret_name)
    secret = _read(Secret, key, live)
    if secret is not None and named.lookup in secret.data:
        return {named.lookup: secret.data[named.lookup]}
    if named.key:
        missing = "does not exist" if secret is None else f"has no key {named.key!r}"
        raise UnavailableError(NOT_FOUND, f"Secret {key} {missing}: storage.key names {named.key!r} there")
    return {}


def _add_account(copy: Secret, namespace: str, named: Account, config: CredentialsConfig, live: Reader) -> None:
    account = _read(ServiceAccount, ObjectKey(namespace, named.name), live)
    if account is None and not named.optional:
        raise UnavailableError(
            NOT_FOUND, f"ServiceAccount {namespace}/{named.name} does not exist: serviceAccountName names it"
        )
    names = list(dict.fromkeys(reference.name for reference in account.secrets)) if account is not None else []
    if len(names) > MAX_SECRETS:
        raise UnavailableError(
            NOT_COPIED,
            f"ServiceAccount {namespace}/{named.name} has {len(names)} Secrets, and those of at most {MAX_SECRETS} are "
            "copied: give it only the Secrets of the download",
        )
    sources: list[CopiedSecret] = []
    for name in names:
        key = ObjectKey(namespace, name)
        secret = _read(Secret, key, live)
        if secret is None:
            raise UnavailableError(NOT_FOUND, f"Secret {key} of ServiceAccount {named.name} does not exist")
        if source := _copied(secret, copy, config):
            sources.append(source)
        _check_size(copy, named)
    if account is not None and not sources and ROLE_ANNOTATION in account.metadata.annotations:
        raise UnavailableError(
            NOT_COPIED,
            f"ServiceAccount {namespace}/{named.name} has a cloud role ({ROLE_ANNOTATION}) and no Secret with "
            "credentials: a role cannot be copied to the job namespace, give the account a Secret",
        )
    settings = format_sources(sources)
    if len(settings) > MAX_SETTINGS:
        raise UnavailableError(
            NOT_COPIED,
            f"the annotations {S3_ANNOTATION_PREFIX}* of the Secrets of ServiceAccount {namespace}/{named.name} have "
            f"{len(settings)} characters together, and at most {MAX_SETTINGS} are copied",
        )
    copy.metadata.annotations[SOURCES_ANNOTATION] = settings


def _check_size(copy: Secret, named: Account) -> None:
    """After each Secret, so that never more than two are in memory. Raises UnavailableError."""
    size = sum(len(base64.b64decode(value)) for value in copy.data.values())
    if size > MAX_BYTES:
        raise UnavailableError(
            NOT_COPIED,
            f"the credentials of ServiceAccount {named.name} have more than {MAX_BYTES} bytes together, which a Secret "
            "does not take",
        )


def _copied(secret: Secret, copy: Secret, config: CredentialsConfig) -> CopiedSecret | None:
    """Puts the credentials of a Secret into the copy; None where it has none."""
    shape = secret_shape(secret.data, config)
    if shape is None or secret.type == SERVICE_ACCOUNT_TOKEN:
        return None
    for key in sorted(shape.keys & secret.data.keys()):
        copy.data[copied_key(secret.name, key)] = secret.data[key]
    settings = {k: v for k, v in secret.metadata.annotations.items() if k.startswith(S3_ANNOTATION_PREFIX)}
    return CopiedSecret(name=secret.name, annotations=dict(sorted(settings.items())))


def _read(kind: type[T], key: ObjectKey, live: Reader) -> T | None:
    """None where it is not there, which goes without asking for what is no name: users write them."""
    if not is_object_name(key.name):
        return None
    try:
        return live.find(kind, key.name, namespace=key.namespace)
    except ForbiddenError as error:
        raise UnavailableError(
            FORBIDDEN,
            f"{kind.mapping.gvk.kind} {key} may not be read: give the manager `get` on it by a Role and a RoleBinding "
            f"in namespace {key.namespace} (docs/security.md): {error}",
        ) from None


def is_copy_of(obj: Object, cache_uid: str) -> bool:
    """Whether the manager made it for this cache."""
    return obj.metadata.labels.get(CACHE_UID_LABEL) == cache_uid
