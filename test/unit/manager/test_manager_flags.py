"""The command line of localmodel-manager."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localmodel.manager.main import build_parser, main, webhook_options


def test_kserves_flags_are_taken() -> None:
    options = build_parser().parse_args(
        [
            "--metrics-addr=:8080",
            "--webhook-port=0",
            "--webhook-cert-dir=/certs",
            "--health-probe-addr=:8081",
            "--leader-elect",
            "--tls-min-version=VersionTLS13",
            "--tls-cipher-suites=TLS_AES_128_GCM_SHA256",
            "--zap-log-level=debug",
            "--zap-encoder=console",
        ]
    )
    assert (options.log_level, options.log_format) == ("debug", "console")
    assert options.leader_elect is True
    assert build_parser().parse_args(["--leader-elect=false"]).leader_elect is False
    assert webhook_options(options) is None


def test_the_webhooks_flags_are_theirs() -> None:
    argv = ["--webhook-cert-dir=/certs", "--tls-min-version=VersionTLS13"]
    argv += ["--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256"]
    found = webhook_options(build_parser().parse_args(argv))
    assert found is not None
    assert (found.port, found.cert_dir) == (9443, Path("/certs"))
    assert found.tls.min_version == "VersionTLS13"
    assert found.tls.cipher_suites == ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256")


def test_an_unknown_cipher_ends_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tls-cipher-suites=ROT13", "--kubeconfig", "/nonexistent"]) == 1
    assert "unknown TLS cipher suites ROT13" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["--workers", "0"],
        ["--workers", "x"],
        ["--metrics-addr", "nonsense"],
        ["--webhook-port", "65536"],
        ["--webhook-port=-1"],
    ],
)
def test_bad_values_are_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        build_parser().parse_args(argv)
    assert exited.value.code == 2


def test_a_missing_kubeconfig_ends_with_a_message() -> None:
    command = [sys.executable, "-m", "localmodel.manager.main", "--webhook-port", "0", "--kubeconfig", "/nonexistent"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "/nonexistent" in ended.stderr
    assert "Traceback" not in ended.stderr
