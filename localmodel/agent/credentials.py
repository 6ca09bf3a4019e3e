"""How a download Job gets its credentials (kserve-behaviour.md 9): references to Secrets, never their values.

An entry names a key of the storage secret (`storage.key`), or a ServiceAccount whose `secrets` are looked through; both
lie in the job namespace. With `credentialNamespace: own` it names a copy that the manager has made of them there
(`localmodel.api.credentials`), which counts for an entry of the copy's own cache only. What does not exist stops the
download with a message that names it (D-48): a Job without its credentials would only fail later, and less clearly.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from localmodel.api.config import CredentialsConfig
from localmodel.api.credentials import (
    AZURE_VARIABLES,
    DEFAULT_ACCOUNT,
    ROLE_ANNOTATION,
    SOURCES_ANNOTATION,
    CopyReference,
    SecretKind,
    copied_key,
    copy_name,
    parse_sources,
    secret_shape,
    storage_lookup_key,
)
from localmodel.api.names import is_object_name
from localmodel.api.node import LocalModelInfo
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Secret, ServiceAccount, T

from .additions import Credentials, from_secret, literal
from .errors import CredentialsError
from .identity import runs_as
from .parameters import has_password, of_parameters, override
from .s3 import certificates_of, s3_settings

STORAGE_TYPES: Final = ("s3", "hdfs", "webhdfs", "hf")
"""What an entry of the storage secret may be. KServe knows no "hf" though it documents it (D-50); our download does."""
HDFS_MOUNT: Final = "/var/secrets/kserve-hdfscreds"
_GCS_MOUNT = "/var/secrets/"
Json = dict[str, Any]
Place = Callable[[str], str]
"""Where a key of a Secret is now: in a copy each has another name."""


def fingerprint(entry: LocalModelInfo) -> str:
    """The same for two entries that download the same files with the same credentials; "" for a bare entry.

    It decides whether two caches with one URI share a download without further ado. Of copies it is the namespace and
    the name there that count: each cache has a copy of its own, also if it names the same as another of its namespace.
    """
    selection = entry.revision or entry.include or entry.exclude or entry.digest
    if entry.storage is None and not entry.service_account_name and not selection:
        return ""  # As most are, and each is asked several times a pass.
    storage = entry.storage.to_dict() if entry.storage else {}
    if entry.storage is not None and entry.storage.key is not None:
        storage["key"] = _identity(entry, entry.storage.key)
    account = _identity(entry, entry.service_account_name)
    parts = [account, storage, entry.revision, entry.include, entry.exclude, entry.digest]
    # An empty storage is not none: it means the default account (`CredentialsBuilder`).
    named = any(parts) or entry.storage is not None
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16] if named else ""


def selection(entry: LocalModelInfo) -> str:
    """The same for two entries that want the same files of their URI, with whatever credentials; "" for all files."""
    parts = [entry.revision, entry.include, entry.exclude, entry.digest]
    return json.dumps(parts) if any(parts) else ""


def _identity(entry: LocalModelInfo, named: str) -> str:
    """Has a slash if it is of the cache's own namespace, and none if it is of the job namespace."""
    reference = CopyReference.parse(named)
    return named if reference is None else f"{entry.namespace}/{reference.named}"


class CredentialsBuilder:
    """Looks up what an entry refers to. Reads live: the agent keeps no Secret in memory."""

    def __init__(self, reader: Reader, namespace: str, config: CredentialsConfig, *, foreign_image: str = "") -> None:
        """`namespace` is the job namespace; `foreign_image` the image that downloads, if it is not ours."""
        self._reader = reader
        self._namespace = namespace
        self._config = config
        self._foreign_image = foreign_image

    def build(self, entry: LocalModelInfo) -> Credentials:
        """The entry's credentials; raises CredentialsError, or ApiError where the API server fails."""
        try:
            if entry.storage is not None and entry.storage.key is not None:
                return self._from_key(entry, entry.storage.key, entry.storage.parameters or {})
            parameters = of_parameters(entry.storage.parameters if entry.storage is not None else None)
            if reference := CopyReference.parse(entry.service_account_name):
                return self._from_account_copy(self._copy(reference, entry)) + parameters
            if entry.service_account_name:
                return self._from_service_account(entry.service_account_name) + parameters
            if entry.storage is not None:
                return self._from_default_account() + parameters
        except ForbiddenError as error:
            raise CredentialsError(f"the agent may not read the credentials of {entry.model_name}: {error}") from error
        return Credentials()

    # copies ------------------------------------------------------------------------------------------------------

    def _copy(self, reference: CopyReference, entry: LocalModelInfo) -> Secret:
        """The copy that an entry names. It must be its own cache's: anybody can write the name of another one's."""
        if not entry.cache_uid or reference.copy != copy_name(entry.cache_uid):
            raise CredentialsError(
                f"{str(reference)!r} names a copy of credentials that is not of {entry.namespace}/{entry.model_name}"
            )
        secret = self._reader.find(Secret, reference.copy, namespace=self._namespace)
        if secret is None:
            raise CredentialsError(
                f"Secret {self._namespace}/{reference.copy}, the manager's copy of {reference.named!r} in namespace "
                f"{entry.namespace}, does not exist: the conditions of the cache say why"
            )
        return secret

    def _from_account_copy(self, copy: Secret) -> Credentials:
        """The Secrets of the account one by one, as they would be looked through beside the account itself."""
        try:
            sources = parse_sources(copy.metadata.annotations.get(SOURCES_ANNOTATION, ""))
        except ValueError as error:
            raise CredentialsError(f"annotation {SOURCES_ANNOTATION} of Secret {copy.key}: {error}") from error
        found = Credentials()
        for source in sources:
            place = partial(copied_key, source.name)
            prefix = place("")
            original = copy.deepcopy()
            original.metadata.annotations = dict(source.annotations)
            original.data = {k.removeprefix(prefix): value for k, value in copy.data.items() if k.startswith(prefix)}
            found += self._from_account_secret(original, place)
        return found

    # the storage secret ------------------------------------------------------------------------------------------

    def _from_key(self, entry: LocalModelInfo, key: str, parameters: Mapping[str, str]) -> Credentials:
        if reference := CopyReference.parse(key):
            return self._from_storage(reference.copy, self._copy(reference, entry), reference.named, parameters)
        name = self._config.storage_spec_secret_name
        secret = self._reader.find(Secret, name, namespace=self._namespace)
        if secret is None and key:
            raise CredentialsError(f"Secret {self._namespace}/{name} with the key {key!r} does not exist")
        return self._from_storage(name, secret, key, parameters)

    def _from_storage(self, name: str, secret: Secret | None, key: str, parameters: Mapping[str, str]) -> Credentials:
        type_ = parameters.get("type", "")
        lookup = storage_lookup_key(key, type_)
        text = _value(secret, lookup) if secret is not None else None
        if text is None and key:
            raise CredentialsError(f"Secret {self._namespace}/{name} has no key {key!r}")

        env: list[Json] = []
        if text is not None:
            settings = self._storage_settings(name, lookup, text)
            type_ = type_ or settings.get("type", "")
            env += _literals(certificates_of({**settings, **parameters}))
            env.append(from_secret("STORAGE_CONFIG", name, lookup))
        if not type_:
            raise CredentialsError(
                f"the storage type is not known: set `type` in the key {lookup!r} of Secret {self._namespace}/{name} "
                "or in storage.parameters"
            )
        if type_ not in STORAGE_TYPES:
            raise CredentialsError(f"storage type {type_!r} is not supported; it must be one of {list(STORAGE_TYPES)}")
        if type_ == "hf" and self._foreign_image:
            raise CredentialsError(
                f"storage type hf is understood by localmodel's own download image, and {self._foreign_image} is not: "
                "name ours in localModel.downloadImage of the configuration, or give the cache a serviceAccountName "
                "with a Secret that has the key HF_TOKEN"
            )
        if parameters:
            env.append(override(parameters))
        return Credentials(env=tuple(env))

    def _storage_settings(self, name: str, key: str, text: str) -> dict[str, str]:
        try:
            settings = json.loads(text)
        except ValueError:
            settings = None
        if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
            # The text may hold a secret: it is not repeated here.
            raise CredentialsError(
                f"the key {key!r} of Secret {self._namespace}/{name} must be a JSON object whose values are strings"
            )
        return settings

    # a service account -------------------------------------------------------------------------------------------

    def _from_service_account(self, name: str) -> Credentials:
        account = self._find(ServiceAccount, name)
        if account is None:
            raise CredentialsError(f"ServiceAccount {self._namespace}/{name} does not exist")
        return self._from_account(account)

    def _from_default_account(self) -> Credentials:
        """Of a cache with storage parameters alone, which KServe drops; here they count beside the account."""
        account = self._reader.find(ServiceAccount, DEFAULT_ACCOUNT, namespace=self._namespace)
        return self._from_account(account) if account is not None else Credentials()

    def _from_account(self, account: ServiceAccount) -> Credentials:
        found = runs_as(account)
        if ROLE_ANNOTATION in account.metadata.annotations:
            settings = s3_settings(self._config.s3, annotations=account.metadata.annotations, data={})
            found += Credentials(env=_literals(settings))
        for reference in account.secrets:
            secret = self._find(Secret, reference.name)
            if secret is None:
                raise CredentialsError(
                    f"Secret {self._namespace}/{reference.name} of ServiceAccount {account.name} does not exist"
                )
            found += self._from_account_secret(secret)
        return found

    def _find(self, kind: type[T], name: str) -> T | None:
        """None where it is not there, which goes without asking for what is no name: people write them."""
        return self._reader.find(kind, name, namespace=self._namespace) if is_object_name(name) else None

    def _from_account_secret(self, secret: Secret, place: Place | None = None) -> Credentials:
        """One row of the table in kserve-behaviour.md 9.3. `place`: of a copy, where its keys are."""
        shape = secret_shape(secret.data, self._config)
        name, at = secret.name, place or str
        match shape.kind if shape is not None else None:
            case SecretKind.S3:
                return self._s3(secret, at)
            case SecretKind.GCS:
                file = self._config.gcs.gcs_credential_file_name
                google = {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": _GCS_MOUNT + file}
                return _mounted("user-gcp-sa", secret, _GCS_MOUNT, place, env=(google,))
            case SecretKind.AZURE:
                return Credentials(env=_azure(secret, at))
            case SecretKind.AZURE_STORAGE_KEY:
                return _single("AZURE_STORAGE_ACCESS_KEY", name, at)
            case SecretKind.HTTPS:
                return _https_headers(secret, at)
            case SecretKind.HDFS:
                return _mounted("hdfs-secrets", secret, HDFS_MOUNT, place)
            case SecretKind.HUGGING_FACE:
                return _single("HF_TOKEN", name, at)
            case SecretKind.MODELSCOPE:
                return _single("MODELSCOPE_API_TOKEN", name, at)
        return Credentials()

    def _s3(self, secret: Secret, at: Place) -> Credentials:
        """Its settings are no secrets, and stand in the Job."""
        config, name = self._config.s3, secret.name
        if config.s3_access_key_id_name not in secret.data:
            raise CredentialsError(
                f"Secret {self._namespace}/{name} has no key {config.s3_access_key_id_name!r}, which goes with "
                f"{config.s3_secret_access_key_name!r}"
            )
        settings = s3_settings(config, annotations=secret.metadata.annotations, data=_decoded(secret))
        if any(map(has_password, settings.values())):
            raise CredentialsError(
                f"the endpoint of Secret {self._namespace}/{name} has a password, which whoever may read Jobs could "
                "read: take it out"
            )
        return Credentials(
            env=(
                from_secret("AWS_ACCESS_KEY_ID", name, at(config.s3_access_key_id_name)),
                from_secret("AWS_SECRET_ACCESS_KEY", name, at(config.s3_secret_access_key_name)),
                *_literals(settings),
            )
        )


def _single(variable: str, secret: str, at: Place) -> Credentials:
    return Credentials(env=(from_secret(variable, secret, at(variable)),))


def _mounted(volume: str, secret: Secret, path: str, place: Place | None, *, env: tuple[Json, ...] = ()) -> Credentials:
    """The Secret as a directory; of a copy only these keys, under their own names."""
    source: Json = {"secretName": secret.name}
    if place is not None:
        source["items"] = [{"key": place(key), "path": key} for key in sorted(secret.data)]
    return Credentials(
        env=env,
        volumes=({"name": volume, "secret": source},),
        volume_mounts=({"name": volume, "mountPath": path, "readOnly": True},),
    )


def _https_headers(secret: Secret, at: Place) -> Credentials:
    """`<host>-headers`. KServe copies the headers themselves into the Job (D-21); a reference does as well."""
    host = _value(secret, "https-host")
    if not host or "headers" not in secret.data:
        return Credentials()
    return Credentials(env=(from_secret(f"{host.strip()}-headers", secret.name, at("headers")),))


def _azure(secret: Secret, at: Place) -> tuple[Json, ...]:
    """Only keys that exist; KServe always refers to a tenant, and then the container cannot start (D-52)."""
    env = []
    for variable, older in AZURE_VARIABLES.items():
        key = older if older in secret.data else variable
        if key in secret.data:
            env.append(from_secret(variable, secret.name, at(key)))
    return tuple(env)


def _literals(settings: Mapping[str, str]) -> tuple[Json, ...]:
    return tuple(literal(name, value) for name, value in settings.items())


def _value(secret: Secret, key: str) -> str | None:
    """The decoded value; None where the key is missing. Raises CredentialsError for bytes that are not text."""
    if key not in secret.data:
        return None
    try:
        return base64.b64decode(secret.data[key], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CredentialsError(f"the key {key!r} of Secret {secret.namespace}/{secret.name} is not text") from error


def _decoded(secret: Secret) -> dict[str, str]:
    """The settings among an S3 secret's keys; the credentials themselves are left alone."""
    return {key: _value(secret, key) or "" for key in secret.data if key.startswith(("S3_", "AWS_", "awsAnonymous"))}
