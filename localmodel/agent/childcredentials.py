"""What a Job's container would get from the kubelet, for a process of the agent: variables and files with their values.

A `Credentials` value refers to Secrets of the job namespace; here they are read, live, each time a download starts, and
kept in its plan alone. A volume becomes files of the download's own directory, and variables that name its mount path
name that directory. What does not exist is a CredentialsError with the object and the key (D-48), unless the reference
says that it is optional.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ConfigMap, Secret

from .additions import Credentials
from .childplan import FILES
from .credentials import HDFS_MOUNT
from .errors import CredentialsError, DownloadModeError

Json = dict[str, Any]

_REFERENCE: Final = re.compile(r"\$(\$|\(([^()]*)\))")
_SHORTEST_SECRET: Final = 4
"""Blanking out shorter texts would make a log unreadable and protect nothing."""
_NO_SECRETS: Final = frozenset(
    {"type", "endpoint", "endpoint_url", "region", "bucket", "revision", "verify_ssl", "anonymous", "auth_uri",
     "token_uri", "universe_domain"}
)  # fmt: skip
"""Settings in a JSON document of credentials that messages rightly show."""


@dataclass(frozen=True, slots=True)
class Materialised:
    """Values: `files` by their path below the download's directory, `secrets` as they must not be repeated."""

    env: dict[str, str] = field(default_factory=dict, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


class Materialiser:
    """Reads what credentials refer to. One per download that is about to start."""

    def __init__(self, reader: Reader, namespace: str) -> None:
        """`namespace` is the job namespace."""
        self._reader = reader
        self._namespace = namespace
        self._env: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._secrets: set[str] = set()
        self._known: dict[tuple[type, str], Secret | ConfigMap | None] = {}

    def materialise(
        self, credentials: Credentials, *, before: Iterable[Json] = (), sources: Iterable[Json] = ()
    ) -> Materialised:
        """The credentials' values. They override `before` and `sources`, a container's own `env` and `envFrom`.

        Raises CredentialsError, DownloadModeError, or ApiError where the API server fails.
        """
        try:
            for source in sources:
                self._take_all(source)
            for item in (*before, *credentials.env):
                self._take(item)
            self._mount(credentials.volumes, credentials.volume_mounts)
        except ForbiddenError as error:
            raise CredentialsError(f"the agent may not read what the download needs: {error}") from error
        return Materialised(self._env, self._files, frozenset(self._secrets))

    # variables ---------------------------------------------------------------------------------------------------

    def _take(self, item: Json) -> None:
        name = str(item.get("name") or "")
        source = item.get("valueFrom")
        if source is None:
            self._set(name, self._expanded(str(item.get("value") or "")))
        elif not isinstance(source, Mapping) or not ({"secretKeyRef", "configMapKeyRef"} & source.keys()):
            raise DownloadModeError(
                f"the variable {name} refers to a field of the download's pod, and with downloadMode: Agent there is "
                "none: give it a value, or use downloadMode: Job"
            )
        else:
            kind = Secret if "secretKeyRef" in source else ConfigMap
            reference = source.get("secretKeyRef") or source.get("configMapKeyRef") or {}
            content = self._value(kind, reference)
            if content is not None:
                self._set(name, _text(content, f"the value of {name}"), secret=kind is Secret)

    def _take_all(self, source: Json) -> None:
        """One item of `envFrom`."""
        for field_, kind in (("secretRef", Secret), ("configMapRef", ConfigMap)):
            reference = source.get(field_)
            if not isinstance(reference, Mapping):
                continue
            found = self._find(kind, str(reference.get("name") or ""), optional=reference.get("optional") is True)
            for key, content in _contents(found).items() if found is not None else ():
                self._set(f"{source.get('prefix') or ''}{key}", _text(content, f"the key {key}"), secret=kind is Secret)

    def _set(self, name: str, value: str, *, secret: bool = False) -> None:
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise CredentialsError(f"the variable {name!r} cannot be given to a process: name or value is malformed")
        self._env[name] = value
        if secret:
            self._secrets |= secret_texts(value)

    def _expanded(self, value: str) -> str:
        """`$(NAME)` is the variable's value where it is known by then, and `$$` a single `$`, as in Kubernetes."""

        def replacement(match: re.Match[str]) -> str:
            return "$" if match[1] == "$" else self._env.get(match[2], match[0])

        return _REFERENCE.sub(replacement, value)

    # files -------------------------------------------------------------------------------------------------------

    def _mount(self, volumes: Iterable[Json], mounts: Iterable[Json]) -> None:
        """The longest mount path first, so that a variable gets the directory that it means."""
        by_name = {str(volume.get("name")): volume for volume in volumes}
        ordered = sorted(mounts, key=lambda mount: -len(str(mount.get("mountPath") or "")))
        for number, mount in enumerate(ordered):
            path = str(mount.get("mountPath") or "").rstrip("/")
            folder = str(number)
            for name, content in self._volume(by_name.get(str(mount.get("name")), {})).items():
                self._files[f"{folder}/{_inside(name)}"] = content
            self._env = {name: _moved(value, path, f"{FILES}/{folder}") for name, value in self._env.items()}
            if path == HDFS_MOUNT:
                self._env.setdefault("HDFS_SECRET_DIR", f"{FILES}/{folder}")

    def _volume(self, volume: Json) -> dict[str, bytes]:
        """Path -> content of a volume that shows a Secret or a ConfigMap."""
        if isinstance(source := volume.get("secret"), Mapping):
            found = self._find(Secret, str(source.get("secretName") or ""), optional=source.get("optional") is True)
        elif isinstance(source := volume.get("configMap"), Mapping):
            found = self._find(ConfigMap, str(source.get("name") or ""), optional=source.get("optional") is True)
        else:
            raise DownloadModeError(
                f"the volume {volume.get('name')!r} is neither of a Secret nor of a ConfigMap, and with downloadMode: "
                "Agent there are no others: use downloadMode: Job"
            )
        if found is None:
            return {}
        contents = _contents(found)
        if isinstance(found, Secret):
            for content in contents.values():
                self._secrets |= secret_texts(content.decode(errors="replace"))
        items = source.get("items") or [{"key": key, "path": key} for key in contents]
        for item in items:
            if item["key"] not in contents:
                raise CredentialsError(f"{_named(found)} has no key {item['key']!r}")
        return {str(item["path"]): contents[item["key"]] for item in items}

    # objects -----------------------------------------------------------------------------------------------------

    def _value(self, kind: type[Secret] | type[ConfigMap], reference: Mapping[str, Any]) -> bytes | None:
        key, optional = str(reference.get("key") or ""), reference.get("optional") is True
        found = self._find(kind, str(reference.get("name") or ""), optional=optional)
        if found is None:
            return None
        content = _contents(found).get(key)
        if content is None and not optional:
            raise CredentialsError(f"{_named(found)} has no key {key!r}")
        return content

    def _find(self, kind: type[Secret] | type[ConfigMap], name: str, *, optional: bool) -> Secret | ConfigMap | None:
        if (kind, name) not in self._known:
            self._known[kind, name] = self._reader.find(kind, name, namespace=self._namespace) if name else None
        found = self._known[kind, name]
        if found is None and not optional:
            raise CredentialsError(f"{kind.__name__} {self._namespace}/{name} does not exist")
        return found


def _contents(found: Secret | ConfigMap) -> dict[str, bytes]:
    contents, encoded = {}, found.data
    if isinstance(found, ConfigMap):
        contents, encoded = {key: value.encode() for key, value in found.data.items()}, found.binary_data
    for key, value in encoded.items():
        try:
            contents[key] = base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise CredentialsError(f"the key {key!r} of {_named(found)} is not base64") from error
    return contents


def _named(found: Secret | ConfigMap) -> str:
    return f"{type(found).__name__} {found.namespace}/{found.name}"


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CredentialsError(f"{what} is not text in UTF-8, and so cannot be a variable") from error


def _inside(path: str) -> str:
    """The path of a volume's file; raises CredentialsError for one that leads out of the volume."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
        raise CredentialsError(f"the path {path!r} of a volume leads out of it")
    return path


def _moved(value: str, path: str, to: str) -> str:
    """A path below the mount path, below the place where its files are now."""
    return to + value[len(path) :] if path and (value == path or value.startswith(f"{path}/")) else value


def secret_texts(value: str) -> frozenset[str]:
    """What of a secret value must not be repeated: all of it, its lines, and in JSON each text that is no setting."""
    found = {value.strip(), *(line.strip() for line in value.splitlines())}
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        document = None
    pending: list[tuple[str, Any]] = [("", document)] if isinstance(document, dict | list) else []
    if pending:
        found = {value.strip()}
    while pending:
        name, item = pending.pop()
        if isinstance(item, dict):
            pending += item.items()
        elif isinstance(item, list):
            pending += [(name, one) for one in item]
        elif isinstance(item, str) and name.lower() not in _NO_SECRETS:
            # `Bearer <token>`: the token alone is just as secret.
            found |= {item.strip(), item.rpartition(" ")[2].strip(), *(line.strip() for line in item.splitlines())}
    return frozenset(text for text in found if len(text) >= _SHORTEST_SECRET)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
