"""The choice of an API server for tests, and processes that stand for etcd and kube-apiserver: small scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.conformance import WIDGETS
from support.eventually import eventually

from localmodel.runtime.objects import Namespace
from localmodel.sandbox import envtest
from localmodel.sandbox.controlplane import sweep
from localmodel.sandbox.controlplane.base import ControlPlaneError
from localmodel.sandbox.controlplane.binaries import BinaryControlPlane, start_timeout
from localmodel.sandbox.controlplane.choice import ASSETS, KUBECONFIG, TIMEOUT, Shared, choose, is_embedded
from localmodel.sandbox.controlplane.embedded import EmbeddedControlPlane
from localmodel.sandbox.controlplane.existing import ExistingCluster
from localmodel.sandbox.envtest import Environment

WAITS = "#!/bin/sh\necho $$ >> {pids}\nexec sleep 600\n"
"""A program that never answers. Its pid is on record, so that a test can see it gone."""


def assets(directory: Path, **scripts: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name in ("etcd", "kube-apiserver"):
        program = directory / name
        program.write_text(scripts.get(name.replace("-", "_"), WAITS).format(pids=directory / "pids"))
        program.chmod(0o755)
    return directory


def pids(directory: Path) -> list[int]:
    file = directory / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("missing", ["etcd", "kube-apiserver"])
def test_a_directory_without_a_program_is_refused_with_what_to_do(tmp_path: Path, missing: str) -> None:
    directory = assets(tmp_path / "bin")
    (directory / missing).unlink()
    with pytest.raises(ControlPlaneError, match=rf"there is no program {missing}: run hack/build-envtest-assets"):
        choose({ASSETS: str(directory)})


@pytest.mark.parametrize("program", ["etcd", "kube-apiserver"])
def test_a_program_that_cannot_be_executed_is_refused(tmp_path: Path, program: str) -> None:
    directory = assets(tmp_path / "bin")
    (directory / program).write_text("no program")
    (directory / program).chmod(0o644)
    with pytest.raises(ControlPlaneError, match=f"there is no program {program}"):
        choose({ASSETS: str(directory)})


def test_a_start_that_fails_shows_the_end_of_the_log_and_leaves_no_process(tmp_path: Path) -> None:
    directory = assets(tmp_path / "bin", kube_apiserver="#!/bin/sh\necho the reason is here\nexit 3\n")
    with pytest.raises(ControlPlaneError, match=r"(?s)kube-apiserver ended with status 3.*the reason is here"):
        choose({ASSETS: str(directory)}).start()
    assert not any(is_running(pid) for pid in pids(directory))


def test_only_the_last_lines_of_a_log_are_shown(tmp_path: Path) -> None:
    script = "#!/bin/sh\nfor i in $(seq 100); do echo line $i.; done\nexit 1\n"
    with pytest.raises(ControlPlaneError) as caught:
        BinaryControlPlane(assets(tmp_path / "bin", kube_apiserver=script)).start()
    assert "line 100." in str(caught.value)
    assert "line 80." not in str(caught.value)


def test_a_server_that_is_not_ready_in_time_is_given_up(tmp_path: Path) -> None:
    directory = assets(tmp_path / "bin")
    with pytest.raises(ControlPlaneError, match=r"was not ready in 0.3 s \(last answer to /readyz: "):
        choose({ASSETS: str(directory), TIMEOUT: "300ms"}).start()
    assert not any(is_running(pid) for pid in pids(directory))


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400)])
def test_a_start_timeout_is_a_duration_as_go_writes_it(text: str, seconds: float) -> None:
    assert start_timeout(text) == seconds


@pytest.mark.parametrize("text", ["60", "", "s", "1m 30s", "-5s", "ten seconds"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write it as 60s"):
        start_timeout(text)


def test_a_bad_start_timeout_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneError, match=f"{TIMEOUT}: '60' is no duration"):
        choose({ASSETS: str(assets(tmp_path / "bin")), TIMEOUT: "60"})


def test_a_killed_test_process_leaves_no_server_and_no_directory(tmp_path: Path) -> None:
    directory, temporary = assets(tmp_path / "bin"), tmp_path / "tmp"
    temporary.mkdir()
    code = (
        "import sys; from pathlib import Path; from localmodel.sandbox.controlplane.binaries import BinaryControlPlane;"
        "BinaryControlPlane(Path(sys.argv[1]), start_timeout=60).start()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], env={**os.environ, "TMPDIR": str(temporary)}
    )
    try:
        eventually(lambda: len(pids(directory)) == 2, timeout=30)
        started = pids(directory)
        assert all(is_running(pid) for pid in started)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    eventually(lambda: not any(is_running(pid) for pid in started), timeout=10)
    eventually(lambda: not list(temporary.iterdir()), timeout=15)


def test_the_sweeper_removes_its_directory_when_its_pipe_ends(tmp_path: Path) -> None:
    directory = tmp_path / "left"
    (directory / "etcd").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-I", "-S", sweep.__file__, str(directory)], stdin=subprocess.DEVNULL, timeout=30, check=False
    )
    assert (done.returncode, directory.exists()) == (0, False)


def test_without_variables_the_embedded_server_is_chosen() -> None:
    assert is_embedded({KUBECONFIG: "", ASSETS: ""})
    assert isinstance(choose({}), EmbeddedControlPlane)


def test_two_servers_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneError, match="unset one of them"):
        choose({KUBECONFIG: "a", ASSETS: str(tmp_path)})


@pytest.mark.parametrize("content", [None, "", "[]", "contexts: []", "current-context: a\ncontexts: [{name: b}]"])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ControlPlaneError, match="which is no kubeconfig with a current context"):
        choose({KUBECONFIG: str(file)})


def test_a_failed_start_is_not_tried_again_for_the_next_test(tmp_path: Path) -> None:
    directory = assets(tmp_path / "bin", kube_apiserver="#!/bin/sh\nexit 1\n")
    shared = Shared()
    with pytest.raises(ControlPlaneError) as first:
        shared.started(BinaryControlPlane(directory))
    with pytest.raises(ControlPlaneError) as second:
        shared.started(EmbeddedControlPlane())
    assert second.value is first.value


def test_an_existing_cluster_is_used_by_its_kubeconfig_and_left_running(tmp_path: Path) -> None:
    embedded = EmbeddedControlPlane()
    embedded.start()
    try:
        file = tmp_path / "kubeconfig"
        file.write_text(_kubeconfig(embedded))
        existing = choose({KUBECONFIG: str(file)})
        assert isinstance(existing, ExistingCluster)
        existing.start()
        existing.stop()
        existing.start()
        assert existing.url == embedded.url
        assert existing.user("eve", ["readers"])["as"] == "eve"
    finally:
        embedded.stop()
    with pytest.raises(ControlPlaneError, match="cannot be used"):
        existing.start()


def test_a_definition_that_somebody_else_made_is_not_installed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envtest, "SHARED", Shared())
    embedded = EmbeddedControlPlane()
    with Environment(crds=[WIDGETS], control_plane=embedded):
        file = tmp_path / "kubeconfig"
        file.write_text(_kubeconfig(embedded))
        monkeypatch.delenv(ASSETS, raising=False)
        monkeypatch.setenv(KUBECONFIG, str(file))
        with (
            Environment() as environment,
            pytest.raises(ControlPlaneError, match="that this test did not make: remove it"),
        ):
            environment.install(WIDGETS)


def test_a_cluster_that_was_given_is_guarded_like_one_that_was_chosen(tmp_path: Path) -> None:
    embedded = EmbeddedControlPlane()
    with Environment(crds=[WIDGETS], control_plane=embedded) as owner:
        file = tmp_path / "kubeconfig"
        file.write_text(_kubeconfig(embedded))
        with Environment(control_plane=ExistingCluster(file)) as guest:
            with pytest.raises(ControlPlaneError, match="that this test did not make"):
                guest.install(WIDGETS)
            made = guest.namespace()
        assert owner.client().get(Namespace, made).is_deleting


def _kubeconfig(control_plane: EmbeddedControlPlane) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "clusters": [{"name": "c", "cluster": control_plane.cluster()}],
            "users": [{"name": "c", "user": control_plane.user("admin", None)}],
        }
    )
