"""Every promise of the library is proved by a test that carries its number, and the page that lists them is true."""

from __future__ import annotations

import subprocess
import sys

from support.scripts import ROOT, script


def test_every_promise_has_a_test() -> None:
    promises = script("update-promises")
    found = promises.promises()
    assert [number for number in range(1, promises.PROMISES + 1) if number not in found] == []


def test_the_page_of_promises_is_up_to_date() -> None:
    command = [sys.executable, ROOT / "hack" / "update-promises", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
