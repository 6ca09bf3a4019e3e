"""One server per module, one home directory and one namespace per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.apiserver import Kubectl, Program
from support.kubectl import needs_kubectl


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    directory = tmp_path_factory.mktemp("apiserver")
    program = Program(directory, ("--crds", "--audit-log", str(directory / "audit.jsonl")))
    yield program
    assert program.stop() == 0


@pytest.fixture
def kubectl(server: Program, tmp_path: Path) -> Kubectl:
    needs_kubectl()
    return Kubectl(server.kubeconfig, tmp_path)
