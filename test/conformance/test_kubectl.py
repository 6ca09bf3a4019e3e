"""Every form of command that kubectl users know, compared with what a stock kube-apiserver answered.

The scenarios are data (`support.scenario`); what is expected was recorded by hack/record-conformance. On another API
server than the embedded one the same recordings hold, without our knowing differences.
"""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import pytest
from support import scenario
from support.kubectl import needs_kubectl

from localmodel.sandbox.controlplane.embedded import EmbeddedControlPlane
from localmodel.sandbox.envtest import Environment

RECORDED_WITH = 32
"""The minor version of kubectl whose output was recorded."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the discovery cache of all scenarios."""
    return tmp_path_factory.mktemp("home")


def difference(run: str, wanted: scenario.Answer, found: scenario.Answer) -> list[str]:
    """In the form of diff, headed by the command; empty if there is none."""
    lines = list(difflib.unified_diff(wanted.lines(), found.lines(), "kube-apiserver", "this server", "", "", 2, ""))
    return [f"kubectl {run}", *lines[2:]] if lines else []


@pytest.mark.parametrize("name", scenario.names())
def test_kubectl_says_what_it_says_of_kube_apiserver(
    environment: Environment, home: Path, tmp_path: Path, name: str
) -> None:
    needs_kubectl(1, RECORDED_WITH, "what was recorded")
    namespace = environment.namespace("kubectl")
    runner = scenario.Runner(
        shutil.which("kubectl") or "kubectl", environment.kubeconfig(namespace=namespace), home, tmp_path, namespace
    )
    answers = [answer for step in scenario.load(name)["steps"] for answer in runner.run(step)]
    recorded = scenario.expected(name)
    assert [run for run, _, _ in answers] == [entry["run"] for entry in recorded], "run hack/record-conformance"
    known: dict[int, scenario.Json] = {}
    if isinstance(environment.control_plane, EmbeddedControlPlane):
        known = {entry["number"]: entry for entry in scenario.differences(name)}
    found = []
    for number, ((run, _, answer), entry) in enumerate(zip(answers, recorded, strict=True)):
        ours = known.get(number)
        assert ours is None or (ours["run"] == run and ours["why"]), "the differences are of other steps"
        wanted = scenario.Answer.of(entry)
        if ours is not None and answer == wanted:
            found.append(f"kubectl {run}\n  is answered as by kube-apiserver: take number {number} off the list")
        elif ours is None or answer != scenario.Answer.of(ours):
            found += difference(run, wanted, answer)
    assert not found, "\n".join(found)
