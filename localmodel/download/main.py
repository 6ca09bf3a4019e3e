"""The `localmodel-download` program: KServe's storage-initializer, as far as its caller can tell.

`localmodel-download URI DEST [URI DEST ...]` downloads each URI into its DEST, one after the other, and exits 0, or 1
at the first that fails (also for wrong arguments), 137 when it has no memory left, or 143 when it is terminated. The
last line it logs, and the termination message that the kubelet puts into the pod's status, say why in words made for a
user.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

import structlog

from localmodel import __version__
from localmodel.download import check_access, download
from localmodel.download.errors import DownloadError
from localmodel.download.redaction import Redactor
from localmodel.download.storageconfig import with_storage_config

_TERMINATION_LOG = "/dev/termination-log"
_TERMINATION_LIMIT = 4096  # bytes that the kubelet takes over
_NO_MEMORY = 128 + signal.SIGKILL  # as a container that the kernel ends for want of memory

log = structlog.get_logger(__name__)


class _Terminated(BaseException):
    """SIGTERM or SIGINT arrived. No Exception, so that nothing on the way takes it for a failure it can handle."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the download was ended by {signal.Signals(number).name}; the next run continues it")
        self.exit_code = 128 + number


class _Parser(argparse.ArgumentParser):
    """Exits with 1 on wrong usage, as the storage-initializer does."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the program and ends the process with its exit status.

    It ends without waiting for threads: one that hangs in a read has nothing to tidy up, since what it wrote is with
    the kernel already, and must not hold up the end.
    """
    status = run(sys.argv[1:] if argv is None else argv, env=os.environ, stderr=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run(argv: Sequence[str], *, env: Mapping[str, str], stderr: TextIO) -> int:
    """The program without the end of the process: returns the exit status. Takes over SIGTERM and SIGINT."""
    arguments = _parse(argv)
    try:
        env = with_storage_config(env)
    except DownloadError as error:
        return _fail(str(error), env=env, status=1)
    redact = Redactor(env)
    _configure_logging(arguments.log_level, arguments.log_format, redact=redact, stderr=stderr)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _terminate)
    try:
        if arguments.check:
            for uri in arguments.pairs:
                check_access(uri, env=env)
        else:
            for uri, dest in zip(arguments.pairs[::2], arguments.pairs[1::2], strict=True):
                download(uri, dest, env=env)
    except DownloadError as error:
        return _fail(redact(str(error)), env=env, status=1)
    except _Terminated as error:
        return _fail(str(error), env=env, status=error.exit_code)
    except MemoryError:
        return _fail("the download ran out of memory: raise its memory limit", env=env, status=_NO_MEMORY)
    except Exception as error:
        log.exception("the download failed for a reason that it does not know")
        return _fail(redact(f"internal error: {type(error).__name__}: {error}"), env=env, status=1)
    return 0


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)  # the first decides; a second must not disturb the tidying up
    raise _Terminated(number)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="localmodel-download",
        usage="localmodel-download [options] URI DEST [URI DEST ...]\n       localmodel-download --check URI [URI ...]",
        description="Downloads each URI (hf://, http://, https://, file://) into its directory DEST.",
    )
    parser.add_argument("pairs", nargs="*", metavar="URI DEST", help="what to download, and where to")
    parser.add_argument(
        "--check", action="store_true", help="only try whether the credentials in the environment can read each URI"
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    default_format = "console" if sys.stderr.isatty() else "json"
    parser.add_argument("--log-format", default=default_format, choices=["json", "console"])
    parser.add_argument("--version", action="version", version=f"localmodel-download {__version__}")
    arguments = parser.parse_args(argv)
    if arguments.check and arguments.pairs:
        return arguments
    if not arguments.pairs or len(arguments.pairs) % 2:
        parser.error("expected pairs of a URI and a directory")
    return arguments


def _configure_logging(level: str, form: str, *, redact: Redactor, stderr: TextIO) -> None:
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact.processor,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stderr),
    )


def _fail(message: str, *, env: Mapping[str, str], status: int) -> int:
    named = env.get("TERMINATION_LOG")
    path = Path(named or _TERMINATION_LOG)
    if named or path.exists():
        try:
            path.write_bytes(message.encode()[:_TERMINATION_LIMIT])
        except OSError as error:
            log.warning("cannot write the termination message", path=str(path), error=str(error))
    log.error(message)
    return status
