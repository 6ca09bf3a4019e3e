"""The `localmodel` command: the sandbox (API server, cluster controllers, all of it), the demo and the CRDs.

Each sub-command names the module that holds it. The module is imported only when its sub-command is used, so that
`localmodel --version` stays fast and a missing extra (`sandbox`, `demo`) is reported by the one command that needs it.
A command's module has two functions: `add_arguments(parser)` and `run(args) -> int`, the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from localmodel import __version__

SANDBOX_COMMANDS = {
    "apiserver": ("localmodel.sandbox.apiserver.main", "run the embedded Kubernetes API server alone"),
    "controllers": ("localmodel.sandbox.controllers.main", "run the simulated nodes and cluster controllers"),
    "faults": ("localmodel.sandbox.faults", "inject faults into a running sandbox API server"),
    "up": ("localmodel.sandbox.up", "run a whole simulated cluster with the manager and the agents"),
    "kubeconfig": ("localmodel.sandbox.kubeconfig", "make a kubeconfig for another user or a service account"),
}
COMMANDS = {
    "demo": ("localmodel.sandbox.demo", "cache a model on three simulated nodes and serve it, end to end"),
    "crds": ("localmodel.cli.crds", "print the CustomResourceDefinitions"),
}


class _LazyParser(argparse.ArgumentParser):
    """A sub-command's parser, which asks its module for the arguments when it is first used."""

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module:
            module_name, self.module = self.module, ""
            module = _load(self, module_name)
            module.add_arguments(self)
            self.set_defaults(run=module.run)
        return super().parse_known_args(args, namespace)


def _load(parser: argparse.ArgumentParser, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        parser.error(_what_to_install(error))


def _what_to_install(error: ModuleNotFoundError) -> str:
    """Says which extra brings a package; raises the error again if the package is one of our own."""
    missing = (error.name or "").split(".")[0]
    if missing == "localmodel":
        raise error
    return f"the Python package {missing!r} is missing: install localmodel[sandbox], or localmodel[demo] for the demo"


def _add_commands(subparsers: Any, commands: dict[str, tuple[str, str]]) -> None:
    for name, (module, summary) in commands.items():
        subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.").module = module


def build_parser() -> argparse.ArgumentParser:
    """The whole command line. Sub-commands fill in their own arguments when they are parsed."""
    parser = argparse.ArgumentParser(
        prog="localmodel", description="Caches machine-learning models on the disks of Kubernetes nodes."
    )
    parser.add_argument("--version", action="version", version=f"localmodel {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_LazyParser)
    sandbox = commands.add_parser("sandbox", help="parts of a simulated cluster", description="A simulated cluster.")
    _add_commands(
        sandbox.add_subparsers(dest="part", metavar="PART", required=True, parser_class=_LazyParser), SANDBOX_COMMANDS
    )
    _add_commands(commands, COMMANDS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 0 on success, 1 on failure, 2 on wrong usage, 130 on Ctrl-C."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except ModuleNotFoundError as error:
        # Some modules import what is heavy only when they need it.
        sys.stderr.write(f"localmodel: {_what_to_install(error)}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


if __name__ == "__main__":
    sys.exit(main())
