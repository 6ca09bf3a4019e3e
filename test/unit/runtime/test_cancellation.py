"""Ending from outside what a thread waits for."""

from __future__ import annotations

import threading

import pytest

from localmodel.runtime import cancellation
from localmodel.runtime.cancellation import Cancellation, CancelledError


def test_without_a_scope_nothing_is_cancelled() -> None:
    cancellation.check()
    with cancellation.waking(lambda: pytest.fail("nobody cancels")):
        pass


def test_cancel_wakes_what_waits_and_fails_what_comes_later() -> None:
    work, woken = Cancellation(), threading.Event()
    with work.scope():
        with cancellation.waking(woken.set):
            work.cancel()
        with pytest.raises(CancelledError, match="GET /x was cancelled"):
            cancellation.check("GET /x")
        with pytest.raises(CancelledError), cancellation.waking(woken.clear):
            pytest.fail("this wait must not begin")
    assert woken.is_set()


def test_a_wait_that_has_ended_is_not_woken() -> None:
    work, woken = Cancellation(), threading.Event()
    with work.scope(), cancellation.waking(woken.set):
        pass
    work.cancel()
    assert not woken.is_set()


def test_the_scope_ends_with_its_block() -> None:
    work = Cancellation()
    work.cancel()
    with work.scope():
        pass
    cancellation.check()


def test_a_thread_shares_the_cancellation_only_if_it_carries_it() -> None:
    work, seen = Cancellation(), []

    def look() -> None:
        try:
            cancellation.check()
        except CancelledError:
            seen.append("cancelled")

    with work.scope():
        carried = cancellation.carrying(look)
    work.cancel()
    for target in (look, carried):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert seen == ["cancelled"]
