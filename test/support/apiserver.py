"""The API server as a program, and kubectl to talk to it."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass
class Program:
    """One running `localmodel sandbox apiserver`."""

    directory: Path
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[str] = field(init=False)
    url: str = field(init=False)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "localmodel.sandbox.apiserver", "--kubeconfig", str(self.kubeconfig)]
        self.process = subprocess.Popen([*command, *self.arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["server"]

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def token(self) -> str:
        return str(json.loads(self.kubeconfig.read_text())["users"][0]["user"]["token"])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status."""
        self.process.send_signal(how)
        status = self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Json]:
        """One HTTPS request without kubectl."""
        config = json.loads(self.kubeconfig.read_text())
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@dataclass
class Kubectl:
    """kubectl with a kubeconfig and a home directory (its discovery cache) of its own."""

    kubeconfig: Path
    home: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}

    def run(self, *arguments: str, stdin: Json | str | None = None) -> subprocess.CompletedProcess[str]:
        text = json.dumps(stdin) if isinstance(stdin, dict) else stdin
        return subprocess.run(
            ["kubectl", *arguments],
            input=text,
            text=True,
            capture_output=True,
            timeout=30,
            env=self.environment(),
            check=False,
        )

    def __call__(self, *arguments: str, stdin: Json | str | None = None) -> str:
        """What a command that succeeds says on stdout."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def fails(self, *arguments: str, stdin: Json | str | None = None) -> str:
        """What a command that fails says on stderr."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)} succeeded: {done.stdout}"
        return done.stderr

    def json(self, *arguments: str, stdin: Json | str | None = None) -> Json:
        decoded: Json = json.loads(self(*arguments, "-o", "json", stdin=stdin))
        return decoded

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that runs on; the caller ends it."""
        return subprocess.Popen(["kubectl", *arguments], stdout=subprocess.PIPE, text=True, env=self.environment())
