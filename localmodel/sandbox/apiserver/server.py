"""`ApiServer`: the embedded API server as a thing to start and stop.

It owns a registry, the core on it, and a thread with an event loop on which uvicorn serves the core over TLS (`front`).
With a data directory the objects, the certificate and the tokens' key outlive the process.
"""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvloop
from uvicorn.config import Config
from uvicorn.server import Server

from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.testing.registry import Registry
from localmodel.runtime.testing.store import VersionedStore

from .audit import AuditLog
from .bootstrap import bootstrap
from .connection import HttpProtocol
from .core import ApiServerCore
from .faults import ServerFaults, SkewedClock
from .front import Front
from .kubeconfig import certificate_credentials, cluster_entry, kubeconfig, token_credentials, write_kubeconfig
from .kubeletclient import KubeletClient
from .tls import CLIENT_LIFETIME, LIFETIME, Authority, KeyPair, ensure_certificate
from .tokens import Tokens, load_signing_key
from .users import MASTERS

if TYPE_CHECKING:
    from .journal import SqliteJournal

log = structlog.get_logger(__name__)

START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0


class ServerStartError(RuntimeLibraryError):
    """The server did not come up; the message says where it was to listen and why it does not."""


@dataclass(frozen=True, kw_only=True)
class ApiServerOptions:
    """How to run a server."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 picks a free one: with a data directory that of the last time, if nobody else has it."""
    data_dir: Path | None = None
    """Where objects, certificate, keys and the port are kept; None keeps them only as long as the process lives."""
    audit_log: Path | None = None
    """One JSON line per request is appended here."""
    crds: bool = False
    """Installs the project's own CustomResourceDefinitions."""
    faults: Sequence[Mapping[str, Any]] = ()
    """In force from the start, as `control.Rule` has them in JSON."""
    tls: bool = True
    """False serves plain HTTP, for trying and measuring; only on a loopback address, for tokens travel in the open."""


class ApiServer:
    """Usage: `server = ApiServer(ApiServerOptions()); server.start(); ...; server.stop()`; also a context manager."""

    def __init__(self, options: ApiServerOptions | None = None, *, clock: Clock | None = None) -> None:
        self._options = options or ApiServerOptions()
        if not self._options.tls and not _is_loopback(self._options.host):
            raise ServerStartError(
                f"plain HTTP is served on a loopback address only, not on {self._options.host}: tokens would travel in "
                "the open; leave out --no-tls, or use --host 127.0.0.1"
            )
        clock = SkewedClock(clock or RealClock())
        self._scratch = None if self._options.data_dir else Path(tempfile.mkdtemp(prefix="localmodel-apiserver-"))
        directory = self._options.data_dir or self._scratch or Path()
        _check_writable(directory)
        self._port_file = directory / "port" if self._options.data_dir else None
        self._journal = _open_journal(directory / "objects.db") if self._options.data_dir else None
        self._audit = AuditLog(self._options.audit_log) if self._options.audit_log else None
        self._authority = Authority.ensure(directory, now=clock.now())
        self._certificate = ensure_certificate(directory, self._authority, host=self._options.host, now=clock.now())
        self._tokens = Tokens(load_signing_key(directory / "token.key"), clock=clock)
        self.registry = Registry(VersionedStore(journal=self._journal), clock=clock)
        kubelets = KubeletClient(self._authority, directory, clock=clock)
        self.core = ApiServerCore(
            self.registry, self._tokens, clock=clock, audit=self._audit, kubelet_context=kubelets.context
        )
        for rule in self._options.faults:
            self.core.control.add(rule)
        self._front = Front(self.core)
        self._server: Server | None = None
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where clients reach the server; empty before `start`."""
        return self.core.server_url

    @property
    def faults(self) -> ServerFaults:
        """What is to go wrong."""
        return self.core.faults

    def start(self) -> None:
        """Returns when the server answers. Raises ServerStartError."""
        bootstrap(self.registry, authority_pem=self._certificate.authority_pem.decode())
        if self._options.crds:
            self._install_crds()
        self.core.custom_resources.start()
        self.core.event_expiry.start()
        self._socket = self._bind()
        port = self._socket.getsockname()[1]
        self.core.server_url = f"{'https' if self._options.tls else 'http'}://{self._options.host}:{port}"
        config = Config(
            self._front,
            http=HttpProtocol,
            interface="asgi3",
            proxy_headers=False,
            ws="none",
            loop="asyncio",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=3600,
            timeout_graceful_shutdown=1,
            backlog=2048,
            ssl_certfile=self._certificate.certificate if self._options.tls else None,
            ssl_keyfile=self._certificate.key if self._options.tls else None,
            # A client may show a certificate; one that the authority did not sign ends the handshake.
            ssl_ca_certs=str(self._certificate.authority) if self._options.tls else None,
            ssl_cert_reqs=ssl.CERT_OPTIONAL,
        )
        self._server = Server(config)
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="apiserver", daemon=True)
        self._thread.start()
        if not started.wait(START_TIMEOUT):
            raise ServerStartError(f"the API server did not start on {self.url} within {START_TIMEOUT:.0f} s")
        if not self._server.started:
            raise ServerStartError(f"the API server could not serve {self.url}: see the log")

    def stop(self) -> None:
        """Ends all watches and connections, then the thread; closes the files. Idempotent."""
        self.faults.stop()
        if self._thread is not None and self._loop is not None and self._server is not None:
            self._server.should_exit = True
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._front.end_watches)
            self._thread.join(STOP_TIMEOUT)
            self._thread = None
        self._front.close()
        self.core.admission.close()
        self.registry.end_watches()
        if self._socket is not None:
            self._socket.close()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._audit is not None:
            self._audit.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> ApiServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def write_kubeconfig(
        self, path: Path, *, user: str = "admin", token: str | None = None, certificate: KeyPair | None = None
    ) -> None:
        """Writes a kubeconfig for `user`, who has the certificate or the token; without them, a cluster administrator.

        The administrator's holds a token, so that `kubectl --token` and `--as` mean what they say: a client
        certificate counts before a token.
        """
        if certificate is not None:
            credentials = certificate_credentials(certificate)
        else:
            credentials = token_credentials(token or self.token_for(user, (MASTERS,)))
        content = kubeconfig(cluster=cluster_entry(self.url, self.authority_pem), user=user, credentials=credentials)
        write_kubeconfig(path, content)

    def client_certificate(
        self, user: str, groups: tuple[str, ...] = (), *, lifetime: timedelta = CLIENT_LIFETIME
    ) -> KeyPair:
        """A client certificate: the user has the rights that RBAC gives the name and the groups.

        Raises ValueError for names that a certificate cannot hold.
        """
        return self._authority.issue_client(user, groups, now=self.registry.clock.now(), lifetime=lifetime)

    def serving_certificate(self, *names: str, lifetime: timedelta = LIFETIME) -> KeyPair:
        """A serving certificate for DNS names and IP addresses, for a kubelet or a webhook beside this server.

        It is signed by the server's authority, so the `certificate-authority-data` of a kubeconfig is the `caBundle`
        of a webhook that serves it.
        """
        return self._authority.issue_server(names, now=self.registry.clock.now(), lifetime=lifetime)

    @property
    def authority_pem(self) -> bytes:
        """The authority that clients trust, in PEM."""
        return self._authority.pem

    def token_for(self, user: str, groups: tuple[str, ...] = ()) -> str:
        """A bearer token for a user; the user has the rights that RBAC gives the name and the groups."""
        return self._tokens.issue_user(user, groups)

    def service_account_token(self, namespace: str, name: str, *, lifetime: timedelta = timedelta(hours=24)) -> str:
        """A bearer token of a service account that exists; raises NotFoundError."""
        definition = self.core.definition("", "serviceaccounts")
        uid = self.registry.get(definition, namespace, name)["metadata"]["uid"]
        return self._tokens.issue_service_account(namespace, name, uid, lifetime=lifetime)[0]

    def _bind(self) -> socket.socket:
        """Listens where it was told to. Clients of a server that comes back shall find it where it was."""
        last = _last_port(self._port_file) if self._port_file and not self._options.port else 0
        try:
            bound = self._listen(last or self._options.port)
        except ServerStartError:
            if not last:
                raise
            log.warning("The port of the last time is taken", port=last)
            bound = self._listen(0)
        if self._port_file is not None:
            self._port_file.write_text(f"{bound.getsockname()[1]}\n")
        return bound

    def _listen(self, port: int) -> socket.socket:
        # With the protocol named, asyncio sets TCP_NODELAY on what it accepts; else answers wait 40 ms for an ACK.
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self._options.host, port))
        except OSError as error:
            bound.close()
            raise ServerStartError(
                f"cannot listen on {self._options.host}:{port}: {error.strerror}; use --port 0"
            ) from error
        return bound

    def _run(self, started: threading.Event) -> None:
        server = self._server
        if server is None or self._socket is None:
            raise ServerStartError("start() prepares what the thread runs")
        sockets = [self._socket]

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._front.attach(self._loop)
            serving = asyncio.ensure_future(server.serve(sockets=sockets))
            while not server.started and not serving.done():
                await asyncio.sleep(0.002)
            started.set()
            await serving

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except Exception:
            log.exception("API server stopped by a failure", url=self.url)
        finally:
            started.set()

    def _install_crds(self) -> None:
        from localmodel.api.crd import crds

        definition = self.core.definition("apiextensions.k8s.io", "customresourcedefinitions")
        for crd in crds():
            name = crd["metadata"]["name"]
            if self.registry.store.get(definition.resource, "", name) is None:
                self.registry.create(definition, "", crd)
            else:
                # After a restart with a data directory: the schema of this version, the status as it was.
                current = self.registry.get(definition, "", name)
                self.registry.update(definition, "", name, {**current, "spec": crd["spec"]})


def _check_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ServerStartError(f"cannot write in the directory {directory}: {error.strerror}") from error


def _last_port(file: Path) -> int:
    """The port in the file; 0 if there is none."""
    try:
        port = int(file.read_text())
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 2**16 else 0


def _open_journal(path: Path) -> SqliteJournal:
    from .journal import SqliteJournal

    return SqliteJournal(path)


def _is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address or name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
