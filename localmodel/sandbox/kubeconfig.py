"""`localmodel sandbox kubeconfig`: a kubeconfig for another identity against a running API server.

A service account gets a token, which the API server gives out (TokenRequest), so any API server will do. A user gets a
client certificate, signed with the key of the sandbox's authority: that lies in the API server's data directory, which
`sandbox up` keeps beside its kubeconfig.
Neighbours: `cluster`, whose programs run with such kubeconfigs; `apiserver.tls` for the authority.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from localmodel import __version__
from localmodel.runtime.clock import RealClock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.rest import LiveClient

from .apiserver.kubeconfig import certificate_credentials, token_credentials, write_kubeconfig
from .apiserver.tls import CLIENT_LIFETIME, Authority
from .apiserver.users import service_account_name
from .install import TOKEN_LIFETIME, service_account_token

Json = dict[str, Any]

DATA_DIR = "apiserver"
"""Where `sandbox up` keeps the API server's data, beside its kubeconfig."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class KubeconfigError(RuntimeLibraryError):
    """What was asked for cannot be made; the message says why and what to give instead."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="NAME", help="a user, by a client certificate")
    who.add_argument("--service-account", type=account, metavar="NAMESPACE/NAME", help="a service account, by a token")
    parser.add_argument(
        "--group", action="append", default=[], metavar="NAME", help="a group of the user; may be repeated"
    )
    parser.add_argument(
        "--duration",
        type=duration,
        metavar="TIME",
        help="how long it is good, as 10m, 24h or 30d (default: 24h for a service account, 365d for a user)",
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="an administrator's kubeconfig (default: $KUBECONFIG)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"the API server's --data-dir, for --user (default: {DATA_DIR}/ beside the kubeconfig)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write (default: standard output)")


def run(args: argparse.Namespace) -> int:
    """0 if the kubeconfig was written; else 1, and the reason on stderr."""
    try:
        content = _made(args)
        if args.output:
            write_kubeconfig(args.output, content)
        else:
            sys.stdout.write(content.decode())
    except (RuntimeLibraryError, OSError, ValueError) as error:
        sys.stderr.write(f"localmodel sandbox kubeconfig: {error}\n")
        return 1
    return 0


def _made(args: argparse.Namespace) -> bytes:
    admin = _admin_kubeconfig(args.kubeconfig)
    if args.user is None:
        if args.group:
            raise KubeconfigError("--group goes with --user: a service account's groups follow from its name")
        namespace, name = args.service_account
        token = _token(admin, namespace, name, args.duration or TOKEN_LIFETIME)
        user = service_account_name(namespace, name)
        return other_kubeconfig(admin, user, token_credentials(token), namespace=namespace)
    authority = _authority(admin, args.data_dir)
    lifetime = args.duration or CLIENT_LIFETIME
    pair = authority.issue_client(args.user, args.group, now=RealClock().now(), lifetime=lifetime)
    return other_kubeconfig(admin, args.user, certificate_credentials(pair))


def other_kubeconfig(admin: Path, user: str, credentials: Json, *, namespace: str = "default") -> bytes:
    """The text of a kubeconfig for the current cluster of another one, with another user."""
    name, cluster = _current_cluster(admin)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": user, "context": {"cluster": name, "user": user, "namespace": namespace}}],
        "current-context": user,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def authority_of(kubeconfig: Path) -> str:
    """The API server's authority, in PEM, that a kubeconfig names; empty for none. Raises KubeconfigError, OSError."""
    return base64.b64decode(_current_cluster(kubeconfig)[1].get("certificate-authority-data", "")).decode()


def _current_cluster(kubeconfig: Path) -> tuple[str, Json]:
    """Name and entry of the current context's cluster, the authority's certificate in the entry itself."""
    try:
        document = yaml.safe_load(kubeconfig.read_text())
        contexts = {entry["name"]: entry["context"] for entry in document["contexts"]}
        name = contexts[document["current-context"]]["cluster"]
        cluster = dict({entry["name"]: entry["cluster"] for entry in document["clusters"]}[name])
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise KubeconfigError(f"{kubeconfig} is no kubeconfig with a current context: {error!r}") from None
    if path := cluster.pop("certificate-authority", None):
        cluster["certificate-authority-data"] = base64.b64encode((kubeconfig.parent / path).read_bytes()).decode()
    return name, cluster


def _admin_kubeconfig(given: Path | None) -> Path:
    named = str(given or os.environ.get("KUBECONFIG") or "~/.kube/config")
    if os.pathsep in named:
        raise KubeconfigError(f"$KUBECONFIG names several files, {named}: give one with --kubeconfig FILE")
    path = Path(named).expanduser()
    if not path.exists():
        raise KubeconfigError(f"there is no kubeconfig {path}: give --kubeconfig FILE, or set KUBECONFIG")
    return path


def _token(admin: Path, namespace: str, name: str, lifetime: timedelta) -> str:
    client = LiveClient(load_config(admin, user_agent=f"localmodel-sandbox/{__version__}"))
    try:
        return service_account_token(client, namespace, name, lifetime=lifetime)
    finally:
        client.close()


def _authority(admin: Path, data_dir: Path | None) -> Authority:
    """The authority of the API server that the kubeconfig names."""
    directory = data_dir or admin.resolve().parent / DATA_DIR
    try:
        authority = Authority.load(directory)
    except FileNotFoundError as error:
        raise KubeconfigError(
            f"there is no key of the sandbox's authority ({error.filename}): give the API server's --data-dir; for a "
            "service account the API server itself gives a token (--service-account NAMESPACE/NAME)"
        ) from None
    trusted = _current_cluster(admin)[1].get("certificate-authority-data", "")
    if base64.b64decode(trusted).strip() != authority.pem.strip():
        raise KubeconfigError(f"{directory} holds the keys of another API server than {admin} names")
    return authority


def account(text: str) -> tuple[str, str]:
    """An argparse type: NAMESPACE/NAME."""
    namespace, slash, name = text.partition("/")
    if not namespace or not slash or not name or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAMESPACE/NAME")
    return namespace, name


def duration(text: str) -> timedelta:
    """An argparse type: a number with a unit, as 90s, 10m, 24h or 30d."""
    matched = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if matched is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 10m, 24h or 30d")
    return timedelta(**{_UNITS[matched[2]]: int(matched[1])})
