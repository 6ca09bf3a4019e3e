"""Scenarios: kubectl commands as data, run on an API server, and what they answered in a form that can be compared.

A scenario is a YAML file of test/conformance/scenarios: `steps`, each with

- `run`: the arguments of kubectl, as in a shell; `$NS` is the scenario's own namespace, `$DIR` an empty directory;
- `stdin`: text, or objects that are sent as YAML documents;
- `file` and `content`: writes a file in $DIR instead of running anything; `executable` for a script;
- `env`: more environment variables;
- `until`: a text that stdout must have; the command is repeated until then (a server that needs a moment);
- `watch`: `run` goes on; the steps of `meanwhile` follow, and it is ended when it has written `lines` lines;
- `unordered`: the order of lines is not looked at;
- `only`: `code`, to look at the exit status alone, or a list of patterns whose lines alone are looked at.

What kube-apiserver answered is in test/conformance/expected, written by hack/record-conformance. Where the embedded
server knowingly answers otherwise, test/conformance/differences has its answer, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

ROOT = Path(__file__).parents[1] / "conformance"
SCENARIOS, EXPECTED, DIFFERENCES = (ROOT / name for name in ("scenarios", "expected", "differences"))
TIMEOUT = 30.0
_COMMAND = {"run", "stdin", "env", "until", "watch", "meanwhile", "lines", "unordered", "only"}
_KEYS = _COMMAND | {"file", "content", "executable"}


@dataclass(frozen=True)
class Answer:
    """What a command said, normalised."""

    code: int
    stdout: str
    stderr: str

    def to_dict(self) -> Json:
        return {key: value for key, value in vars(self).items() if value or key == "code"}

    def lines(self) -> list[str]:
        return [f"exit status {self.code}", *self.stdout.splitlines(), *(f"! {x}" for x in self.stderr.splitlines())]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Answer:
        return cls(data["code"], data.get("stdout", ""), data.get("stderr", ""))


@dataclass
class Runner:
    """Runs steps in one namespace, with a home directory whose discovery cache it may share with others."""

    kubectl: str
    kubeconfig: Path
    home: Path
    directory: Path
    namespace: str
    patience: float = 1.0
    """Factor of all times to wait."""
    _seen: dict[str, str] = field(default_factory=dict)

    def run(self, step: Json) -> list[tuple[str, Json, Answer]]:
        """The commands of a step with their answers; raises AssertionError for one that did not come to its `until`."""
        if unknown := step.keys() - _KEYS:
            raise ValueError(f"a step has unknown keys {sorted(unknown)}")
        if "file" in step:
            self._write(step)
            return []
        if "watch" in step:
            return self._watch(step)
        until = time.monotonic() + TIMEOUT * self.patience
        while True:
            done = subprocess.run(
                self._command(step),
                input=self._input(step),
                capture_output=True,
                text=True,
                timeout=TIMEOUT * self.patience,
                env=self._environment(step),
                cwd=self.directory,
                check=False,
            )
            if "until" not in step or self._filled(step["until"]) in done.stdout:
                break
            assert time.monotonic() < until, f"kubectl {step['run']}: {done.stdout}{done.stderr}"
            time.sleep(0.1)
        return [(step["run"], step, self._answer(step, done.returncode, done.stdout, done.stderr))]

    def _watch(self, step: Json) -> list[tuple[str, Json, Answer]]:
        process = subprocess.Popen(
            self._command(step), stdout=subprocess.PIPE, text=True, env=self._environment(step), cwd=self.directory
        )
        assert process.stdout is not None
        killer = _Timer(TIMEOUT * self.patience, process.kill)
        lines: list[str] = []
        answers: list[tuple[str, Json, Answer]] = []
        try:
            lines += [process.stdout.readline() for _ in range(step["watch"])]
            for inner in step.get("meanwhile", ()):
                answers += self.run(inner)
            lines += [process.stdout.readline() for _ in range(step["lines"] - step["watch"])]
        finally:
            killer.cancel()
            process.terminate()
            process.wait(10)
            process.stdout.close()
        return [*answers, (step["run"], step, self._answer(step, 0, "".join(lines), ""))]

    def _write(self, step: Json) -> None:
        path = self.directory / step["file"]
        content = step["content"]
        path.write_text(self._filled(content if isinstance(content, str) else _documents(content)))
        if step.get("executable"):
            path.chmod(0o755)

    def _command(self, step: Json) -> list[str]:
        return [self.kubectl, *shlex.split(self._filled(step["run"]))]

    def _input(self, step: Json) -> str | None:
        stdin = step.get("stdin")
        return None if stdin is None else self._filled(stdin if isinstance(stdin, str) else _documents(stdin))

    def _environment(self, step: Json) -> dict[str, str]:
        own = {"HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}
        return {**os.environ, **own, **{k: self._filled(v) for k, v in step.get("env", {}).items()}}

    def _filled(self, text: str) -> str:
        return text.replace("$NS", self.namespace).replace("$DIR", str(self.directory))

    def _answer(self, step: Json, code: int, stdout: str, stderr: str) -> Answer:
        if step.get("only") == "code":
            return Answer(code, "", "")
        return Answer(code, self._normal(stdout, step), self._normal(stderr, step))

    def _normal(self, text: str, step: Json) -> str:
        text = text.replace(self.namespace, "NS").replace(str(self.directory), "DIR")
        for pattern, instead in _NORMAL:
            text = re.sub(pattern, instead, text)
        lines = [line.rstrip() for line in text.splitlines()]
        if isinstance(only := step.get("only"), list):
            lines = [line for line in lines if any(re.search(pattern, line) for pattern in only)]
        return "\n".join(sorted(lines) if step.get("unordered") else lines).strip("\n")


class _Timer:
    def __init__(self, seconds: float, do: Callable[[], object]) -> None:
        import threading

        self._timer = threading.Timer(seconds, do)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()


_NORMAL = (
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UID"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} [\d:]{8} [+-]\d{4}", "TIME"),
    (r"\b\d{4}-\d\d-\d\d [\d:]{8}[.\d]* [+-]\d{4} \S+", "TIME"),
    (r"https://(127\.0\.0\.1|localhost|\[::1\]):\d+", "SERVER"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r'("?resourceVersion"?: |Resource Version: +)"?\d+"?', r"\1VERSION"),
    (r'(\\"resourceVersion\\":\\")\d+', r"\1VERSION"),
    (r"\bW\d{4} [\d:.]+ +\d+ ", "W "),
    (r"\bdebugger-[a-z0-9]{5}\b", "debugger-XXXXX"),
    (r"\(?\bx\d+ over (\d+[smhd])+\)", "(COUNT)"),
    (r"(?<![\w.-])(\d+[dhms]){1,2}(?![\w.-])", "AGE"),
    (r"\b(generated-)[a-z0-9]{5}\b", r"\1XXXXX"),
    (r"/tmp/\S+", "PATH"),
    (r"\beyJ[\w.-]{50,}", "TOKEN"),
    (r"(?<=\S)(?:\t| {2,})(?=\S)", "   "),
    (r"(?m)(?<=\S)[ \t]+$", ""),
)
"""What differs from run to run; columns, whose width depends on it, are set apart by three spaces."""


def _documents(content: Any) -> str:
    """As JSON, which is YAML of every version: "y" is a text in one and a truth value in another."""
    objects = content if isinstance(content, list) else [content]
    return "".join(f"---\n{json.dumps(obj)}\n" for obj in objects)


def names() -> list[str]:
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def load(name: str) -> Json:
    """A scenario; its keys are `about` and `steps`."""
    scenario: Json = yaml.safe_load((SCENARIOS / f"{name}.yaml").read_text())
    return scenario


def expected(name: str) -> list[Json]:
    """What was recorded, one entry per command: `run`, `code`, `stdout`, `stderr`."""
    answers: list[Json] = yaml.safe_load((EXPECTED / f"{name}.yaml").read_text())
    return answers


def differences(name: str) -> list[Json]:
    """The embedded server's own answers: `number` of the command, `run`, `why`, `code`, `stdout`, `stderr`."""
    path = DIFFERENCES / f"{name}.yaml"
    found: list[Json] = yaml.safe_load(path.read_text()) if path.exists() else []
    return found


class _Literal(str):
    """Text that is written as a block."""


def record(name: str, answers: list[Json]) -> None:
    """Writes what is to be expected."""
    write(EXPECTED / f"{name}.yaml", answers)


def write(path: Path, answers: list[Json]) -> None:
    """Entries with their texts as blocks."""

    def block(dumper: yaml.SafeDumper, text: _Literal) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(_Literal, block)
    shown = ("stdout", "stderr")
    content = [{k: _Literal(v) if k in shown else v for k, v in answer.items()} for answer in answers]
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.dump(content, Dumper=Dumper, sort_keys=False, width=200, allow_unicode=True))
