"""Every promise of the library is proved by a test that carries its number, and the page that lists them is true."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "hack" / "update-promises"


def test_every_promise_has_a_test() -> None:
    loader = SourceFileLoader("update_promises", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    script = module_from_spec(spec)
    sys.modules[spec.name] = script
    loader.exec_module(script)
    found = script.promises()
    assert [number for number in range(1, script.PROMISES + 1) if number not in found] == []


def test_the_page_of_promises_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
