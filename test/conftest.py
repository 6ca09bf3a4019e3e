"""Settings of every test."""

from __future__ import annotations

import structlog

# Without this, structlog finds rich and renders each logged exception with all local variables: seconds per traceback.
structlog.configure(
    processors=[
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
