"""The HTTP endpoints: runtimes.md 2.11 nos. 150 and 151, and addresses."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from structlog.testing import capture_logs

from localmodel.runtime.address import Address, AddressError
from localmodel.runtime.httpserver import HttpRequest, HttpServer
from localmodel.runtime.serving import HealthChecks, metrics_route

LOOPBACK = Address("127.0.0.1", 0)


def fail() -> None:
    raise RuntimeError("the secret reason")


@pytest.fixture
def checks() -> HealthChecks:
    return HealthChecks("healthz")


@pytest.fixture
def server(checks: HealthChecks) -> Iterator[HttpServer]:
    registry = CollectorRegistry()
    Counter("things_total", "Things.", registry=registry).inc(3)
    server = HttpServer("test", LOOPBACK, {"/healthz": checks.serve, "/metrics": metrics_route(registry)})
    server.start()
    yield server
    server.stop()


def get(server: HttpServer, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(server.url + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":8080", Address("", 8080)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::1]:9", Address("::1", 9)),
        ("localhost:80", Address("localhost", 80)),
        ("0", None),
        ("", None),
    ],
)
def test_an_address_is_read_as_go_reads_it(text: str, expected: Address | None) -> None:
    assert Address.parse(text) == expected


@pytest.mark.parametrize("text", ["8080", "host", "host:", "host:x", ":70000", "::1:80", ":-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="is not an address"):
        Address.parse(text)


def test_150_a_port_is_bound_when_the_server_is_made() -> None:
    first = HttpServer("first", LOOPBACK, {})
    try:
        assert first.port > 0
        with pytest.raises(OSError, match=r"cannot serve .* on 127.0.0.1:\d+: Address already in use"):
            HttpServer("second", Address("127.0.0.1", first.port), {})
    finally:
        first.stop()


def test_all_interfaces_are_reached_over_loopback(checks: HealthChecks) -> None:
    server = HttpServer("test", Address("", 0), {"/healthz": checks.serve})
    server.start()
    try:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert get(server, "/healthz") == (200, "ok")
    finally:
        server.stop()


def test_151_healthy_without_checks_and_with_passing_ones(server: HttpServer, checks: HealthChecks) -> None:
    assert get(server, "/healthz") == (200, "ok")
    checks.add("good", lambda: None)
    assert get(server, "/healthz") == (200, "ok")
    assert get(server, "/healthz/") == (200, "ok")


def test_151_one_failing_check_answers_500_without_the_reason(server: HttpServer, checks: HealthChecks) -> None:
    checks.add("bad", fail)
    checks.add("good", lambda: None)

    assert get(server, "/healthz") == (
        500,
        "[-]bad failed: reason withheld\n[+]good ok\nhealthz check failed\n",
    )


def test_151_verbose_lists_the_checks(server: HttpServer, checks: HealthChecks) -> None:
    checks.add("a", lambda: None)
    checks.add("b", lambda: None)

    assert get(server, "/healthz?verbose") == (200, "[+]a ok\n[+]b ok\nhealthz check passed\n")


def test_151_exclude_skips_a_check(server: HttpServer, checks: HealthChecks) -> None:
    checks.add("bad", fail)

    assert get(server, "/healthz?exclude=bad") == (200, "ok")
    code, body = get(server, "/healthz?exclude=bad&exclude=unknown&verbose")
    assert code == 200
    assert "[+]bad excluded: ok" in body
    assert "no matches for 'unknown'" in body


def test_151_a_path_below_runs_one_check(server: HttpServer, checks: HealthChecks) -> None:
    checks.add("bad", fail)
    checks.add("good", lambda: None)

    assert get(server, "/healthz/good") == (200, "ok")
    assert get(server, "/healthz/bad") == (500, "internal server error: reason withheld\n")
    assert get(server, "/healthz/unknown")[0] == 404


def test_what_each_probe_finds_again_is_logged_once(checks: HealthChecks) -> None:
    checks.add("disk", fail)
    with capture_logs() as lines:
        for _ in range(3):
            assert checks.serve(HttpRequest()).code == 500
        checks.add("disk", lambda: None)
        for _ in range(3):
            assert checks.serve(HttpRequest()).code == 200
    assert [line["event"] for line in lines] == ["Health check failed", "Health check passes again"]


def test_metrics_are_served_in_prometheus_format(server: HttpServer) -> None:
    code, body = get(server, "/metrics")

    assert code == 200
    assert "things_total 3.0" in body


def test_nothing_is_served_below_the_path_of_the_metrics(server: HttpServer) -> None:
    assert get(server, "/metrics/../metrics")[0] == 404
    assert get(server, "/metrics/other")[0] == 404


def test_head_has_no_body_and_other_paths_and_methods_are_refused(server: HttpServer) -> None:
    assert get(server, "/healthz", "HEAD") == (200, "")
    assert get(server, "/other")[0] == 404
    assert get(server, "/healthzzz")[0] == 404
    assert get(server, "/healthz", "POST")[0] == 405


def test_stop_cuts_idle_connections_and_leaves_no_thread(checks: HealthChecks) -> None:
    before = set(threading.enumerate())
    server = HttpServer("test", LOOPBACK, {"/healthz": checks.serve})
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as idle:
        assert get(server, "/healthz") == (200, "ok")
        server.stop()
        assert idle.recv(1) == b""
    server.stop()

    assert set(threading.enumerate()) <= before
