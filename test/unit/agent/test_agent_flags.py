"""The command line of localmodel-agent."""

from __future__ import annotations

from localmodel.agent.program import build_parser


def test_kserves_flags_are_taken() -> None:
    """Those of its agent (kserve-behaviour.md 15)."""
    options = build_parser().parse_args(
        ["--leader-elect=false", "--tls-min-version=VersionTLS12", "--tls-cipher-suites=A,B", "--zap-log-level=debug"]
    )
    assert options.log_level == "debug"
