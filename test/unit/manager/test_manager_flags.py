"""The command line of localmodel-manager."""

from __future__ import annotations

import subprocess
import sys

import pytest

from localmodel.manager.main import build_parser, main


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
        ]
    )
    assert options.leader_elect is True
    assert build_parser().parse_args(["--leader-elect=false"]).leader_elect is False
    assert build_parser().parse_args([]).webhook_port == 9443


@pytest.mark.parametrize("argv", [[], ["--webhook-port", "9443"]])
def test_a_webhook_port_is_refused_with_the_way_out(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    assert "--webhook-port 0" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--workers", "0"], ["--workers", "x"], ["--metrics-addr", "nonsense"]])
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
