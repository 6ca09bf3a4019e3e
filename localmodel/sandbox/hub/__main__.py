"""`python -m localmodel.sandbox.hub --model owner/name=DIR`: the hub as a program.

Prints one JSON line `{"url": ...}` when it answers requests, and stops on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from localmodel.sandbox.hub.server import HubServer


def main() -> None:
    """Runs until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m localmodel.sandbox.hub", description=__doc__)
    parser.add_argument("--model", action="append", required=True, metavar="REPO=DIR", help="may be repeated")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", help="the bearer token that requests must carry")
    parser.add_argument("--max-bytes-per-second", type=int, help="a cap on file bytes over all connections")
    arguments = parser.parse_args()
    models = {}
    for pair in arguments.model:
        name, separator, directory = pair.partition("=")
        if not separator or not Path(directory).is_dir():
            parser.error(f"--model takes REPO=DIR with an existing directory, not {pair!r}")
        models[name] = Path(directory)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread starts, so that all of them inherit it
    with HubServer(
        models,
        host=arguments.host,
        port=arguments.port,
        token=arguments.token,
        max_bytes_per_second=arguments.max_bytes_per_second,
    ) as hub:
        sys.stdout.write(json.dumps({"url": hub.url}) + "\n")
        sys.stdout.flush()
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
