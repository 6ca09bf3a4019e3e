"""What a program sets up: flags, logs, signals, and the names of the package."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

import localmodel.runtime
from localmodel.runtime.flags import add_common_flags, add_serving_flags, add_zap_flags, boolean
from localmodel.runtime.logging import LogFormat, setup_logging

TIMEOUT = 20

PROGRAM = """
import sys
from localmodel.runtime import setup_logging, setup_signal_handler
setup_logging()
stop = setup_signal_handler()
print("ready", flush=True)
stop.wait()
print("stopping", flush=True)
if "linger" in sys.argv:
    import time
    time.sleep(60)
"""


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_common_flags(parser)
    add_serving_flags(parser)
    return parser


def test_flags_have_the_defaults_of_controller_runtime(parser: argparse.ArgumentParser) -> None:
    arguments = parser.parse_args([])

    assert vars(arguments) == {
        "kubeconfig": None,
        "log_level": "info",
        "log_format": "json",
        "metrics_addr": ":8080",
        "health_probe_addr": ":8081",
    }


@pytest.mark.parametrize(
    ("argv", "level", "format_"),
    [
        ([], "info", "json"),
        (["--zap-log-level=5", "--zap-encoder", "console"], "debug", "console"),
        (["--log-level=error", "--zap-log-level=panic"], "error", "json"),
        (["--zap-devel", "--zap-stacktrace-level=error", "--zap-time-encoding=epoch"], "info", "json"),
    ],
)
def test_zaps_flags_are_ours_by_other_names(
    parser: argparse.ArgumentParser, argv: list[str], level: str, format_: str
) -> None:
    add_zap_flags(parser)
    arguments = parser.parse_args(argv)

    assert (arguments.log_level, arguments.log_format) == (level, format_)


@pytest.mark.parametrize("level", ["loud", "0", "-1"])
def test_a_level_that_zap_does_not_know_is_refused(parser: argparse.ArgumentParser, level: str) -> None:
    add_zap_flags(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--zap-log-level={level}"])


@pytest.mark.parametrize("text", ["0", ":0", "127.0.0.1:0", "[::1]:8080"])
def test_an_address_flag_takes_what_the_manager_takes(parser: argparse.ArgumentParser, text: str) -> None:
    assert parser.parse_args(["--metrics-addr", text]).metrics_addr == text


def test_an_address_that_is_none_is_refused_with_the_reason(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["--metrics-addr", "8080"])

    assert "'8080' is not an address: write HOST:PORT, :PORT, or 0 for off" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("False", False), ("1", True), ("0", False)])
def test_gos_booleans_are_understood(text: str, expected: bool) -> None:
    assert boolean(text) is expected


def test_what_is_no_boolean_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write true or false"):
        boolean("maybe")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_json_logs_carry_level_logger_time_and_bound_fields(stream: io.StringIO) -> None:
    setup_logging("info", "json", stream=stream)
    log = structlog.get_logger("localmodel.test")
    with structlog.contextvars.bound_contextvars(controller="greeter", reconcile_id="1"):
        log.info("Greeted", greeting="hello")
        log.debug("Not this")

    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "Greeted",
        "greeting": "hello",
        "level": "info",
        "logger": "localmodel.test",
        "controller": "greeter",
        "reconcile_id": "1",
    }


def test_json_logs_carry_tracebacks(stream: io.StringIO) -> None:
    setup_logging("info", "json", stream=stream)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("localmodel.test").exception("Failed")

    assert "RuntimeError: broken" in json.loads(stream.getvalue())["exception"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_tracebacks_show_no_variables_for_they_hold_tokens(stream: io.StringIO, format_: LogFormat) -> None:
    setup_logging("info", format_, stream=stream)
    authorization = " ".join(["Bearer", "t0ken"])
    try:
        raise RuntimeError(f"broken with {len(authorization)} characters")
    except RuntimeError:
        structlog.get_logger("localmodel.test").exception("Failed")

    assert "broken with 12 characters" in stream.getvalue()
    assert "t0ken" not in stream.getvalue()


def test_lines_of_the_standard_library_come_out_in_the_same_form(stream: io.StringIO) -> None:
    setup_logging("warning", "json", stream=stream)
    with structlog.contextvars.bound_contextvars(reconcile_id="1"):
        logging.getLogger("elsewhere").warning("from %s", "elsewhere")
    logging.getLogger("elsewhere").info("not this")

    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["level"]) == ("from elsewhere", "elsewhere", "warning")
    assert line["reconcile_id"] == "1"


def test_console_logs_are_for_people(stream: io.StringIO) -> None:
    setup_logging("info", "console", stream=stream)
    structlog.get_logger("localmodel.test").info("Greeted", greeting="hello")

    assert "Greeted" in stream.getvalue()
    assert "greeting=hello" in stream.getvalue()


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", PROGRAM, *getattr(request, "param", [])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_the_program_to_stop(program: subprocess.Popen[str], number: signal.Signals) -> None:
    os.kill(program.pid, number)

    assert program.wait(TIMEOUT) == 0


def test_a_signal_that_finds_the_main_thread_waiting_for_something_else_is_heeded() -> None:
    """The signal goes to another thread, as if it had come just before the main thread began to wait."""
    code = """
import signal, threading
from localmodel.runtime import setup_signal_handler
stop = setup_signal_handler()
ready = threading.Event()
def other():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ready.set()
    threading.Event().wait()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
threading.Thread(target=other, daemon=True).start()
ready.wait()
print("ready", flush=True)
stop.wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("program", [["linger"]], indirect=True)
def test_the_second_signal_ends_the_program_at_once(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    os.kill(program.pid, signal.SIGTERM)
    assert program.stdout.readline() == "stopping\n"
    os.kill(program.pid, signal.SIGTERM)

    assert program.wait(TIMEOUT) == 1


def test_every_name_of_the_package_is_there() -> None:
    homes = localmodel.runtime._HOMES.values()
    assert {name for names in homes for name in names} == set(localmodel.runtime.__all__)
    for name in localmodel.runtime.__all__:
        assert getattr(localmodel.runtime, name).__name__ == name or name == "Request"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        localmodel.runtime.Nonsense  # noqa: B018


def test_the_types_are_imported_without_the_rest() -> None:
    code = "import sys, localmodel.runtime.objects; print('prometheus_client' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=TIMEOUT)

    assert output.stdout == "False\n"
