"""`ImageTable`: which local command stands for a container image; there is no registry and no container runtime."""

from __future__ import annotations

import sys
from collections.abc import Mapping

DOWNLOAD = (sys.executable, "-m", "localmodel.download")

DEFAULT_IMAGES: Mapping[str, tuple[str, ...]] = {
    "storage-initializer": DOWNLOAD,
    "localmodel-agent": DOWNLOAD,
    "busybox": (),
}
"""End of an image's repository -> its entry point. `busybox` has none: pods name a program of this machine."""


class ImageTable:
    """Finds the entry point of an image by the end of its repository; registry, tag and digest do not matter."""

    def __init__(self, images: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`images` adds to, and overrides, the ones known by default."""
        self._images = {**DEFAULT_IMAGES, **(images or {})}

    def entry_point(self, image: str) -> tuple[str, ...] | None:
        """The command an image runs by default; None if the image is not known.

        A slash counts as a dash: localmodel/agent is localmodel-agent. The longest name that fits wins.
        """
        name = repository(image).replace("/", "-")
        fitting = [known for known in self._images if f"-{name}".endswith(f"-{known}")]
        return self._images[max(fitting, key=len)] if fitting else None


def repository(image: str) -> str:
    """An image reference without digest and tag. A colon before the last slash belongs to the registry's port."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
