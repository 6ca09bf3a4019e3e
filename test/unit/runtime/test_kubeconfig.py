"""Credentials: where they are found, and when they are read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from localmodel.runtime.clock import RealClock
from localmodel.runtime.kubeconfig import ConfigError, load_config


class HandClock(RealClock):
    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time


def write(path: Path, user: dict[str, object], server: str = "https://127.0.0.1:9") -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_file_given_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    config = load_config(write(tmp_path / "config", {"token": "secret"}), user_agent="a/1")
    assert config.server == "https://127.0.0.1:9"
    assert config.authorization() == "Bearer secret"
    assert config.tls is not None


def test_a_server_without_tls_is_shown_no_credentials(tmp_path: Path) -> None:
    config = load_config(write(tmp_path / "config", {"token": "secret"}, "http://127.0.0.1:9"), user_agent="a/1")
    assert config.tls is None
    assert config.authorization() is None
    assert config.authorization(refresh=True) is None


@pytest.mark.parametrize(
    ("host", "is_used"),
    [
        ("example.com", True),
        ("kubernetes.default.svc", False),
        ("cluster.internal", False),
        ("a.cluster.internal", False),
        ("notcluster.internal", True),
        ("exact.example", False),
        ("10.9.8.7", False),
        ("192.0.2.1", False),
        ("192.0.2.2", True),
        ("[fd00::1]", False),
        ("127.0.0.1", False),
        ("localhost", False),
    ],
)
def test_the_environments_proxy_is_for_hosts_that_it_does_not_exempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, is_used: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", " .svc, cluster.internal,10.0.0.0/8,192.0.2.1,fd00::/8,exact.example:443")
    config = load_config(write(tmp_path / "config", {}, f"https://{host}:6443"), user_agent="a/1")
    assert config.proxy == ("http://proxy.example:3128" if is_used else "")


def test_the_kubeconfigs_own_proxy_is_used_for_all_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    path = write(tmp_path / "config", {})
    content = yaml.safe_load(path.read_text())
    content["clusters"][0]["cluster"]["proxy-url"] = "http://own.example:1"
    path.write_text(yaml.safe_dump(content))
    assert load_config(path, user_agent="a/1").proxy == "http://own.example:1"


def test_a_proxy_of_another_sort_is_refused_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:secret@proxy.example:1080")
    with pytest.raises(ConfigError, match="http:// only, not socks5://") as caught:
        load_config(write(tmp_path / "config", {}, "https://example.com"), user_agent="a/1")
    assert "secret" not in str(caught.value)


def test_a_config_does_not_show_the_password_of_its_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy.example:1080")
    config = load_config(write(tmp_path / "config", {}, "https://example.com"), user_agent="a/1")
    assert config.proxy
    assert "secret" not in repr(config)


def test_186_a_token_file_is_read_again_after_a_minute_less_ten_seconds_and_on_demand(tmp_path: Path) -> None:
    clock, token = HandClock(), tmp_path / "token"
    token.write_text("one")
    config = load_config(write(tmp_path / "config", {"tokenFile": str(token)}), user_agent="a/1", clock=clock)
    token.write_text("two")
    clock.time = 49
    assert config.authorization() == "Bearer one"
    clock.time = 50
    assert config.authorization() == "Bearer two"
    token.write_text("three")
    assert config.authorization(refresh=True) == "Bearer three"


def test_186_a_failed_read_keeps_the_old_token(tmp_path: Path) -> None:
    path = write(tmp_path / "config", {"token": "old"})
    config = load_config(path, user_agent="a/1", clock=HandClock())
    path.unlink()
    assert config.authorization(refresh=True) == "Bearer old"


def test_a_user_without_credentials_sends_none(tmp_path: Path) -> None:
    config = load_config(write(tmp_path / "config", {}), user_agent="a/1")
    assert config.authorization() is None


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no kubeconfig .*/missing: give --kubeconfig FILE"):
        load_config(tmp_path / "missing", user_agent="a/1")


def test_a_kubeconfig_that_is_none_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("just text")
    with pytest.raises(ConfigError, match=r"cannot read the kubeconfig .*: it has not the form of one; give"):
        load_config(tmp_path / "config", user_agent="a/1")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"insecure-skip-tls-verify": "false"}, "is 'false': write true or false, without quotes"),
        ({"insecure-skip-tls-verify": True, "certificate-authority-data": "QQ=="}, "leave one of them out"),
    ],
)
def test_a_server_goes_unverified_only_where_that_is_said_plainly(
    tmp_path: Path, entry: dict[str, object], said: str
) -> None:
    path = write(tmp_path / "config", {})
    content = yaml.safe_load(path.read_text())
    content["clusters"][0]["cluster"] |= entry
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=said):
        load_config(path, user_agent="a/1")


def test_a_kubeconfig_that_acts_as_another_user_does_so_in_every_request(tmp_path: Path) -> None:
    """client-go's api.AuthInfo; the official Python client would act as the user itself."""
    user = {
        "token": "t",
        "as": "jane",
        "as-uid": "u1",
        "as-groups": ["dev", "ops"],
        "as-user-extra": {"example.com/team": ["a", "b"]},
    }
    config = load_config(write(tmp_path / "config", user), user_agent="a/1")
    assert config.impersonation == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "u1"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Extra-example.com%2Fteam", "a"),
        ("Impersonate-Extra-example.com%2Fteam", "b"),
    )


def test_a_kubeconfig_that_names_groups_to_act_in_but_no_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="add `as`"):
        load_config(write(tmp_path / "config", {"token": "t", "as-groups": ["dev"]}), user_agent="a/1")
