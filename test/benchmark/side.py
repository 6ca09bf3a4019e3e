"""The process of one side, `python -m benchmark.side MODULE:FUNCTION`: a context from stdin, numbers to stdout."""

from __future__ import annotations

import importlib
import os
import sys

import msgspec
from benchmark.case import Context


def main(side: str) -> None:
    answer = os.dup(1)
    os.dup2(2, 1)  # what anybody prints or logs is no part of the answer
    context = msgspec.json.decode(sys.stdin.buffer.read(), type=Context)
    module, _, function = side.partition(":")
    numbers = getattr(importlib.import_module(f"benchmark.{module}"), function)(context)
    os.write(answer, msgspec.json.encode(numbers))
    # Daemon threads of the official informer have crashed the interpreter while it finalised.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
