"""Waiting for what another thread brings about: `eventually` of the public test kit."""

from __future__ import annotations

from localmodel.runtime.testing.waiting import eventually

__all__ = ["eventually"]
