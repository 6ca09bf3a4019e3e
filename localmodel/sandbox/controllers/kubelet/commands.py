"""`Launcher`: makes the local process of a container: its command line, environment and directories.

Neighbours: `images` for what an image is here, `mounts` and `environment` for what the process sees, `credentials` for
the pod's access to the API server, `pod` for when to start it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from localmodel.runtime.client import Client, Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.objects import Pod
from localmodel.sandbox.apiserver.kubeconfig import write_kubeconfig
from localmodel.sandbox.kubeconfig import other_kubeconfig
from localmodel.sandbox.spawn import Spawner

from .addresses import PodAddresses
from .container import Command, Container
from .credentials import ACCOUNT_DIRECTORY, PodTokens, account_of, mounts_account
from .environment import ContainerConfigError, build_environment, expand
from .images import ImageTable
from .mounts import Mount, PodVolumes, container_mounts, rewrite

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a pod needs of its node and its kubelet."""

    root: Path
    """The node's directory."""
    reader: Reader
    """Reads what pods refer to, live."""
    client: Client
    """Asks for their tokens."""
    images: ImageTable
    spawner: Spawner
    clock: Clock
    addresses: PodAddresses
    kubeconfig: Path | None = None
    """Says how pods reach the API server; None if that is not known: they get no access."""


class UnknownImageError(ContainerConfigError):
    """The sandbox has no local command for an image."""


@dataclass
class Launcher:
    """For the containers of one pod. Used by one thread at a time."""

    node: Surroundings
    scratch: Path
    """The pod's own directory."""
    tokens: PodTokens = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = PodTokens(self.node.client, self.node.clock)
        self._volumes = PodVolumes(
            root=self.node.root, scratch=self.scratch, reader=self.node.reader, tokens=self.tokens
        )

    def prepare(self, container: Container, pod: Pod, log: Path, pod_ip: str) -> tuple[Command, Sequence[Mount]]:
        """The process, and what it has mounted.

        Raises UnknownImageError, ContainerConfigError, MountError, and what the API server's refusals raise.
        """
        spec = container.spec
        image = self.node.images.find(spec.get("image", ""))
        if image is None:
            text = f'image "{spec.get("image", "")}" is not known to the sandbox: give --image NAME=COMMAND for it'
            raise UnknownImageError(text)
        own = build_environment(spec, pod, self.node.reader)
        mounts = container_mounts(spec, self._volumes.prepare(pod), own)
        directory = self.scratch / "containers" / container.name
        directory.mkdir(parents=True, exist_ok=True)
        termination_log = directory / "termination-log"
        given, more = spec.get("command") or [], spec.get("args") or []
        arguments = image.command_line(
            [expand(a, own) for a in given],
            [expand(a, own) for a in more],
            pod_ip,
            partial(rewrite, mounts=mounts),
        )
        if not arguments:
            raise ContainerConfigError(f'no command specified, and image "{spec.get("image", "")}" has none here')
        env = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "HOME": str(directory),
            "HOSTNAME": pod.name,
            "LANG": "C.UTF-8",
            **self._access(pod, mounts),
            **{name: rewrite(value, mounts) for name, value in own.items()},
            "TERMINATION_LOG": str(termination_log),
        }
        command = Command(
            arguments=arguments,
            env=env,
            directory=directory,
            log=log,
            termination_log=termination_log,
        )
        return command, mounts

    def _access(self, pod: Pod, mounts: Sequence[Mount]) -> dict[str, str]:
        """KUBECONFIG, if the pod has its account's token: mounted by its spec, or as every pod has it."""
        account = pod.spec.service_account_name
        if self.node.kubeconfig is None or not account:
            return {}
        mounted = next((mount.directory for mount in mounts if mount.mount_path == ACCOUNT_DIRECTORY), None)
        if mounted is not None:
            token = mounted / "token"
        elif mounts_account(pod, account_of(self.node.reader, pod)):
            token = self.scratch / "serviceaccount" / "token"
            self.tokens.ensure(pod, token)
        else:
            return {}
        path = self.scratch / "serviceaccount" / "kubeconfig"
        credentials = {"tokenFile": str(token)}
        content = other_kubeconfig(self.node.kubeconfig, account, credentials, namespace=pod.namespace)
        write_kubeconfig(path, content)
        return {"KUBECONFIG": str(path)}
