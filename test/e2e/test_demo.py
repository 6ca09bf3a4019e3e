"""`localmodel demo` as a person runs it: its exit status, and what it leaves behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.program import Run

from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import PersistentVolumeClaim, Pod, RESTMapping, Unstructured
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import demo_objects

InferenceService = Unstructured.of(RESTMapping.of("serving.kserve.io", "v1beta1", "InferenceService"))
DEMO = ("demo", "--plain", "--synthetic", "24Mi")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run(tmp_path, *DEMO) as run:
        yield run


def test_it_succeeds_and_leaves_nothing(run: Run) -> None:
    assert run.ends(within=120) == 0, run.output
    for fact in ("available on 3 nodes", "verified against the source", "from the cache", "downloading first"):
        assert fact in run.output
    run.leaves_no_process()
    assert run.temporary_files() == []


@pytest.mark.parametrize("moment", ["Simulated cluster", "Caching"])
def test_ctrl_c_stops_everything(run: Run, moment: str) -> None:
    run.reaches(moment)
    run.process.send_signal(signal.SIGINT)
    assert run.ends() == 130, run.output
    run.leaves_no_process()
    assert run.temporary_files() == []


def test_ctrl_c_again_and_again_does_not_break_off_the_first(run: Run) -> None:
    run.reaches("downloading")
    run.process.send_signal(signal.SIGINT)
    run.interrupt_until_the_end()
    assert run.ends() == 130, run.output
    run.leaves_no_process()
    assert run.temporary_files() == []


def test_a_killed_demo_leaves_no_process(run: Run) -> None:
    run.reaches("downloading")
    run.process.kill()
    run.leaves_no_process()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A demo that has done its work and keeps its cluster running."""
    directory = tmp_path_factory.mktemp("kept")
    with Run(directory, *DEMO, "--nodes=1", "--keep", f"--workdir={directory / 'work'}") as run:
        run.reaches("Ctrl-C stops it")
        yield run


def test_a_single_node_is_spoken_of_in_the_singular(kept: Run) -> None:
    assert "1 node" in kept.output
    assert "1 nodes" not in kept.output
    assert "1 agents" not in kept.output


def test_pods_and_claim_go_with_the_inference_service(kept: Run) -> None:
    client = LiveClient(load_config(kept.directory / "work" / "kubeconfig", user_agent="test/1"))
    try:
        namespace = demo_objects.SERVICE_NAMESPACE
        assert len(client.list(Pod, namespace=namespace)) == 2
        client.delete(client.get(InferenceService, demo_objects.SERVICE_NAME, namespace=namespace))
        kept.eventually(lambda: client.list(Pod, namespace=namespace) == [])
        kept.eventually(lambda: client.list(PersistentVolumeClaim, namespace=namespace) == [])
    finally:
        client.close()


def test_a_restarted_program_is_told_with_its_new_pid(kept: Run) -> None:
    kept.kill("localmodel-manager")
    kept.reaches("manager was killed by SIGKILL; started again (pid ")


def test_a_kept_cluster_ends_well_on_ctrl_c(kept: Run) -> None:
    kept.process.send_signal(signal.SIGINT)
    assert kept.ends() == 0, kept.output
    kept.leaves_no_process()
    assert (kept.directory / "work" / "logs").is_dir()
