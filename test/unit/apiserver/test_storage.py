"""What outlives the process: the journal, the certificate, the signing key; and the audit log."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.testing.store import VersionedStore
from localmodel.sandbox.apiserver.audit import AuditLog, AuditRecord
from localmodel.sandbox.apiserver.authentication import Tokens, load_signing_key
from localmodel.sandbox.apiserver.journal import JournalError, SqliteJournal
from localmodel.sandbox.apiserver.tls import ensure_certificate

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


class TestCertificate:
    def test_it_is_kept_and_can_be_served(self, tmp_path: Path) -> None:
        files = ensure_certificate(tmp_path, host="127.0.0.1", now=NOW)
        before = files.certificate.read_bytes()
        assert ensure_certificate(tmp_path, host="127.0.0.1", now=NOW).certificate.read_bytes() == before
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        assert files.key.stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("spoil", ["expired", "other host", "broken", "foreign key"])
    def test_a_spoilt_one_is_made_anew(self, tmp_path: Path, spoil: str) -> None:
        before = ensure_certificate(tmp_path, host="127.0.0.1", now=NOW).certificate.read_bytes()
        host, now = "127.0.0.1", NOW
        if spoil == "expired":
            now = NOW + timedelta(days=4000)
        elif spoil == "other host":
            host = "10.0.0.1"
        elif spoil == "broken":
            (tmp_path / "ca.crt").write_text("nonsense")
        else:
            other = ensure_certificate(tmp_path / "other", host=host, now=now)
            (tmp_path / "server.key").write_bytes(other.key.read_bytes())
        assert ensure_certificate(tmp_path, host=host, now=now).certificate.read_bytes() != before


def test_tokens_outlive_the_process(tmp_path: Path) -> None:
    clock = FakeClock()
    token = Tokens(load_signing_key(tmp_path / "key"), clock=clock).issue_user("admin")
    claims = Tokens(load_signing_key(tmp_path / "key"), clock=clock).read(token)
    assert claims is not None
    assert claims["sub"] == "admin"


def test_audit_lines_are_whole_and_flushed(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.write(AuditRecord(user="u", user_agent="a/1", verb="get", path="/x?y=1", code=200, ms=0.5))
    assert json.loads((tmp_path / "audit").read_text()) == {
        "user": "u", "userAgent": "a/1", "verb": "get", "path": "/x?y=1", "code": 200, "ms": 0.5,
    }  # fmt: skip
    log.close()
