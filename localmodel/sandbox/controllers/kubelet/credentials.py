"""What a pod has to talk to the API server with: tokens of its service account, and a kubeconfig around one.

Tokens are asked for with a TokenRequest, bound to the pod, as the kubelet does, and renewed at four fifths of their
life; their files are replaced in one step. A local process has no /var/run/secrets/..., the place where an in-cluster
configuration is looked for: so it gets a kubeconfig that names the token's file, in the variable KUBECONFIG.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localmodel.runtime.client import Client, Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ApiError
from localmodel.runtime.objects import Pod, ServiceAccount
from localmodel.runtime.objects.subresources import TokenRequest, TokenRequestSpec

from .environment import ContainerConfigError

Json = dict[str, Any]

ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
DEFAULT_SECONDS = 3607
"""Of the token that every pod gets, as the admission plugin ServiceAccount asks for it."""
RENEW_AT = 0.8
"""Share of a token's life after which it is renewed."""


@dataclass
class _Token:
    """A token in a file."""

    path: Path
    audiences: tuple[str, ...]
    seconds: int
    renew_at: float = 0.0
    """On the clock's monotonic time."""


@dataclass
class PodTokens:
    """The tokens of one pod. Used by one thread at a time."""

    client: Client
    clock: Clock
    _tokens: dict[Path, _Token] = field(default_factory=dict)

    def ensure(self, pod: Pod, path: Path, *, audience: str = "", seconds: int = DEFAULT_SECONDS) -> None:
        """Has a fresh token in the file; raises ContainerConfigError if the account has none to give."""
        token = self._tokens.setdefault(path, _Token(path, (audience,) if audience else (), seconds))
        if self.clock.monotonic() >= token.renew_at or not path.exists():
            self._write(pod, token)

    def renew(self, pod: Pod) -> float | None:
        """Renews what is due; seconds until the next is, None without tokens. Raises ContainerConfigError."""
        for token in self._tokens.values():
            if self.clock.monotonic() >= token.renew_at:
                self._write(pod, token)
        due = min((token.renew_at for token in self._tokens.values()), default=None)
        return None if due is None else max(due - self.clock.monotonic(), 1.0)

    def _write(self, pod: Pod, token: _Token) -> None:
        account = pod.spec.service_account_name or "default"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.metadata.uid}
        request = TokenRequest(
            spec=TokenRequestSpec(
                audiences=[*token.audiences], expiration_seconds=token.seconds, bound_object_ref=bound
            )
        )
        parent = ServiceAccount.from_dict({"metadata": {"name": account, "namespace": pod.namespace}})
        try:
            answer = self.client.subresource("token").create(parent, request)
        except ApiError as error:
            raise ContainerConfigError(f'no token of the service account "{account}": {error}') from error
        if answer.status is None or not answer.status.token:
            raise ContainerConfigError(f'the API server gave no token for the service account "{account}"')
        replace_file(token.path, answer.status.token.encode())
        token.renew_at = self.clock.monotonic() + RENEW_AT * token.seconds


def mounts_account(pod: Pod, account: ServiceAccount | None) -> bool:
    """Whether the pod gets its account's token without asking for it."""
    wanted = pod.spec.to_dict().get("automountServiceAccountToken")
    if wanted is None and account is not None:
        wanted = account.to_dict().get("automountServiceAccountToken")
    return wanted is not False


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read; readers see the old content or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    staged.replace(path)


def account_of(reader: Reader, pod: Pod) -> ServiceAccount | None:
    """None if the pod's service account is not there."""
    return reader.find(ServiceAccount, pod.spec.service_account_name or "default", namespace=pod.namespace)
