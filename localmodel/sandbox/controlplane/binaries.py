"""`BinaryControlPlane`: a stock etcd and kube-apiserver as processes of their own (controller-runtime's envtest).

`KUBEBUILDER_ASSETS` names the directory with the two programs. They listen on free loopback ports and keep everything
in a temporary directory; users are client certificates of an authority made for the occasion. There is no
kube-controller-manager, so namespaces are not drained and nothing is collected, as with controller-runtime.

The processes die with this one, whatever kills it (`spawn`), and `sweep` then removes the directory.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from localmodel.sandbox.apiserver.audit import AuditRecord
from localmodel.sandbox.apiserver.kubeconfig import certificate_credentials, cluster_entry
from localmodel.sandbox.apiserver.kubeletclient import NAME as KUBELET_CLIENT
from localmodel.sandbox.apiserver.tls import Authority, write_private
from localmodel.sandbox.apiserver.users import MASTERS
from localmodel.sandbox.spawn import Spawner, stop_process

from .base import ControlPlane, ControlPlaneError, Json

START_TIMEOUT = 20.0
"""Seconds; envtest's own default."""
STOP_TIMEOUT = 10.0
LOG_END = 20
"""Lines of a log that an error shows."""
_TRIES = 3
"""How often ports are chosen, as another program may take one between the choice and the start."""
_POLL = 0.05
_SWEEP = str(Path(__file__).with_name("sweep.py"))
_POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"


class BinaryControlPlane(ControlPlane):
    """Both processes, their certificates and their directory."""

    name: ClassVar[str] = "kube-apiserver"
    is_shared: ClassVar[bool] = True
    is_ours: ClassVar[bool] = True

    def __init__(self, assets: Path, *, start_timeout: float = START_TIMEOUT, service_accounts: bool = False) -> None:
        """`assets`: the directory with etcd and kube-apiserver.

        `service_accounts`: a pod needs an account and gets its token, for which a controller must make "default".
        Raises ControlPlaneError if they are not there, or cannot run here.
        """
        if not sys.platform.startswith("linux"):
            raise ControlPlaneError(f"kube-apiserver is started on Linux only, not on {sys.platform}")
        for program in ("etcd", "kube-apiserver"):
            if not os.access(assets / program, os.X_OK):
                raise ControlPlaneError(
                    f"KUBEBUILDER_ASSETS is {assets}, where there is no program {program}: "
                    f"run hack/build-envtest-assets {assets}, or unset it for the embedded API server"
                )
        self._assets = assets.absolute()
        self._timeout = start_timeout
        self._disabled = "" if service_accounts else "ServiceAccount"
        self._spawner = Spawner()
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        """Name and process, in the order of their start."""
        self._directory = Path()
        self._sweeper: subprocess.Popen[bytes] | None = None
        self._authority: Authority | None = None
        self._port = 0
        self._audit_read = 0
        """Bytes of the audit log that were read."""
        self._requests: dict[str, AuditRecord] = {}
        """By audit id, of those bytes."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}" if self._port else ""

    def start(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="localmodel-envtest-"))
        self._sweeper = subprocess.Popen(
            [sys.executable, "-I", "-S", _SWEEP, str(self._directory)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._write_files()
        try:
            self._start_on_free_ports()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._stop_processes()
        if self._sweeper is not None and self._sweeper.stdin is not None:
            self._sweeper.stdin.close()
            self._sweeper.wait(2 * STOP_TIMEOUT)
            self._sweeper = None

    @property
    def authority(self) -> Authority:
        """Signs the server's certificate and its users'."""
        if self._authority is None:
            raise ControlPlaneError("start() makes the authority of the certificates")
        return self._authority

    def cluster(self) -> Json:
        return cluster_entry(self.url, self.authority.pem)

    def user(self, name: str, groups: Sequence[str] | None) -> Json:
        wanted = (MASTERS,) if groups is None else groups
        return certificate_credentials(self.authority.issue_client(name, wanted, now=datetime.now(UTC)))

    def audit(self) -> list[AuditRecord]:
        with (self._directory / "audit.log").open("rb") as file:
            file.seek(self._audit_read)
            whole, end, _ = file.read().rpartition(b"\n")
        self._audit_read += len(whole) + len(end)
        for line in whole.splitlines():
            event = msgspec.json.decode(line)
            # A watch has two lines, one when it starts and one when it ends: the first says what ours says.
            self._requests.setdefault(event["auditID"], _record(event))
        return list(self._requests.values())

    def _start_on_free_ports(self) -> None:
        until = time.monotonic() + self._timeout
        for last in (*[False] * (_TRIES - 1), True):
            client, peer, self._port = _free_ports(3)
            etcd = f"http://127.0.0.1:{client}"
            try:
                self._spawn("etcd", self._etcd_flags(etcd, f"http://127.0.0.1:{peer}"))
                self._spawn("kube-apiserver", self._server_flags(etcd))
                self._wait_for("/readyz", until)
                self._wait_for("/api/v1/namespaces/default", until)
            except ControlPlaneError as error:
                self._stop_processes()
                if last or "address already in use" not in str(error):
                    raise
            else:
                return

    def _write_files(self) -> None:
        now = datetime.now(UTC)
        self._authority = Authority.ensure(self._directory, now=now)
        serving = self.authority.issue_server(["127.0.0.1", "localhost"], now=now)
        serving.write(self._directory / "server.crt", self._directory / "server.key")
        admin = self.authority.issue_client("envtest", (MASTERS,), now=now)
        admin.write(self._directory / "admin.crt", self._directory / "admin.key")
        to_kubelets = self.authority.issue_client(KUBELET_CLIENT, (MASTERS,), now=now)
        to_kubelets.write(self._directory / "kubelet.crt", self._directory / "kubelet.key")
        write_private(self._directory / "sa.key", _signing_key())
        (self._directory / "policy.yaml").write_text(_POLICY)

    def _etcd_flags(self, client: str, peer: str) -> list[str]:
        return [
            "--data-dir=etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            "--unsafe-no-fsync",
        ]

    def _server_flags(self, etcd: str) -> list[str]:
        return [
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--client-ca-file=ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=sa.key",
            "--service-account-signing-key-file=sa.key",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--kubelet-client-certificate=kubelet.crt",
            "--kubelet-client-key=kubelet.key",
            "--audit-policy-file=policy.yaml",
            "--audit-log-path=audit.log",
            f"--disable-admission-plugins={self._disabled}",
        ]

    def _spawn(self, program: str, flags: list[str]) -> None:
        process = self._spawner.spawn(
            [str(self._assets / program), *flags], env=os.environ, directory=self._directory, output=self._log(program)
        )
        self._processes.append((program, process))

    def _wait_for(self, path: str, until: float) -> None:
        """Raises ControlPlaneError with the end of the log of what failed."""
        context = ssl.create_default_context(cafile=str(self._directory / "ca.crt"))
        context.load_cert_chain(self._directory / "admin.crt", self._directory / "admin.key")
        answer = "nothing"
        while True:
            for program, process in self._processes:
                if process.poll() is not None:
                    raise self._failure(program, f"ended with status {process.returncode}")
            try:
                with urllib.request.urlopen(self.url + path, context=context, timeout=2):
                    return
            except urllib.error.HTTPError as error:
                with error:
                    answer = f"{error.code} {error.reason}"
            except OSError as error:
                answer = str(error)
            if time.monotonic() >= until:
                raise self._failure(
                    "kube-apiserver", f"was not ready in {self._timeout:g} s (last answer to {path}: {answer})"
                )
            time.sleep(_POLL)

    def _failure(self, program: str, what: str) -> ControlPlaneError:
        log = self._log(program)
        lines = log.read_text(errors="replace").splitlines()[-LOG_END:] if log.exists() else []
        shown = "".join(f"\n  {line}" for line in lines) or " nothing"
        return ControlPlaneError(f"{self._assets / program} {what}; its log ends with:{shown}")

    def _log(self, program: str) -> Path:
        return self._directory / f"{program}.log"

    def _stop_processes(self) -> None:
        while self._processes:
            _, process = self._processes.pop()
            stop_process(process, grace=STOP_TIMEOUT)


def start_timeout(text: str) -> float:
    """Seconds of a Go duration, as KUBEBUILDER_CONTROLPLANE_START_TIMEOUT is one ("60s"). Raises ValueError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: write it as 60s or 1m30s")
    seconds = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * seconds[unit] for number, unit in parts)


def _signing_key() -> bytes:
    """A key for service accounts' tokens, in the only form of an elliptic one that is taken as a public key, too."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _record(event: Json) -> AuditRecord:
    """An event of kube-apiserver's audit log in the form of ours. https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/"""
    began, ended = (datetime.fromisoformat(event[key]) for key in ("requestReceivedTimestamp", "stageTimestamp"))
    return AuditRecord(
        user=(event.get("impersonatedUser") or event["user"]).get("username", ""),
        user_agent=event.get("userAgent", ""),
        verb=event["verb"],
        path=event["requestURI"],
        code=(event.get("responseStatus") or {}).get("code", 0),
        ms=round((ended - began).total_seconds() * 1000, 3),
    )
