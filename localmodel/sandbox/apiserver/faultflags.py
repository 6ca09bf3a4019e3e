"""Faults as words of a command line: KEY=VALUE, in the names of `control.Rule`.

Imports nothing: the command that only sends them to a server needs no server.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

_PLAIN = ("verb", "resource", "subresource", "namespace", "name", "user", "userAgent", "reason", "message", "how")
"""Keys whose values are taken as they are; all others are numbers or booleans."""


def pair(text: str) -> tuple[str, Any]:
    """An argparse type: one KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    if key in _PLAIN:
        return key, value
    try:
        return key, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {value!r} is neither a number nor true or false") from None


def rule(text: str) -> dict[str, Any]:
    """An argparse type: a whole rule, KEY=VALUE,KEY=VALUE,..."""
    return dict(pair(word) for word in text.split(","))
