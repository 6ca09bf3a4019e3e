"""`running`: the manager or an agent as a process, with the kubeconfig of a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .eventually import eventually

QUIET = ["--health-probe-addr", "0", "--metrics-addr", "127.0.0.1:0", "--log-format", "json"]


@contextmanager
def running(module: str, home: Path, *arguments: str) -> Iterator[str]:
    """The program; the URL where it serves HTTP."""
    command = [sys.executable, "-m", module, "--kubeconfig", str(home / "kubeconfig"), *QUIET, *arguments]
    environment = {**os.environ, "NODE_NAME": "node-1"}
    log = home / f"{module}.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:

        def url() -> str:
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
            return next((str(line["url"]) for line in lines if line.get("event") == "Serving HTTP"), "")

        eventually(url, timeout=60)
        yield url()
    finally:
        process.terminate()
        process.wait(20)
