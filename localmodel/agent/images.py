"""Whose download image is it? What only localmodel's own can do is not asked of another.

Nothing but an image's name tells what is in it. Ours is what `localModel.downloadImage` names, which is for nothing
else, and any whose repository path has `localmodel` in it, as that of Dockerfile.agent; the rest, KServe's
storage-initializer first of all, is foreign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from localmodel.api.config import InferenceServiceConfig
from localmodel.runtime.objects import parse_quantity

_OURS: Final = "localmodel"
_XET_BUFFERS: Final = {
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT": (4, 264 << 20),
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE": (16, 64 << 20),
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_PERFILE_SIZE": (64, 16 << 20),
}
"""Variable -> which share of the memory limit it is, and the least in bytes (caching.md 2.4: hf-xet 1.8's own rule)."""
Json = dict[str, Any]


def is_our_image(image: str, config: InferenceServiceConfig) -> bool:
    """Whether `localmodel-download` is in the image."""
    if image and image == config.local_model.download_image:
        return True
    return _OURS in _repository(image)


def _repository(image: str) -> str:
    """The image without registry, tag and digest: `host:5000/a/b:c` is `a/b`."""
    host, slash, path = image.partition("@")[0].partition("/")
    has_host = slash and (host == "localhost" or "." in host or ":" in host)
    return (path if has_host else f"{host}{slash}{path}").partition(":")[0]


def memory_settings(container: Mapping[str, Any], uri: str) -> list[Json]:
    """What keeps Hugging Face's library within the container's memory limit, for a foreign image.

    Before 1.8, hf-xet takes gigabytes for its buffers whatever the limit is, and a download is killed. KServe's presets
    for its init containers (`HF_XET_HIGH_PERFORMANCE` and its like) make that worse and are left out. `container` is
    plain JSON of core/v1; nothing is set where it has no limit.
    """
    limit = _memory_limit(container.get("resources"))
    if not uri.startswith("hf://") or not limit:
        return []
    return [{"name": name, "value": str(max(limit // share, least))} for name, (share, least) in _XET_BUFFERS.items()]


def _memory_limit(resources: object) -> int:
    """In bytes; 0 where there is none, or none that can be read: the API server refuses that one."""
    limits = resources.get("limits") if isinstance(resources, Mapping) else None
    amount = limits.get("memory") if isinstance(limits, Mapping) else None
    try:
        return parse_quantity(amount) if isinstance(amount, str | int) else 0
    except ValueError:
        return 0
