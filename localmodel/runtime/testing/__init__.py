"""Tools for tests of reconcilers: an in-memory API server without HTTP, a client on it, a clock moved by hand."""

from .fake_clock import FakeClock

__all__ = ["FakeClock"]
