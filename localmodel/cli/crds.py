"""`localmodel crds`: prints the CustomResourceDefinitions of `localmodel.api` as YAML, to be piped to kubectl."""

from __future__ import annotations

import argparse
import sys

import yaml


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--minimal",
        action="store_true",
        help="leave the schemas open (spec and status accept anything), as KServe's minimal CRDs",
    )


def run(args: argparse.Namespace) -> int:
    from localmodel.api.crd import crds

    yaml.safe_dump_all(crds(minimal=args.minimal), sys.stdout, sort_keys=False)
    return 0
