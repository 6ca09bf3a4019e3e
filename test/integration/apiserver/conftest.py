"""One server and one namespace per module, one home directory per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.apiserver import Kubectl, Program
from support.kubectl import needs_kubectl

from localmodel.api.crd import crds
from localmodel.sandbox.envtest import Environment


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    """Any API server, with the project's own definitions."""
    with Environment(crds=crds()) as environment:
        yield environment


@pytest.fixture(scope="module")
def namespace(environment: Environment) -> str:
    return environment.namespace()


@pytest.fixture
def kubectl(environment: Environment, namespace: str, tmp_path: Path) -> Kubectl:
    """An administrator's, in the module's namespace."""
    needs_kubectl()
    return Kubectl(environment.kubeconfig(namespace=namespace), tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Our server as a program."""
    directory = tmp_path_factory.mktemp("apiserver")
    program = Program(directory, ("--audit-log", str(directory / "audit.jsonl")))
    yield program
    assert program.stop() == 0
