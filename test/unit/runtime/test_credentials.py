"""Certificates that change on disk while the program runs, against a server that asks for the client's."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.certificates import Pair, make_pair

from localmodel.runtime.errors import TransportError
from localmodel.runtime.kubeconfig import ConfigError, load_config
from localmodel.runtime.objects import Node
from localmodel.runtime.rest import LiveClient


@contextmanager
def tls_server(directory: Path, own: Pair, *clients: Pair) -> Iterator[tuple[str, list[str]]]:
    """An API server of one node that wants a client certificate of those given; its address, and who asked."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            peer: Any = self.connection.getpeercert()  # type: ignore[attr-defined]
            seen.append(dict(pair[0] for pair in peer["subject"])["commonName"])
            body = b'{"metadata":{"name":"n"}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = directory / "server.pem"
    pem.write_bytes(own.certificate + own.key)
    context.load_cert_chain(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=b"".join(pair.certificate for pair in clients).decode())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # refused handshakes are the point
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class Files:
    """A kubeconfig whose authority and client certificate are files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def authority(self, pair: Pair) -> None:
        self._put("ca.crt", pair.certificate)

    def client(self, certificate: Pair, key: Pair | None = None) -> None:
        self._put("client.crt", certificate.certificate)
        self._put("client.key", (key or certificate).key)

    def kubeconfig(self, url: str, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> Path:
        content = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster or {"server": url, "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": user or {"client-certificate": "client.crt", "client-key": "client.key"}}],
        }
        self._put("kubeconfig", yaml.safe_dump(content).encode())
        return self.directory / "kubeconfig"

    def _put(self, name: str, content: bytes) -> None:
        new = self.directory / f"{name}.new"
        new.write_bytes(content)
        new.rename(self.directory / name)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def reconnected(client: LiveClient) -> str:
    """The name of the node, read on a new connection."""
    names: list[str] = []
    errors: list[Exception] = []

    def read() -> None:
        try:
            names.append(client.get(Node, "n").name)
        except TransportError as error:
            errors.append(error)

    thread = threading.Thread(target=read)  # each thread has a connection of its own
    thread.start()
    thread.join(10)
    if errors:
        raise errors[0]
    return names[0]


def test_a_client_certificate_that_is_exchanged_on_disk_is_used_by_new_connections(files: Files) -> None:
    server, old, new = make_pair("server"), make_pair("old"), make_pair("new")
    files.authority(server)
    files.client(old)
    with tls_server(files.directory, server, old, new) as (url, seen):
        client = LiveClient(load_config(files.kubeconfig(url), user_agent="test/1"))
        client.get(Node, "n")
        files.client(new)
        client.get(Node, "n")
        reconnected(client)
        client.close()
    assert seen == ["old", "old", "new"]


def test_a_pair_that_does_not_fit_keeps_the_old_one_until_there_is_a_good_one(files: Files) -> None:
    server, old, new = make_pair("server"), make_pair("old"), make_pair("new")
    files.authority(server)
    files.client(old)
    with tls_server(files.directory, server, old, new) as (url, seen):
        client = LiveClient(load_config(files.kubeconfig(url), user_agent="test/1"))
        files.client(new, key=old)
        reconnected(client)
        (files.directory / "client.crt").unlink()
        reconnected(client)
        files.client(new)
        reconnected(client)
        client.close()
    assert seen == ["old", "old", "new"]


def test_an_authority_that_is_exchanged_on_disk_is_trusted_by_new_connections(files: Files) -> None:
    one, two, us = make_pair("one"), make_pair("two"), make_pair("us")
    files.authority(one)
    files.client(us)
    with tls_server(files.directory, two, us) as (url, seen):
        client = LiveClient(load_config(files.kubeconfig(url), user_agent="test/1"))
        with pytest.raises(TransportError, match="certificate verify failed"):
            reconnected(client)
        files.authority(two)
        assert reconnected(client) == "n"
        files.authority(one)
        with pytest.raises(TransportError, match="certificate verify failed"):
            reconnected(client)
        client.close()
    assert seen == ["us"]


def test_a_kubeconfig_that_is_written_anew_is_read_again(files: Files) -> None:
    """With the credentials in it, as many tools write them."""
    server, old, new = make_pair("server"), make_pair("old"), make_pair("new")

    def written(pair: Pair) -> Path:
        inline = {
            "client-certificate-data": base64.b64encode(pair.certificate).decode(),
            "client-key-data": base64.b64encode(pair.key).decode(),
        }
        authority = base64.b64encode(server.certificate).decode()
        return files.kubeconfig(url, inline, {"server": url, "certificate-authority-data": authority})

    with tls_server(files.directory, server, old, new) as (url, seen):
        config = load_config(written(old), user_agent="test/1")
        client = LiveClient(config)
        reconnected(client)
        written(new)
        config.authorization(refresh=True)
        reconnected(client)
        client.close()
    assert seen == ["old", "new"]


def test_a_client_certificate_may_come_from_a_credential_plugin(files: Files) -> None:
    server, us = make_pair("server"), make_pair("us")
    status = {"clientCertificateData": us.certificate.decode(), "clientKeyData": us.key.decode()}
    api = "client.authentication.k8s.io/v1"
    printed = files.directory / "printed"
    printed.write_text(json.dumps({"apiVersion": api, "kind": "ExecCredential", "status": status}))
    files.authority(server)
    user = {"exec": {"apiVersion": api, "command": "cat", "args": [str(printed)], "interactiveMode": "Never"}}
    with tls_server(files.directory, server, us) as (url, seen):
        config = load_config(files.kubeconfig(url, user), user_agent="test/1")
        assert config.authorization() is None
        client = LiveClient(config)
        reconnected(client)
        client.close()
    assert seen == ["us"]


def test_a_certificate_that_cannot_be_loaded_at_the_start_is_a_config_error(files: Files) -> None:
    files.authority(make_pair())
    files.client(make_pair("one"), key=make_pair("two"))
    with pytest.raises(ConfigError, match="cannot read the kubeconfig"):
        load_config(files.kubeconfig("https://localhost:1"), user_agent="test/1")
