"""One type, three uses: the CustomResourceDefinition, the defaults and the checks of a Backup come from its class.

The definition says what a schema can say: bounds, patterns, enums, CEL rules. What needs code is said by webhooks: one
fills in what was left out, one refuses what cannot be. Serve them behind a Service, with the certificate of a mounted
Secret, which may be renewed while this runs.

    python examples/06_definition_and_webhooks.py --crd | kubectl apply -f -
    python examples/06_definition_and_webhooks.py --cert-dir /certs --log-format console
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from localmodel.runtime import (
    LiveClient,
    Manager,
    ManagerOptions,
    Object,
    RESTMapping,
    load_config,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.crdgen import AGE, REQUIRED, Quantity, Version, column, crd_for, rule, server_default
from localmodel.runtime.flags import add_common_flags
from localmodel.runtime.objects import Model, parse_quantity
from localmodel.runtime.webhook import (
    AdmissionRequest,
    CustomDefaulter,
    CustomValidator,
    DeniedError,
    Warnings,
    WebhookBuilder,
    WebhookServerOptions,
)
from localmodel.runtime.webhook.builder import Registrar


class BackupSpec(Model, use_attribute_docstrings=True):
    source: Annotated[str, REQUIRED, Field(min_length=1), rule("self == oldSelf", message="source is immutable")] = ""
    """The volume claim to back up."""
    keep: Annotated[int, Field(ge=1, le=100), server_default(7)] = 7
    compression: Literal["none", "zstd"] = "none"
    size_limit: Quantity = ""
    owner: str = ""
    """Who may change it: whoever made the Backup."""


class Backup(Object):
    """Copies of a volume."""

    mapping = RESTMapping.of("example.com", "v1", "Backup")
    spec: Annotated[BackupSpec, REQUIRED] = Field(default_factory=BackupSpec)


def definition() -> dict[str, Any]:
    columns = (column("Source", ".spec.source"), column("Keep", ".spec.keep", "integer"), AGE)
    return crd_for(Version(Backup, columns=columns), short_names=("bkp",))


class BackupWebhook(CustomDefaulter[Backup], CustomValidator[Backup]):
    def default(self, obj: Backup, request: AdmissionRequest) -> None:
        obj.spec.owner = obj.spec.owner or request.user_info.username

    def validate_create(self, obj: Backup, request: AdmissionRequest) -> Warnings:
        if obj.spec.owner != request.user_info.username:
            raise DeniedError("spec.owner: make a Backup in your own name")
        return judge(obj.spec)

    def validate_update(self, old: Backup, new: Backup, request: AdmissionRequest) -> Warnings:
        if old.spec.owner != request.user_info.username:
            raise DeniedError(f"spec.owner: only {old.spec.owner} may change this Backup")
        return judge(new.spec)


def judge(spec: BackupSpec) -> Warnings:
    if spec.size_limit and parse_quantity(spec.size_limit) < 2**20:
        raise DeniedError(f"spec.sizeLimit: {spec.size_limit} is less than a mebibyte, and holds no backup")
    return ["spec.compression is none: backups will be large"] if spec.compression == "none" else None


def register(server: Registrar) -> None:
    """At /mutate-example-com-v1-backup and /validate-example-com-v1-backup."""
    hook = BackupWebhook()
    WebhookBuilder(server).for_(Backup).with_defaulter(hook).with_validator(hook).complete()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crd", action="store_true", help="write the CustomResourceDefinition and end")
    parser.add_argument("--cert-dir", type=Path, default=Path("/certs"), help="with tls.crt and tls.key")
    parser.add_argument("--port", type=int, default=9443)
    add_common_flags(parser)
    arguments = parser.parse_args()
    if arguments.crd:
        sys.stdout.write(json.dumps(definition(), indent=2) + "\n")
        return
    setup_logging(arguments.log_level, arguments.log_format)

    webhook = WebhookServerOptions(cert_dir=arguments.cert_dir, port=arguments.port)
    client = LiveClient(load_config(arguments.kubeconfig, user_agent="backups"))
    manager = Manager(client, ManagerOptions(webhook=webhook))
    register(manager.webhook_server)
    manager.start(setup_signal_handler())


if __name__ == "__main__":
    main()
