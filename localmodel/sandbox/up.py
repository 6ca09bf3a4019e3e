"""`localmodel sandbox up`: a whole simulated cluster in the foreground, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.logging import LOG_FORMATS, LOG_LEVELS, setup_logging

from .cluster import Cluster, ClusterOptions
from .controllers.main import image, positive
from .interrupts import interrupt_on_termination, stopping_afterwards
from .wording import counted
from .workdir import Workdir, WorkdirError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=positive, default=3, metavar="N", help="simulated nodes (default: %(default)s)")
    parser.add_argument(
        "--workdir",
        type=Path,
        default=Path("localmodel-sandbox"),
        metavar="DIR",
        help="nodes' disks, logs, the API server's data; an earlier run's cluster goes on (default: ./%(default)s)",
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="where to write the kubeconfig (default: DIR/kubeconfig)"
    )
    parser.add_argument(
        "--external-kubeconfig",
        type=Path,
        metavar="FILE",
        help="use the API server of this kubeconfig instead of starting one",
    )
    parser.add_argument(
        "--image",
        type=image,
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="the local command that stands for the image whose repository ends in NAME; may be repeated",
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="warning", help="of this program's own log lines")
    parser.add_argument("--log-format", choices=LOG_FORMATS, default="console")


def run(args: argparse.Namespace) -> int:
    setup_logging(args.log_level, args.log_format)
    interrupt_on_termination()
    workdir = Workdir(args.workdir)
    try:
        with workdir.claimed(fresh=False) as directory:
            _run(args, directory)
    except KeyboardInterrupt:
        say("stopped")
    except (RuntimeLibraryError, OSError) as error:
        say(f"cannot start: {error}")
        if workdir.was_used:
            say(f"logs: {workdir.path / 'logs'}")
        return 1
    return 0


def _run(args: argparse.Namespace, directory: Path) -> None:
    options = ClusterOptions(
        workdir=directory,
        nodes=args.nodes,
        kubeconfig=args.kubeconfig,
        external_kubeconfig=args.external_kubeconfig,
        images=dict(args.image),
    )
    earlier = len(list((directory / "nodes").glob("*")))
    if earlier > args.nodes:
        raise WorkdirError(
            f"the cluster in {directory} has {counted(earlier, 'node')}, which would be left without a kubelet: "
            f"give --nodes {earlier} or more, or name another directory with --workdir"
        )
    say(f"{'going on with' if earlier else 'starting'} {counted(args.nodes, 'node')} in {directory}")
    with Cluster(options, report=say) as cluster, stopping_afterwards():
        say("")
        for line in description(cluster):
            say(line)
        say("Ctrl-C stops everything.")
        threading.Event().wait()


def description(cluster: Cluster) -> list[str]:
    """What is where, for a person who wants to play with it."""
    return [
        f"kubeconfig   export KUBECONFIG={cluster.kubeconfig}",
        f"nodes        {', '.join(cluster.nodes)}",
        f"disks        {cluster.node_root('NODE')}",
        f"logs         {cluster.logs}",
        f"             {cluster.node_root('NODE')}/logs (containers)",
        *(f"process      {child.program.name} (pid {child.pid})" for child in cluster.supervisor.children),
    ]


def say(line: str) -> None:
    """One line for the person at the terminal, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
