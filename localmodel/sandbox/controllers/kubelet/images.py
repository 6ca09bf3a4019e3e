"""`ImageTable`: which local programs stand for a container image; there is no registry and no container runtime.

The images of this project run this installation's own programs. Those listen on the pod's address instead of on all:
the pods of all simulated nodes share one network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DOWNLOAD = (sys.executable, "-m", "localmodel.download")
_EVERY_ADDRESS = re.compile(r"(--?[A-Za-z0-9-]+=)?(0\.0\.0\.0|\[::\])?:(\d+)")


@dataclass(frozen=True, slots=True)
class Program:
    """A program of an image, by the path that it has there."""

    command: tuple[str, ...]
    defaults: tuple[str, ...] = ()
    """Options that are as their values are, written out: those that name paths and addresses of the container."""

    def options(self, given: Sequence[str], pod_ip: str) -> list[str]:
        """What follows the command; addresses without a host get the pod's."""
        return [_EVERY_ADDRESS.sub(rf"\g<1>{pod_ip}:\g<3>", option) for option in (*self.defaults, *given)]


@dataclass(frozen=True, slots=True)
class Image:
    """`programs` are those that a pod's `command` may name; any other names a program of this machine."""

    entry_point: tuple[str, ...] = ()
    programs: Mapping[str, Program] = field(default_factory=dict)

    def command_line(
        self, command: Sequence[str], arguments: Sequence[str], pod_ip: str, path: Callable[[str], str] = str
    ) -> list[str]:
        """What to run for a container's command and args; empty if neither it nor the image says.

        `path` translates a path in the container. What is the image's own here is a path of this machine, also where
        a volume is mounted over one like it.
        """
        whole = [*(command or self.entry_point), *arguments]
        if whole and (program := self.programs.get(whole[0])):
            return [*program.command, *map(path, program.options(whole[1:], pod_ip))]
        own = [] if command else self.entry_point
        return [*own, *map(path, whole[len(own) :])]


def _script(name: str) -> str:
    """A console script of this installation."""
    return str(Path(sys.executable).with_name(name))


_SERVING = ("--metrics-addr=:8080", "--health-probe-addr=:8081")
_AGENT = Program((_script("localmodel-agent"),), ("--models-root=/mnt/models", *_SERVING))
_MANAGER = Program((_script("localmodel-manager"),), _SERVING)
_AGENT_IMAGE = Image(DOWNLOAD, {"/manager": _AGENT, "localmodel-agent": _AGENT})
_MANAGER_IMAGE = Image(("/manager",), {"/manager": _MANAGER, "localmodel-manager": _MANAGER})

DEFAULT_IMAGES: Mapping[str, Image] = {
    "storage-initializer": Image(DOWNLOAD),
    "localmodel-agent": _AGENT_IMAGE,
    "kserve-localmodelnode-agent": _AGENT_IMAGE,
    "localmodel-manager": _MANAGER_IMAGE,
    "kserve-localmodel-controller": _MANAGER_IMAGE,
    "kserve-localmodel-controller-manager": _MANAGER_IMAGE,
    "busybox": Image(),
}
"""End of an image's repository -> what is in it. `busybox` has no entry point: pods name a program of this machine."""


class ImageTable:
    """Finds an image by the end of its repository; registry, tag and digest do not matter."""

    def __init__(self, images: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`images`, name -> entry point, adds to, and overrides, the ones known by default."""
        self._images = {**DEFAULT_IMAGES, **{name: Image(command) for name, command in (images or {}).items()}}

    def find(self, reference: str) -> Image | None:
        """None if the image is not known.

        A slash counts as a dash: localmodel/agent is localmodel-agent. The longest name that fits wins.
        """
        name = repository(reference).replace("/", "-")
        fitting = [known for known in self._images if f"-{name}".endswith(f"-{known}")]
        return self._images[max(fitting, key=len)] if fitting else None


def repository(image: str) -> str:
    """An image reference without digest and tag. A colon before the last slash belongs to the registry's port."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
