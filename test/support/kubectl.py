"""Which kubectl is there: tests name the least version that has what they use."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess

import pytest


@functools.cache
def kubectl_version() -> tuple[int, int]:
    """Major and minor version of the kubectl on the path; (0, 0) if there is none."""
    if shutil.which("kubectl") is None:
        return 0, 0
    shown = subprocess.run(
        ["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=30, check=True
    )
    version = json.loads(shown.stdout)["clientVersion"]["gitVersion"]
    match = re.match(r"v(\d+)\.(\d+)\.", version)
    assert match, version
    return int(match[1]), int(match[2])


def needs_kubectl(major: int = 1, minor: int = 0, why: str = "") -> None:
    """Skips the test if kubectl is older, and fails it if there is none; `why` is what older ones cannot do."""
    found = kubectl_version()
    if found == (0, 0):
        pytest.fail("kubectl is not installed: README names it among what the tests need")
    if found < (major, minor):
        pytest.skip(f"kubectl {found[0]}.{found[1]}: {why} needs {major}.{minor}")


def strict_validation() -> str:
    """The flag with which unknown fields are refused, by the server if kubectl knows how to ask for that."""
    return "--validate=strict" if kubectl_version() >= (1, 24) else "--validate=true"
