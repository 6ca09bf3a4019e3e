"""Tells people what the API server warns of: a deprecated version, a field that has no effect.

Warnings come in the headers of answers that succeed (RFC 7234 `Warning: 299 - "text"`), on every request anew, so each
text is logged once (client-go's rest.WarningHandler, deduplicated).
"""

from __future__ import annotations

import re
import threading

import structlog

from .response import Headers

log = structlog.get_logger(__name__)

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
"""Code, agent, and the quoted text; 299 is the only code that Kubernetes uses."""
_ESCAPED = re.compile(r"\\(.)")
REMEMBERED = 1000
"""Different texts after which all are forgotten, and may be logged again."""


class WarningLogger:
    """Logs each warning once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: set[str] = set()

    def log(self, headers: Headers) -> None:
        for value in headers.get_all("Warning"):
            for text in _WARNING.findall(value):
                self._log_once(_ESCAPED.sub(r"\1", text))

    def _log_once(self, text: str) -> None:
        with self._lock:
            if text in self._logged:
                return
            if len(self._logged) >= REMEMBERED:
                self._logged.clear()
            self._logged.add(text)
        log.warning("The API server warns", warning=text)
