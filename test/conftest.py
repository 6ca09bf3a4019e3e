"""Settings of every test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog


def _configure() -> None:
    """Without this, structlog finds rich and renders each exception with all local variables: seconds per traceback."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )


_configure()


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A program's main that a test calls sets up logging for the whole process; the next test gets ours back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    _configure()
    root.handlers[:] = handlers
    root.setLevel(level)
