"""ClusterStorageContainer: the container that downloads URIs of certain forms (kserve-behaviour.md 2.5).

The type, and the choice of the one that serves a URI. The choice is by name where several would do: KServe takes
whichever its cache lists first. An expression that cannot be read fits nothing, which the manager tells of on its
container; in KServe it stops every download that comes upon it (D-42). Regular expressions are RE2's, as in KServe,
where Go reads them: what one means is the same here, and none takes exponential time, whatever URI a user of a
namespace writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import Field

from localmodel.runtime.crdgen import REQUIRED, Embedded
from localmodel.runtime.objects import RESTMapping

from .model import GROUP, VERSION, ApiModel, ApiObject


class WorkloadType(StrEnum):
    """What a ClusterStorageContainer is for. Empty means initContainer."""

    INIT_CONTAINER = "initContainer"
    LOCAL_MODEL_DOWNLOAD_JOB = "localModelDownloadJob"


class SupportedUriFormat(ApiModel):
    """A form of URI: one of prefix and regex."""

    prefix: str = ""
    """The URI starts with this text."""
    regex: str = ""
    """The URI has a part that matches this regular expression; not looked at where a prefix is given."""


class StorageContainerSpec(ApiModel):
    """The container, and the URIs that it downloads."""

    container: Annotated[Embedded, REQUIRED] = Field(default_factory=dict)
    """The container; its arguments become the URI and the target directory."""
    supported_uri_formats: Annotated[list[SupportedUriFormat], REQUIRED] = Field(default_factory=list)
    """The forms of URI that it downloads; one that fits is enough."""
    supports_multi_model_download: bool | None = None
    """The container takes several pairs of URI and target."""
    workload_type: str = ""
    """initContainer (default), or localModelDownloadJob for downloads into the cache."""


class ClusterStorageContainer(ApiObject):
    """A container that downloads models from URIs of certain forms."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of(GROUP, VERSION, "ClusterStorageContainer", namespaced=False)

    spec: StorageContainerSpec = Field(default_factory=StorageContainerSpec)
    """The container, and the URIs that it downloads."""
    disabled: bool | None = None
    """The container is not used."""


def serves_downloads(container: ClusterStorageContainer) -> bool:
    """Whether the container is enabled and meant for download jobs."""
    return not container.disabled and container.spec.workload_type == WorkloadType.LOCAL_MODEL_DOWNLOAD_JOB


def effective_formats(container: ClusterStorageContainer) -> list[SupportedUriFormat]:
    """The formats that are looked at: those that can be read."""
    return [form for form in container.spec.supported_uri_formats if _error_of(form) is None]


def format_errors(container: ClusterStorageContainer) -> dict[str, str]:
    """By regular expression that cannot be read, why."""
    found = {form.regex: _error_of(form) for form in container.spec.supported_uri_formats}
    return {regex: str(error) for regex, error in found.items() if error is not None}


def _error_of(form: SupportedUriFormat) -> ValueError | None:
    if not form.prefix and form.regex:
        try:
            _compile(form.regex)
        except ValueError as error:
            return error
    return None


@lru_cache(maxsize=256)
def _compile(regex: str) -> Any:
    """An expression with `search`; raises ValueError."""
    import re2  # here: an agent that downloads nothing does not need it

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(regex, options)
    except re2.error as error:
        said = error.args[0]
        raise ValueError(said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from error


def supports(container: ClusterStorageContainer, uri: str) -> bool:
    """Whether one of the container's formats fits the URI; one that cannot be read does not."""
    return any(_fits(form, uri) for form in container.spec.supported_uri_formats)


def _fits(form: SupportedUriFormat, uri: str) -> bool:
    if form.prefix:
        return uri.startswith(form.prefix)
    if not form.regex or _error_of(form) is not None:
        return False
    return _compile(form.regex).search(uri) is not None


def find_download_container(containers: Iterable[ClusterStorageContainer], uri: str) -> ClusterStorageContainer | None:
    """The first by name that is enabled, meant for download jobs and fits the URI, or None."""
    fitting = (c for c in containers if serves_downloads(c) and supports(c, uri))
    return min(fitting, key=lambda container: container.name, default=None)
