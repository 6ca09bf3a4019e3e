"""`localmodel sandbox faults`: injects faults into a running sandbox API server, from the command line.

Each action is one request to a path below /sandbox/ (`apiserver.control` says what they take), so any user may do it
whom RBAC allows to; a cluster administrator may.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from localmodel import __version__

from .apiserver.faultflags import pair

Json = dict[str, Any]

ACTIONS = {
    "list": "show the rules and how often each was applied",
    "add": "add a rule: verb=, resource=, subresource=, namespace=, name=, user=, userAgent= say which requests;"
    " latencySeconds=, code= (with reason=, message=, retryAfterSeconds=), reset=true, dropAnswer=true or hold=true"
    " what happens to them; rate= and times= how often",
    "clear": "remove one rule by its id, or all",
    "cut-watches": "end running watches; how=end, how=reset or how=expired",
    "hold-watches": "leave running watches open and silent",
    "compact": "forget the history of one resource, or of all: older versions have expired",
    "skew": "set how many seconds the server's clock is ahead; without a number show it",
    "expire-tokens": "make the tokens of a user expire that exist now",
}
_OPERANDS = {
    "add": ("rule", "+", "KEY=VALUE"),
    "clear": ("id", "?", "ID"),
    "cut-watches": ("rule", "*", "KEY=VALUE"),
    "hold-watches": ("rule", "*", "KEY=VALUE"),
    "compact": ("resource", "?", "RESOURCE"),
    "skew": ("seconds", "?", "SECONDS"),
    "expire-tokens": ("user", None, "USER"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kubeconfig", metavar="FILE", help="the sandbox's kubeconfig (default: $KUBECONFIG, then ~/.kube/config)"
    )
    # The class of this parser asks a module for its arguments; these have theirs.
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=argparse.ArgumentParser
    )
    for name, summary in ACTIONS.items():
        action = actions.add_parser(name, help=summary.partition(":")[0], description=summary)
        if name in _OPERANDS:
            dest, nargs, metavar = _OPERANDS[name]
            action.add_argument(dest, nargs=nargs, metavar=metavar, type=_type_of(dest))


def _type_of(dest: str) -> Any:
    return {"rule": pair, "seconds": float}.get(dest, str)


def run(args: argparse.Namespace) -> int:
    from localmodel.runtime.errors import RuntimeLibraryError
    from localmodel.runtime.kubeconfig import load_config
    from localmodel.runtime.request import Requester

    method, path, body = request_of(args)
    try:
        requester = Requester(load_config(args.kubeconfig, user_agent=f"localmodel-sandbox/{__version__}"))
        data = None if body is None else json.dumps(body).encode()
        answer: Json = json.loads(requester.request(method, path, body=data, content_type="application/json"))
    except (RuntimeLibraryError, OSError) as error:
        sys.stderr.write(f"localmodel sandbox faults: {error}\n")
        return 1
    for line in answer.get("faults", [answer] if answer else []):
        sys.stdout.write(json.dumps(line) + "\n")
    return 0


def request_of(args: argparse.Namespace) -> tuple[str, str, Json | None]:
    """Method, path and body of an action."""
    match args.action:
        case "add":
            return "POST", "/sandbox/faults", dict(args.rule)
        case "clear":
            return "DELETE", f"/sandbox/faults/{args.id}" if args.id else "/sandbox/faults", None
        case "cut-watches" | "hold-watches":
            body = dict(args.rule)
            return "POST", "/sandbox/watches", body | {"hold": True} if args.action == "hold-watches" else body
        case "compact":
            return "POST", "/sandbox/compact", {"resource": args.resource or ""}
        case "skew":
            if args.seconds is None:
                return "GET", "/sandbox/clock", None
            return "POST", "/sandbox/clock", {"skewSeconds": args.seconds}
        case "expire-tokens":
            return "POST", "/sandbox/tokens", {"user": args.user}
        case _:
            return "GET", "/sandbox/faults", None
