"""`localmodel sandbox apiserver`: the embedded API server as a program.

When it is ready it prints one line of JSON, {"server": URL, "kubeconfig": FILE}, and serves until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from localmodel.runtime.lazy import import_with_stand_ins, import_without

# Half of what libraries import is never used here, and costs a fifth of the time that the server needs to start:
# typing_extensions, which has nothing that typing has not; rich, for coloured tracebacks; packers of archives.
import_without("shutil", "bz2", "lzma")
import_without("msgspec", "typing_extensions")
import_without("structlog", "rich", "better_exceptions")

import msgspec  # noqa: E402

from localmodel.runtime.errors import RuntimeLibraryError  # noqa: E402
from localmodel.runtime.logging import LOG_FORMATS, LOG_LEVELS, setup_logging  # noqa: E402
from localmodel.runtime.signals import setup_signal_handler  # noqa: E402

from .faultflags import rule  # noqa: E402

_GC_THRESHOLDS = (50_000, 20, 20)
"""Requests leave next to nothing that goes in a circle, and each collection looks through all objects that are kept."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, picks a free one")
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        default=Path("localmodel-sandbox.kubeconfig"),
        metavar="FILE",
        help="file to write an administrator's kubeconfig to (default: %(default)s)",
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="directory that keeps objects, keys and certificate over restarts"
    )
    parser.add_argument("--audit-log", type=Path, metavar="FILE", help="file to append one JSON line per request to")
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, default="info", help="least severe lines to log (default: %(default)s)"
    )
    parser.add_argument(
        "--log-format", choices=LOG_FORMATS, default="json", help="form of log lines (default: %(default)s)"
    )
    parser.add_argument(
        "--no-tls", action="store_true", help="serve plain HTTP, for trying and measuring; on a loopback address only"
    )
    parser.add_argument(
        "--fault",
        type=rule,
        action="append",
        default=[],
        metavar="KEY=VALUE,...",
        help="a fault that is in force from the start, in the words of `localmodel sandbox faults add`; repeatable",
    )
    parser.add_argument("--crds", action="store_true", help="install the CustomResourceDefinitions of localmodel")


def import_uvicorn() -> None:
    """Imports it without its command line and without what would read a configuration of logging from a file."""
    unused = {
        "uvicorn.main": ("Server", "main", "run"),
        "logging.config": (),
        "configparser": ("RawConfigParser",),
    }
    import_with_stand_ins("uvicorn", unused)


def run(args: argparse.Namespace) -> int:
    """Serves until a signal; 0 after one, 1 if the server could not start."""
    # Before the slow imports: a signal during them must end the program cleanly, too.
    stop = setup_signal_handler()
    # Imports make much garbage-free memory: collecting it again and again is a seventh of the start-up time.
    gc.disable()
    import_uvicorn()
    from .server import ApiServer, ApiServerOptions

    setup_logging(args.log_level, args.log_format)
    kubeconfig = args.kubeconfig.absolute()
    options = ApiServerOptions(
        host=args.host,
        port=args.port,
        data_dir=args.data_dir,
        audit_log=args.audit_log,
        crds=args.crds,
        tls=not args.no_tls,
        faults=tuple(args.fault),
    )
    try:
        server = ApiServer(options)
        server.start()
    except (RuntimeLibraryError, OSError) as error:
        sys.stderr.write(f"localmodel sandbox apiserver: {error}\n")
        return 1
    try:
        server.write_kubeconfig(kubeconfig)
    except OSError as error:
        sys.stderr.write(f"localmodel sandbox apiserver: cannot write --kubeconfig {kubeconfig}: {error.strerror}\n")
        server.stop()
        return 1
    line = msgspec.json.encode({"server": server.url, "kubeconfig": str(kubeconfig)})
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.enable()
    stop.wait()
    server.stop()
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="localmodel sandbox apiserver", description="Run the embedded Kubernetes API server alone."
    )
    add_arguments(parser)
    return run(parser.parse_args(argv))
