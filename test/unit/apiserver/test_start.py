"""The start is short because it imports little."""

from __future__ import annotations

import subprocess
import sys

import pytest

DISPENSABLE = (
    *("pydantic", "rich", "attr", "sqlite3", "yaml", "jsonpatch", "kubernetes", "cel", "google"),
    *("typing_extensions", "click", "multiprocessing", "uvicorn.main", "logging.config", "configparser"),
    *("re2", "zoneinfo", "http.client", "zipfile", "bz2", "lzma", "importlib.resources"),
    *("localmodel.sandbox.apiserver.cel", "localmodel.sandbox.apiserver.printers"),
)


@pytest.mark.parametrize("tls", [False, True])
def test_the_server_starts_without_what_it_does_not_need(*, tls: bool) -> None:
    code = (
        "import localmodel.sandbox.apiserver.main as m; m.import_uvicorn();"
        "import localmodel.sandbox.apiserver.server as s, sys;"
        f"server = s.ApiServer(s.ApiServerOptions(tls={tls})); server.start(); server.stop();"
        f"print(*(name for name in {DISPENSABLE} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_no_large_pattern_is_compiled_before_it_is_needed() -> None:
    code = (
        "import localmodel.sandbox.apiserver.server, localmodel.sandbox.apiserver.patterns as p;"
        "print(p.compile_pattern.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) == 0


def test_what_stood_in_for_a_module_is_gone_afterwards() -> None:
    code = (
        "import localmodel.sandbox.apiserver.main as m; m.import_uvicorn();"
        "import logging.config, configparser, uvicorn.main;"
        "print(callable(logging.config.dictConfig), bool(configparser.RawConfigParser()), callable(uvicorn.main.run))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True"] * 3
