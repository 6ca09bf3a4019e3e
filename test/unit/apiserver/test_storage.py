"""What outlives the process: the journal, the certificate, the signing key; and the audit log."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.testing.store import VersionedStore
from localmodel.sandbox.apiserver.audit import AuditLog, AuditRecord
from localmodel.sandbox.apiserver.journal import JournalError, SqliteJournal
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
