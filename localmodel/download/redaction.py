"""Keeps secrets out of whatever a person may read.

Messages are built without secrets in the first place. This is the second line: a server's text or a library's error may
echo what we sent, so every value that the environment marks as secret is blanked out before text leaves the process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any

HEADERS_SUFFIX = "-headers"
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SHORTEST_SECRET = 4  # blanking out every "a" of a message would hide the cause, and protect nothing


class Redactor:
    """Replaces the secrets of one environment by `***`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Knows the hub's token and every value of the `<host>-headers` variables."""
        secrets = {env.get(name, "").strip() for name in _TOKEN_VARIABLES}
        for name, value in env.items():
            if name.endswith(HEADERS_SUFFIX):
                secrets.update(_header_values(value))
        self._secrets = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def processor(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A structlog processor that cleans every text of an event."""
        for key, value in event.items():
            if isinstance(value, str):
                event[key] = self(value)
        return event


def _header_values(text: str) -> set[str]:
    try:
        headers = json.loads(text)
    except ValueError:
        return {text}
    if not isinstance(headers, dict):
        return {text}
    values = {str(value).strip() for value in headers.values()}
    # `Bearer <token>`: the token alone is just as secret.
    return values | {value.rpartition(" ")[2] for value in values}
