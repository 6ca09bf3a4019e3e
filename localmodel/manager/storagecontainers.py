"""What can be wrong with a ClusterStorageContainer of download jobs. Pure functions.

Each gives `Finding`s; `containers` looks up what they need and tells them. The container is read as the agent reads it
when it makes a Job of it (kserve-behaviour.md 8): under KServe's minimal CRDs any part of it may be missing or of
another type, which is for the API server to refuse when the Job is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from localmodel.api import (
    Cache,
    ClusterStorageContainer,
    effective_formats,
    format_errors,
    supports,
)
from localmodel.runtime.objects import ObjectKey, Secret

from .status import shorten

INVALID_FORMAT: Final = "InvalidUriFormat"
OVERLAP: Final = "ContainersOverlap"
MOUNTS_IGNORED: Final = "VolumeMountsIgnored"
SECRET_NOT_FOUND: Final = "SecretNotFound"
SECRET_KEY_NOT_FOUND: Final = "SecretKeyNotFound"
REASONS: Final = (INVALID_FORMAT, OVERLAP, MOUNTS_IGNORED, SECRET_NOT_FOUND, SECRET_KEY_NOT_FOUND)
ABOUT_SECRETS: Final = frozenset({SECRET_NOT_FOUND, SECRET_KEY_NOT_FOUND})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. With another message it is still the same if reason and `about` are."""

    reason: str
    about: str
    message: str

    @property
    def identity(self) -> tuple[str, str]:
        return self.reason, self.about


@dataclass(frozen=True, slots=True, order=True)
class SecretReference:
    """A Secret in the job namespace that a Job of the container cannot start without."""

    name: str
    key: str = ""
    """The key that it must have; empty where all of the Secret is taken."""


# formats and mounts ---------------------------------------------------------------------------------------------------


def invalid_formats(container: ClusterStorageContainer) -> list[Finding]:
    """Regular expressions that cannot be read."""
    return [
        Finding(
            reason=INVALID_FORMAT,
            about=regex,
            message=(
                f"supportedUriFormats: {shorten(regex)!r} is not a regular expression of RE2 ({shorten(why)}): "
                "correct it. Until then it fits no URI: what it is meant for is downloaded by another container that "
                "fits, or by the image of downloads"
            ),
        )
        for regex, why in format_errors(container).items()
    ]


def ignored_mounts(container: ClusterStorageContainer) -> list[Finding]:
    """Mounts of the container: a Job replaces them all, and has no volumes for them (D-53)."""
    mounts = [str(mount.get("name", "")) for mount in _items(container.spec.container.get("volumeMounts"))]
    if not mounts:
        return []
    message = (
        f"volumeMounts of the container are not made in download jobs, which mount the cache's volume instead: "
        f"{shorten(', '.join(mounts))}. Remove them; hand secrets over by env or envFrom"
    )
    return [Finding(reason=MOUNTS_IGNORED, about="", message=message)]


# overlaps -------------------------------------------------------------------------------------------------------------


def overlaps(
    container: ClusterStorageContainer, earlier: Iterable[ClusterStorageContainer], caches: Sequence[Cache]
) -> list[Finding]:
    """Containers that are `earlier` by name and download some of the same URIs: then this one is not used (D-53).

    Whether two regular expressions have a text in common is not decided, except where they are equal: for those, what
    the caches name at present is looked at. `caches` are sorted, so that the one that is named is always the same.
    """
    found = []
    for winner in earlier:
        shared = _shared(container, winner) or _shared_now(container, winner, caches)
        if shared:
            message = (
                f"ClusterStorageContainer {winner.name} downloads {shared} as well and wins, being the first by name: "
                "disable one of them, or let their supportedUriFormats differ"
            )
            found.append(Finding(reason=OVERLAP, about=winner.name, message=message))
    return found


def _shared(one: ClusterStorageContainer, other: ClusterStorageContainer) -> str:
    """The URIs that both download by their formats alone; empty if that cannot be said."""
    for form in effective_formats(one):
        for another in effective_formats(other):
            longer, shorter = sorted((form.prefix, another.prefix), key=len, reverse=True)
            if shorter and longer.startswith(shorter):
                return f"URIs that start with {shorten(longer)!r}"
            if not longer and form.regex and form.regex == another.regex:
                return f"URIs that match {shorten(form.regex)!r}"
    return ""


def _shared_now(one: ClusterStorageContainer, other: ClusterStorageContainer, caches: Iterable[Cache]) -> str:
    for cache in caches:
        uri = cache.spec.source_model_uri
        if supports(one, uri) and supports(other, uri):
            return f"{shorten(uri)!r} of {cache}"
    return ""


# secrets --------------------------------------------------------------------------------------------------------------


def secret_references(container: ClusterStorageContainer) -> list[SecretReference]:
    """What env and envFrom refer to without being optional, sorted. Of several env entries of a name the last counts.

    Volumes are not looked at: a Job has none of the container's.
    """
    env = {str(item.get("name")): item for item in _items(container.spec.container.get("env"))}
    references = {*_references(env.values()), *_sources(container.spec.container.get("envFrom"))}
    return sorted(reference for reference in references if reference.name)


def _references(env: Iterable[Mapping[str, Any]]) -> Iterator[SecretReference]:
    for item in env:
        reference = _part(_part(item, "valueFrom"), "secretKeyRef")
        if not reference.get("optional"):
            yield SecretReference(str(reference.get("name") or ""), str(reference.get("key") or ""))


def _sources(env_from: object) -> Iterator[SecretReference]:
    for item in _items(env_from):
        reference = _part(item, "secretRef")
        if not reference.get("optional"):
            yield SecretReference(str(reference.get("name") or ""))


def missing_secrets(
    references: Iterable[SecretReference], secrets: Mapping[str, Secret | None], namespace: str
) -> list[Finding]:
    """Secrets that are not there, and keys that one lacks. A name that `secrets` does not have is not known."""
    found: dict[tuple[str, str], Finding] = {}
    for reference in references:
        if reference.name not in secrets:
            continue
        secret, key = secrets[reference.name], ObjectKey(namespace, reference.name)
        if secret is None:
            message = f"Secret {key} is not found, so downloads by this container cannot start: create it there"
            finding = Finding(reason=SECRET_NOT_FOUND, about=str(key), message=message)
        elif reference.key and reference.key not in secret.data:
            message = f"Secret {key} has no key {reference.key!r}, so downloads by this container cannot start: add it"
            finding = Finding(reason=SECRET_KEY_NOT_FOUND, about=f"{key} {reference.key}", message=message)
        else:
            continue
        found[finding.identity] = finding
    return list(found.values())


def _items(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}
