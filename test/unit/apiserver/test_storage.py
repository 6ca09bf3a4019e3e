"""What outlives the process: the journal, the certificate, the signing key; and the audit log."""

from __future__ import annotations

import json
import resource
import socket
import sqlite3
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from localmodel.runtime.errors import InternalError, RuntimeLibraryError
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.testing.store import JournalRecord, Notice, VersionedStore
from localmodel.sandbox.apiserver.audit import AuditLog, AuditRecord
from localmodel.sandbox.apiserver.journal import JournalError, SqliteJournal
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions, ServerStartError
from localmodel.sandbox.apiserver.tls import Authority, ServingCertificate, ensure_certificate
from localmodel.sandbox.apiserver.tokens import Tokens, load_signing_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def value(revision: int) -> bytes:
    return json.dumps({"metadata": {"resourceVersion": str(revision)}}).encode()


class TestJournal:
    def test_a_store_comes_back_as_it_was(self, tmp_path: Path) -> None:
        journal = SqliteJournal(tmp_path / "objects.db")
        store = VersionedStore(journal=journal)
        for name in ("a", "b"):
            store.put("configmaps", "ns", name, value)
        store.delete("configmaps", "ns", "b", value)
        journal.close()
        restored = VersionedStore(journal=SqliteJournal(tmp_path / "objects.db"))
        assert restored.revision == 3
        assert [entry.name for entry in restored.list("configmaps")[1]] == ["a"]

    def test_two_servers_do_not_share_one(self, tmp_path: Path) -> None:
        first = SqliteJournal(tmp_path / "objects.db")
        with pytest.raises(JournalError, match=r"objects\.db"):
            SqliteJournal(tmp_path / "objects.db")
        first.close()

    @pytest.mark.parametrize("content", [b"no database at all " * 100, b"SQLite format 3\0" + b"\1" * 4000])
    def test_what_is_no_database_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "objects.db").write_bytes(content)
        with pytest.raises(JournalError, match=r"cannot use the database .*objects\.db: .*damaged"):
            SqliteJournal(tmp_path / "objects.db")
        assert (tmp_path / "objects.db").read_bytes() == content

    def test_another_programs_database_is_left_alone(self, tmp_path: Path) -> None:
        other = sqlite3.connect(tmp_path / "objects.db")
        other.execute("CREATE TABLE bookmarks (url TEXT)")
        with pytest.raises(JournalError, match="belongs to another program"):
            SqliteJournal(tmp_path / "objects.db")
        assert [name for (name,) in other.execute("SELECT name FROM sqlite_schema")] == ["bookmarks"]
        other.close()

    def test_a_damaged_database_is_refused(self, tmp_path: Path) -> None:
        journal = SqliteJournal(tmp_path / "objects.db")
        store = VersionedStore(journal=journal)
        for number in range(200):
            store.put("configmaps", "ns", f"name-{number}", value)
        journal.close()
        content = bytearray((tmp_path / "objects.db").read_bytes())
        content[8192:16384] = b"x" * 8192
        (tmp_path / "objects.db").write_bytes(content)
        with pytest.raises(JournalError, match=r"objects\.db: .*damaged"):
            SqliteJournal(tmp_path / "objects.db")

    def test_an_object_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        journal = SqliteJournal(tmp_path / "objects.db")
        journal.append(JournalRecord("configmaps", "ns", "broken", 1, b"{"))
        with pytest.raises(RuntimeLibraryError, match="configmaps ns/broken is no object"):
            VersionedStore(journal=journal)
        journal.close()

    def test_a_write_that_cannot_be_stored_has_not_happened(self, tmp_path: Path) -> None:
        journal = SqliteJournal(tmp_path / "objects.db")
        store = VersionedStore(journal=journal)
        store.put("configmaps", "ns", "a", value)
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count={pages}")
        told: list[Notice] = []
        store.subscribe("configmaps", since=1, callback=told.append)

        def large(revision: int) -> bytes:
            return json.dumps({"metadata": {"resourceVersion": str(revision)}, "data": "x" * 100_000}).encode()

        with pytest.raises(InternalError, match="the write was not stored: database or disk is full"):
            store.put("configmaps", "ns", "b", large)
        assert (store.revision, store.get("configmaps", "ns", "b"), told) == (1, None, [])
        store.put("configmaps", "ns", "a", value)
        journal.close()
        restored = VersionedStore(journal=SqliteJournal(tmp_path / "objects.db"))
        assert restored.revision == 2
        assert [entry.name for entry in restored.list("configmaps")[1]] == ["a"]


def serving(directory: Path, *, host: str = "127.0.0.1", now: datetime = NOW) -> ServingCertificate:
    return ensure_certificate(directory, Authority.ensure(directory, now=now), host=host, now=now)


class TestCertificate:
    def test_it_is_kept_and_can_be_served(self, tmp_path: Path) -> None:
        files = serving(tmp_path)
        before = files.certificate.read_bytes()
        assert serving(tmp_path).certificate.read_bytes() == before
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        assert files.key.stat().st_mode & 0o077 == 0
        assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("spoil", ["expired", "other host", "broken", "foreign key"])
    def test_a_spoilt_one_is_made_anew(self, tmp_path: Path, spoil: str) -> None:
        before = serving(tmp_path).certificate.read_bytes()
        host, now = "127.0.0.1", NOW
        if spoil == "expired":
            now = NOW + timedelta(days=4000)
        elif spoil == "other host":
            host = "10.0.0.1"
        elif spoil == "broken":
            (tmp_path / "server.crt").write_text("nonsense")
        else:
            (tmp_path / "server.key").write_bytes(serving(tmp_path / "other").key.read_bytes())
        assert serving(tmp_path, host=host, now=now).certificate.read_bytes() != before

    def test_another_host_does_not_change_the_authority(self, tmp_path: Path) -> None:
        before = serving(tmp_path).authority_pem
        assert serving(tmp_path, host="10.0.0.1").authority_pem == before

    @pytest.mark.parametrize("spoil", ["ca.crt", "ca.key"])
    def test_a_spoilt_authority_is_made_anew_with_all_that_it_signed(self, tmp_path: Path, spoil: str) -> None:
        before = serving(tmp_path)
        authority, certificate = before.authority_pem, before.certificate.read_bytes()
        (tmp_path / spoil).write_text("nonsense")
        assert serving(tmp_path).authority_pem != authority
        assert before.certificate.read_bytes() != certificate

    def test_what_it_issues_does_not_outlive_the_authority(self, tmp_path: Path) -> None:
        authority = Authority.ensure(tmp_path, now=NOW)
        pair = authority.issue_client("jane", now=NOW + timedelta(days=3600))
        issued = x509.load_pem_x509_certificate(pair.certificate)
        assert issued.not_valid_after_utc == authority.certificate.not_valid_after_utc

    @pytest.mark.parametrize("name", ["", "x" * 65])
    def test_a_name_that_a_certificate_cannot_hold_is_refused(self, tmp_path: Path, name: str) -> None:
        authority = Authority.ensure(tmp_path, now=NOW)
        with pytest.raises(ValueError, match="1 to 64 characters"):
            authority.issue_client(name, now=NOW)
        with pytest.raises(ValueError, match="1 to 64 characters"):
            authority.issue_client("jane", [name], now=NOW)


def test_tokens_outlive_the_process(tmp_path: Path) -> None:
    clock = FakeClock()
    token = Tokens(load_signing_key(tmp_path / "key"), clock=clock).issue_user("admin")
    claims = Tokens(load_signing_key(tmp_path / "key"), clock=clock).read(token)
    assert claims.user.name == "admin"


def test_audit_lines_are_whole_and_flushed(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.write(AuditRecord(user="u", user_agent="a/1", verb="get", path="/x?y=1", code=200, ms=0.5))
    assert json.loads((tmp_path / "audit").read_text()) == {
        "user": "u", "userAgent": "a/1", "verb": "get", "path": "/x?y=1", "code": 200, "ms": 0.5,
    }  # fmt: skip
    log.write(AuditRecord(user="u", impersonated_user="v", user_agent="", verb="get", path="/", code=200, ms=0))
    assert json.loads((tmp_path / "audit").read_text().splitlines()[1])["impersonatedUser"] == "v"
    log.close()


def test_a_full_disk_costs_audit_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "audit").symlink_to("/dev/full")
    log = AuditLog(tmp_path / "audit")
    with capture_logs() as logged:
        for _ in range(3):
            log.write(AuditRecord(user="u", user_agent="a/1", verb="get", path="/", code=200, ms=0.5))
    assert [line["event"] for line in logged] == ["Cannot write the audit log"]
    log.close()


def test_a_half_written_audit_line_is_taken_back(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    record = AuditRecord(user="u", user_agent="a/1", verb="get", path="/", code=200, ms=0.5)
    log.write(record)
    whole = (tmp_path / "audit").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
    try:
        with capture_logs():
            log.write(record)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "audit").read_bytes() == whole
    with capture_logs() as logged:
        log.write(record)
    assert (tmp_path / "audit").read_bytes() == whole * 2
    assert logged[0]["lost"] == 1
    log.close()


class TestStart:
    def test_the_port_outlives_the_server(self, tmp_path: Path) -> None:
        with ApiServer(ApiServerOptions(data_dir=tmp_path, tls=False)) as server:
            first = server.url
        with ApiServer(ApiServerOptions(data_dir=tmp_path, tls=False)) as server:
            assert server.url == first

    def test_a_port_that_is_taken_meanwhile_is_given_up(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            (tmp_path / "port").write_text(str(other.getsockname()[1]))
            with ApiServer(ApiServerOptions(data_dir=tmp_path, tls=False)) as server:
                assert (tmp_path / "port").read_text().strip() == server.url.rpartition(":")[2]

    def test_a_directory_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ServerStartError, match=r"cannot write in the directory .*file/data: Not a directory"):
            ApiServer(ApiServerOptions(data_dir=tmp_path / "file" / "data"))

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com", "10.1.2.3"])
    def test_plain_http_stays_on_this_machine(self, host: str) -> None:
        with pytest.raises(ServerStartError, match=f"on a loopback address only, not on {host}"):
            ApiServer(ApiServerOptions(host=host, tls=False))
