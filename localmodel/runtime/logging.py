"""Logs: structlog, as JSON lines or for a console, on standard error.

Messages are constant and facts are fields. While a reconciler runs, every line of its thread, and of those it starts
with `reconcile.within_run`, carries the keys of controller-runtime, bound with `structlog.contextvars`. They are
written as all fields here are, in small letters and underscores: `controller`, `controller_group`, `controller_kind`,
`namespace`, `name`, `reconcile_id`; and the kind itself, as it is in a manifest, with `namespace` and `name` below it.
Lines of libraries that log with the standard library come out in the same form, with the same fields.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Literal, TextIO, get_args

import structlog

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
LOG_LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)


def setup_logging(
    level: LogLevel = "info",
    format_: LogFormat = "json",
    *,
    stream: TextIO | None = None,
    last: Sequence[structlog.typing.Processor] = (),
) -> None:
    """Configures structlog and the standard library's root logger for this process; `stream` is stderr by default.

    `last` are processors that see every line, those of libraries too, before it is written; in JSON with its traceback.
    """
    output = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, *last, structlog.processors.JSONRenderer()]
        if format_ == "json"
        # Not by rich, which shows the variables of each frame, and with them tokens.
        else [
            *last,
            structlog.dev.ConsoleRenderer(colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # urllib3 tells of every connection it opens; that is for its own developers.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
