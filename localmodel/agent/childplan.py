"""A download as a process of the agent: all that is decided before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildPlan:
    """One attempt at one storage key. What is secret in it shows in no representation."""

    key: str
    attempt: int
    uri: str
    destination: Path
    """The staging directory."""
    cache: str
    """The status key of the cache that it is started for."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Its own variables: credentials, selection, options. Values may begin with `FILES`, for where `files` will lie."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Relative path -> content of what it reads its credentials from."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Texts that must not be repeated in what it says."""
    memory_bytes: int
    """What it may take; see `child` for how that is counted."""
    deadline_seconds: float | None = None
    """After so long it is ended, as a failure; never where it is None."""


FILES: Final = "\0files"
"""Stands for the directory of `ChildPlan.files` in a variable's value until that directory is made."""
