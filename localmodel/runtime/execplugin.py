"""Credential plugins: programs that print a token or a client certificate (users[].user.exec of a kubeconfig).

The official client runs them without a limit of time, with the terminal's input, takes a failure for no credential at
all and never renews certificates; hence this one. A plugin gets no input: a controller has nobody to ask. It is ended,
with all that it started, when it takes too long, and when the work in hand is cancelled or over its deadline.
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from . import cancellation, deadline
from .errors import RuntimeLibraryError

if TYPE_CHECKING:
    import subprocess

TIMEOUT = 60.0
"""Seconds that a plugin may take."""


class ExecPluginError(RuntimeLibraryError):
    """A plugin gave no credential; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCredential:
    """What a plugin printed: a token, or a certificate and key in PEM, or all three."""

    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    expires: datetime | None = None
    """None: when the server refuses it."""


class _Variable(msgspec.Struct):
    name: str
    value: str


class ExecConfig(msgspec.Struct, rename="camel", kw_only=True):
    """The `exec` entry of a user."""

    api_version: str
    command: str
    args: list[str] | None = None
    env: list[_Variable] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = "IfAvailable"


class _Status(msgspec.Struct, rename="camel"):
    """A null is as if it were not there, as it is in Go."""

    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Answer(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _Status


class ExecPlugin:
    """One plugin as a kubeconfig names it."""

    def __init__(
        self, entry: dict[str, Any], *, cluster: dict[str, Any], directory: Path, timeout: float = TIMEOUT
    ) -> None:
        """`cluster` is the kubeconfig's; `directory` that of the kubeconfig, from which relative commands are found.

        Raises ExecPluginError for an entry that is malformed or needs a terminal.
        """
        try:
            given = {key: value for key, value in entry.items() if value is not None}
            self._config = msgspec.convert(given, ExecConfig)
        except msgspec.ValidationError as error:
            raise ExecPluginError(f"the kubeconfig's exec entry is malformed: {error}") from error
        if self._config.interactive_mode == "Always":
            raise ExecPluginError(
                f"the credential plugin {self._config.command} asks questions (interactiveMode: Always), which a "
                "controller cannot answer: use another kind of credential"
            )
        self._cluster = cluster
        self._directory = directory
        self._timeout = timeout

    def run(self) -> ExecCredential:
        """A fresh credential; raises ExecPluginError, CancelledError."""
        output = self._output()
        try:
            answer = msgspec.json.decode(output, type=_Answer)
        except msgspec.MsgspecError as error:
            raise self._error(f"printed no ExecCredential: {error}") from error
        if (answer.kind, answer.api_version) != ("ExecCredential", self._config.api_version):
            raise self._error(f"printed a {answer.api_version} {answer.kind}, not a {self._config.api_version} one")
        status = answer.status
        if bool(status.client_certificate_data) != bool(status.client_key_data):
            raise self._error("printed a certificate without its key, or a key without its certificate")
        if not status.token and not status.client_certificate_data:
            raise self._error("printed neither a token nor a certificate")
        return ExecCredential(
            token=status.token or "",
            certificate=status.client_certificate_data or "",
            key=status.client_key_data or "",
            expires=status.expiration_timestamp,
        )

    def _output(self) -> bytes:
        # Imported here: few kubeconfigs have plugins.
        import subprocess

        config = self._config
        command = config.command
        if os.sep in command:
            command = str(self._directory / command)
        environment = {**os.environ, "KUBERNETES_EXEC_INFO": self._info()}
        environment |= {variable.name: variable.value for variable in config.env or ()}
        try:
            process = subprocess.Popen(
                [command, *(config.args or ())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._directory,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            hint = f". {config.install_hint.strip()}" if config.install_hint else ""
            raise self._error(f"cannot be started: {error}{hint}") from error
        try:
            return self._finished(process)
        except subprocess.TimeoutExpired as error:
            raise self._error(f"has not ended after {error.timeout:.1f} s") from error

    def _finished(self, process: subprocess.Popen[bytes]) -> bytes:
        doing, left = f"the credential plugin {self._config.command}", deadline.remaining()
        seconds = self._timeout if left is None else max(0.0, min(self._timeout, left))
        with process:
            try:
                with cancellation.waking(lambda: _kill(process), doing):
                    output, errors = process.communicate(timeout=seconds)
            except BaseException:
                _kill(process)
                raise
        cancellation.check(doing)
        if process.returncode:
            text = errors.decode(errors="replace").strip()[-500:]
            raise self._error(f"failed with exit status {process.returncode}: {text}")
        return output

    def _info(self) -> str:
        """The ExecCredential that a plugin is given, in its environment."""
        spec: dict[str, Any] = {"interactive": False}
        if self._config.provide_cluster_info:
            spec["cluster"] = {key: value for key, value in self._cluster.items() if key != "extensions"}
            for extension in self._cluster.get("extensions") or ():
                if extension.get("name") == "client.authentication.k8s.io/exec":
                    spec["cluster"]["config"] = extension.get("extension")
        info = {"apiVersion": self._config.api_version, "kind": "ExecCredential", "spec": spec}
        return msgspec.json.encode(info).decode()

    def _error(self, why: str) -> ExecPluginError:
        return ExecPluginError(f"the credential plugin {self._config.command} {why}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the plugin and what it started, which may hold its output open."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
