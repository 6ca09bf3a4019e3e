"""Each program starts with what its image installs: nobody needs an extra that he did not ask for."""

from __future__ import annotations

import subprocess
import sys

import pytest

SANDBOX = {
    "cel_expr_python",
    "google",
    "cryptography",
    "httptools",
    "rich",
    "uvicorn",
    "uvloop",
    "numpy",
    "safetensors",
}
DOWNLOAD = {"huggingface_hub", "httpx2", "hf_xet"}
TESTS = {"pytest", "hypothesis", "requests_mock"}

PROGRAM = """
import sys
blocked = set({blocked!r})
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{{name}} is not part of this image", name=name)
sys.meta_path.insert(0, Blocker())
import importlib
sys.exit(importlib.import_module({module!r}).main({arguments!r}))
"""


def run(module: str, arguments: list[str], blocked: set[str]) -> subprocess.CompletedProcess[str]:
    code = PROGRAM.format(blocked=sorted(blocked), module=module, arguments=arguments)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("module", "blocked"),
    [
        ("localmodel.manager.main", SANDBOX | DOWNLOAD | TESTS),
        ("localmodel.agent.main", SANDBOX | DOWNLOAD | TESTS),
        ("localmodel.download.main", SANDBOX | TESTS | {"kubernetes", "pydantic"}),
        ("localmodel.cli.main", SANDBOX | DOWNLOAD | TESTS),
    ],
)
def test_a_program_starts_without_the_extras_of_others(module: str, blocked: set[str]) -> None:
    done = run(module, ["--help"], blocked)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_the_crds_are_printed_without_any_extra() -> None:
    done = run("localmodel.cli.main", ["crds", "--minimal"], SANDBOX | DOWNLOAD | TESTS)
    assert done.returncode == 0, done.stderr
    assert "localmodelcaches.serving.kserve.io" in done.stdout


def test_the_sandbox_without_its_extra_says_what_to_install() -> None:
    done = run("localmodel.cli.main", ["sandbox", "apiserver", "--kubeconfig", "/dev/null"], SANDBOX)
    assert done.returncode == 1
    assert "localmodel[sandbox]" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_agent_does_without_what_it_never_uses() -> None:
    """Each of these costs its memory on every node."""
    unused = {"asyncio", "bz2", "lzma", "pickle", "rich", "subprocess", "localmodel.runtime.crdgen.schema"}
    code = f"""
import sys
from localmodel.agent import main
main.main([], {{}})
print(*sorted({unused} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "NODE_NAME must be" in done.stderr
    assert done.stdout.split() == []
