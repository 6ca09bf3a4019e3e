"""A stand-in for a model server: loads a model's safetensors files, says so, and waits.

    python -m localmodel.sandbox.serve --model_dir=/mnt/models --ready_file=/run/serving/ready

It takes the options of KServe's Hugging Face server that the demo's pods use. When every tensor is in memory it prints
one JSON line (tensors, bytes, seconds, readyAt as Unix time) and creates the ready file, which a readiness probe looks
for. Exit status 1 if there is no model.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="localmodel-serve", description="Loads safetensors files and waits.")
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--model_name", default="model")
    parser.add_argument("--ready_file", type=Path)
    args = parser.parse_args(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    started = time.monotonic()
    files = sorted(args.model_dir.rglob("*.safetensors"))
    if not files:
        sys.stderr.write(f"no *.safetensors file in {args.model_dir}: the model is not there\n")
        return 1
    try:
        tensors, size = load(files)
    except (OSError, ValueError, SafetensorError) as error:
        sys.stderr.write(f"cannot load the model in {args.model_dir}: {error}\n")
        return 1
    report = {
        "model": args.model_name,
        "files": len(files),
        "tensors": tensors,
        "bytes": size,
        "seconds": round(time.monotonic() - started, 3),
        "readyAt": time.time(),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    if args.ready_file:
        args.ready_file.touch()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


def load(files: Sequence[Path]) -> tuple[int, int]:
    """Reads every tensor into memory; their number and their size in bytes."""
    arrays = []
    for file in files:
        with safe_open(file, framework="np") as tensors:
            arrays += [tensors.get_tensor(name) for name in tensors.keys()]  # noqa: SIM118 - not a mapping
    return len(arrays), sum(array.nbytes for array in arrays)


if __name__ == "__main__":
    sys.exit(main())
