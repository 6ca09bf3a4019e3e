"""The programs in examples/: as modules for their parts, and as the processes they are."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from localmodel.runtime.crdgen import crd_for
from localmodel.runtime.objects import Object
from localmodel.sandbox.envtest import Environment

EXAMPLES = Path(__file__).parents[2] / "examples"


def paths() -> list[Path]:
    return sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))


def load(name: str) -> ModuleType:
    """The module of that file name without suffix, made anew: its classes are not those of another call."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def install(server: Environment, *kinds: type[Object]) -> None:
    """Defines the kinds of an example at the embedded API server."""
    server.install(*(crd_for(kind) for kind in kinds))


@contextmanager
def running(name: str, *arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The example as a process, whose output goes to `log`; told to stop at the end, which must succeed."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
