"""Both programs as processes on an API server: /metrics tells of their requests."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from support.eventually import eventually
from support.programs import running

from localmodel.sandbox import install
from localmodel.sandbox.envtest import Environment

pytestmark = pytest.mark.embedded_only("installs what would stay on a server that others share")


@pytest.mark.parametrize(
    ("module", "account", "arguments", "own"),
    [
        pytest.param(
            "localmodel.manager.main",
            install.MANAGER_ACCOUNT,
            ["--webhook-port", "0"],
            'localmodel_config_invalid{key="localModel"} 0.0',
            id="manager",
        ),
        pytest.param(
            "localmodel.agent.main", install.AGENT_ACCOUNT, ["--models-root", "{home}"], "workqueue_depth", id="agent"
        ),
    ],
)
def test_metrics_count_the_programs_own_requests(
    module: str, account: str, arguments: list[str], own: str, tmp_path: Path
) -> None:
    with Environment() as environment:
        install.install(environment.client())
        token = environment.service_account_token(install.NAMESPACE, account)
        environment.kubeconfig(account, token=token).replace(tmp_path / "kubeconfig")
        with running(module, tmp_path, *(argument.format(home=tmp_path) for argument in arguments)) as url:

            def scraped() -> bool:
                with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
                    text = answer.read().decode()
                expected = ('rest_client_requests_total{code="200"', "process_resident_memory_bytes", own)
                return all(series in text for series in expected)

            eventually(scraped, timeout=60)
