"""Command-line flags that all programs share, and argument types for their own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from .address import Address, AddressError
from .logging import LOG_FORMATS, LOG_LEVELS, LogLevel

MAX_PORT: Final = 65535


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --kubeconfig, --log-level and --log-format."""
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="kubeconfig file; by default the pod's service account, then $KUBECONFIG, then ~/.kube/config",
    )
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, default="info", help="least severe lines to log (default: %(default)s)"
    )
    parser.add_argument(
        "--log-format", choices=LOG_FORMATS, default="json", help="form of log lines (default: %(default)s)"
    )


def add_serving_flags(
    parser: argparse.ArgumentParser, *, metrics_addr: str = ":8080", health_probe_addr: str = ":8081"
) -> None:
    """Adds --metrics-addr and --health-probe-addr with the given defaults."""
    parser.add_argument(
        "--metrics-addr",
        type=address,
        default=metrics_addr,
        metavar="ADDR",
        help="address of /metrics; :0 picks a free port, 0 switches it off (default: %(default)s)",
    )
    parser.add_argument(
        "--health-probe-addr",
        type=address,
        default=health_probe_addr,
        metavar="ADDR",
        help="address of /healthz and /readyz; :0 picks a free port, 0 switches it off (default: %(default)s)",
    )


def add_zap_flags(parser: argparse.ArgumentParser) -> None:
    """Adds controller-runtime's own flags of logs (pkg/log/zap), for programs that stand in for one written with it.

    --zap-log-level and --zap-encoder are --log-level and --log-format by other names, whichever comes last. The others
    have no effect: traces come with the errors that need them, and times are always ISO 8601.
    """
    parser.add_argument(
        "--zap-log-level",
        type=zap_level,
        dest="log_level",
        default=argparse.SUPPRESS,
        metavar="LEVEL",
        help="--log-level in controller-runtime's words: debug, info, error, panic or a number from 1",
    )
    parser.add_argument(
        "--zap-encoder", choices=LOG_FORMATS, dest="log_format", default=argparse.SUPPRESS, help="see --log-format"
    )
    parser.add_argument("--zap-devel", type=boolean, nargs="?", const=True, metavar="true|false", help="has no effect")
    for name in ("--zap-stacktrace-level", "--zap-time-encoding"):
        parser.add_argument(name, metavar="NAME", help="has no effect")


def zap_level(text: str) -> LogLevel:
    """An argparse type: the level of ours that a level of zap's comes to. Numbers are verbosities of logr."""
    named = _ZAP_LEVELS.get(text.lower())
    if named is None and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a level: write debug, info, error, panic or a number from 1")
    return named or "debug"


_ZAP_LEVELS: Final[Mapping[str, LogLevel]] = {"debug": "debug", "info": "info", "error": "error", "panic": "error"}


def address(text: str) -> str:
    """An argparse type: the text itself, if it is an address that `serving.Address.parse` knows."""
    try:
        Address.parse(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def port(text: str) -> int:
    """An argparse type: a port, where 0 has a meaning of its own."""
    if not (text.isdecimal() and int(text) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write a number from 0 to {MAX_PORT}")
    return int(text)


def boolean(text: str) -> bool:
    """An argparse type for Go's form of boolean flags, --flag=true or --flag=false."""
    value = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}.get(text.lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a boolean: write true or false")
    return value
