"""Which credentials a cache names, and where: pure functions of its specification and the configuration.

With `credentialNamespace: job` the names in a cache's specification are of the job namespace, and nothing is copied.
With `own` those of a LocalModelNamespaceCache are of its own namespace, and its entries name a copy
(`localmodel.api.credentials`). The names of a LocalModelCache, which has no namespace, are of the job namespace either
way, and so are those of a LocalModelNamespaceCache that lives there.
"""

from __future__ import annotations

from dataclasses import dataclass

from localmodel.api import Cache, CredentialsConfig, LocalModelConfig
from localmodel.api.credentials import DEFAULT_ACCOUNT, CopyReference, copy_name, storage_lookup_key
from localmodel.api.model import LocalModelStorageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageKey:
    """A key of the storage Secret. Empty: the default, which may be missing."""

    key: str
    lookup: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A ServiceAccount."""

    name: str
    optional: bool = False
    """It was not named, so it may be missing."""


Named = StorageKey | Account


def named_credentials(cache: Cache, config: LocalModelConfig) -> Named | None:
    """What is to be copied for a cache, by the order of kserve-behaviour.md 9.1; None where nothing is."""
    if config.credential_namespace != "own" or cache.namespace in ("", config.jobs_namespace):
        return None
    storage = cache.spec.storage
    if storage is not None and storage.key is not None:
        type_ = (storage.parameters or {}).get("type", "")
        return StorageKey(key=storage.key, lookup=storage_lookup_key(storage.key, type_))
    if cache.spec.service_account_name:
        return Account(name=cache.spec.service_account_name)
    return Account(name=DEFAULT_ACCOUNT, optional=True) if storage is not None else None


def described(named: Named, namespace: str, config: CredentialsConfig) -> str:
    """What is copied from `namespace`, in words."""
    if isinstance(named, StorageKey):
        return f"key {named.lookup!r} of Secret {namespace}/{config.storage_spec_secret_name}"
    return f"ServiceAccount {namespace}/{named.name}"


def entry_credentials(cache: Cache, config: LocalModelConfig) -> tuple[str, LocalModelStorageSpec | None]:
    """The `serviceAccountName` and `storage` of a cache's entries: its own, or those that name its copy."""
    spec, named = cache.spec, named_credentials(cache, config)
    copy = copy_name(cache.metadata.uid)
    match named:
        case StorageKey() if spec.storage is not None:
            key = str(CopyReference(copy, named.key))
            return "", spec.storage.model_copy(update={"key": key})
        case Account():
            return str(CopyReference(copy, named.name)), spec.storage
    return spec.service_account_name, spec.storage
