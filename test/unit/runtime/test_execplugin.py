"""Credential plugins, with small scripts as plugins: what they are told, what they may print, how they end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.eventually import eventually
from support.http import answer, scripted_server

from localmodel.runtime import deadline
from localmodel.runtime.cancellation import Cancellation, CancelledError
from localmodel.runtime.clock import RealClock
from localmodel.runtime.errors import make_status
from localmodel.runtime.execplugin import ExecPlugin, ExecPluginError
from localmodel.runtime.kubeconfig import ConfigError, RestConfig, load_config
from localmodel.runtime.objects import Node
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.testing import FakeClock

API = "client.authentication.k8s.io/v1"
CLUSTER = {
    "server": "https://example.com",
    "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "me"}}],
}


def credential(**status: Any) -> str:
    return json.dumps({"apiVersion": API, "kind": "ExecCredential", "status": status})


class Script:
    """A plugin that appends a line to `runs` each time and then does what `body` says."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "plugin"
        self.runs = directory / "runs"
        self.directory = directory
        self.prints(credential(token="t"))

    def does(self, body: str) -> None:
        written = self.path.with_suffix(".new")
        written.write_text(f"#!/bin/sh\necho run >> {self.runs}\n{body}\n")
        written.chmod(0o755)
        written.rename(self.path)

    def prints(self, text: str) -> None:
        self.does(f"cat <<'END'\n{text}\nEND")

    @property
    def count(self) -> int:
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0

    def plugin(self, *, timeout: float = 30.0, **entry: Any) -> ExecPlugin:
        whole = {"apiVersion": API, "command": str(self.path), "interactiveMode": "Never", **entry}
        return ExecPlugin(whole, cluster=CLUSTER, directory=self.directory, timeout=timeout)

    def config(self, *, server: str = "https://127.0.0.1:9", clock: Any = None, **entry: Any) -> RestConfig:
        whole = {"apiVersion": API, "command": "./plugin", "interactiveMode": "Never", **entry}
        path = self.directory / "kubeconfig"
        content = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"exec": whole}}],
        }
        path.write_text(yaml.safe_dump(content))
        return load_config(path, user_agent="test/1", clock=clock)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_a_token_and_its_end_are_taken_from_what_the_plugin_prints(script: Script) -> None:
    script.prints(credential(token="t", expirationTimestamp="2030-01-01T00:00:00Z"))
    printed = script.plugin().run()
    assert (printed.token, printed.expires) == ("t", datetime(2030, 1, 1, tzinfo=UTC))


def test_a_null_is_as_if_it_were_not_there(script: Script) -> None:
    script.prints(credential(token="t", clientCertificateData=None, clientKeyData=None, expirationTimestamp=None))
    found = script.plugin(installHint=None, provideClusterInfo=None).run()
    assert (found.token, found.certificate, found.key, found.expires) == ("t", "", "", None)


def test_a_plugin_gets_its_arguments_its_environment_and_what_it_is_for(script: Script) -> None:
    seen = script.directory / "seen"
    script.does(f'echo "$1 $COLOUR $KUBERNETES_EXEC_INFO" > {seen}; cat; cat <<END\n{credential(token="t")}\nEND')
    script.plugin(args=["one"], env=[{"name": "COLOUR", "value": "red"}], provideClusterInfo=True).run()
    first, colour, info = seen.read_text().split(" ", 2)
    assert (first, colour) == ("one", "red")
    assert json.loads(info) == {
        "apiVersion": API,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "https://example.com", "config": {"audience": "me"}}},
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo no access >&2; exit 3", "failed with exit status 3: no access"),
        ("echo nonsense", "printed no ExecCredential"),
        (f"echo '{credential()}'", "printed neither a token nor a certificate"),
        (f"echo '{credential(clientCertificateData='c')}'", "a certificate without its key"),
        ('echo \'{"apiVersion":"v9","kind":"ExecCredential","status":{}}\'', "printed a v9 ExecCredential"),
    ],
)
def test_a_plugin_that_gives_no_credential_is_an_error_that_says_why(script: Script, body: str, message: str) -> None:
    script.does(body)
    with pytest.raises(ExecPluginError, match=message):
        script.plugin().run()


def test_a_plugin_that_is_not_installed_is_an_error_with_its_hint(script: Script) -> None:
    with pytest.raises(ExecPluginError, match=r"cannot be started.*apt install it"):
        script.plugin(command="no-such-plugin", installHint="apt install it").run()


def test_an_entry_that_cannot_work_is_refused_when_it_is_read(script: Script) -> None:
    with pytest.raises(ExecPluginError, match="asks questions"):
        script.plugin(interactiveMode="Always")
    with pytest.raises(ExecPluginError, match="malformed"):
        script.plugin(command=None)


def test_a_plugin_that_fails_at_the_start_is_a_config_error(script: Script) -> None:
    script.does("exit 1")
    with pytest.raises(ConfigError, match=r"cannot read the kubeconfig .*the credential plugin .*/plugin failed"):
        script.config()


def hanging(script: Script) -> Callable[[], bool]:
    """Whether the child of the plugin is gone."""
    child = script.directory / "child"
    script.does(f"sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait")

    def gone() -> bool:
        stat = Path(f"/proc/{child.read_text().strip()}/stat")
        return not stat.exists() or stat.read_text().split()[2] == "Z"

    return gone


def test_a_plugin_that_hangs_is_ended_with_all_that_it_started(script: Script) -> None:
    gone = hanging(script)
    with pytest.raises(ExecPluginError, match=r"has not ended after 0\.5 s"):
        script.plugin(timeout=0.5).run()
    eventually(gone)


def test_the_deadline_of_the_work_in_hand_ends_a_plugin(script: Script) -> None:
    gone = hanging(script)
    with deadline.limit(RealClock(), 0.5), pytest.raises(ExecPluginError, match="has not ended after"):
        script.plugin().run()
    eventually(gone)


def test_a_stop_does_not_wait_for_a_plugin(script: Script) -> None:
    gone = hanging(script)
    stop = Cancellation()

    def cancel() -> None:
        eventually((script.directory / "child").exists)
        stop.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with stop.scope(), pytest.raises(CancelledError):
        script.plugin(timeout=600).run()
    thread.join(10)
    eventually(gone)


def test_a_plugin_is_run_again_shortly_before_its_credential_ends(script: Script) -> None:
    clock = FakeClock()

    def printed(token: str, seconds: float) -> None:
        end = (clock.now() + timedelta(seconds=seconds)).isoformat()
        script.prints(credential(token=token, expirationTimestamp=end))

    printed("one", 900)
    config = script.config(clock=clock)
    clock.advance(800)
    assert config.authorization() == "Bearer one"
    printed("two", 100)  # of so short a life, a fifth is the leeway
    clock.advance(41)
    assert [config.authorization() for _ in range(3)] == ["Bearer two"] * 3
    clock.advance(39)
    assert config.authorization() == "Bearer two"
    assert script.count == 2
    script.does("exit 1")
    clock.advance(50)
    assert [config.authorization() for _ in range(3)] == ["Bearer two"] * 3, "a failed run keeps the old one"
    assert script.count == 3
    printed("three", 900)
    clock.advance(10)
    assert config.authorization() == "Bearer three"


def test_a_plugin_without_an_end_is_not_run_each_minute(script: Script) -> None:
    clock = FakeClock()
    config = script.config(clock=clock)
    clock.advance(5000)
    assert config.authorization() == "Bearer t"
    assert script.count == 1


def test_a_401_runs_the_plugin_again_but_not_for_every_request(script: Script) -> None:
    refused = answer(401, json.dumps(make_status("Unauthorized", 401, "no")).encode())
    fine = answer(200, b'{"metadata":{"name":"n"}}')
    with scripted_server(refused, fine, refused, fine) as server:
        client = LiveClient(replace(script.config(), server=server.url, tls=None))
        script.prints(credential(token="new"))
        assert client.get(Node, "n").name == "n"
        assert client.get(Node, "n").name == "n"
        client.close()
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer t", *["Bearer new"] * 3]
    assert script.count == 2


def test_a_plugin_is_found_beside_its_kubeconfig_and_does_not_get_our_input(script: Script) -> None:
    home = os.path.realpath(script.directory)
    checks = f'[ -t 0 ] && exit 1; [ "$PWD" = "{home}" ] || exit 2'
    script.does(f"{checks}\ncat <<END\n{credential(token='t')}\nEND")
    assert script.config().authorization() == "Bearer t"
