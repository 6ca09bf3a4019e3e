"""Kinds known only by name: objects of any kind that carry an expiry date are deleted when it has come.

Where a kind is served is asked of the API server; of its objects only the metadata is fetched, watched and kept, which
for a hundred thousand Secrets is the difference between gigabytes and megabytes (and the data never leaves the server).

    python examples/09_any_kind.py --kind v1/ConfigMap --kind apps/v1/Deployment --log-format console
"""

from __future__ import annotations

import argparse
from datetime import datetime

from localmodel.runtime import (
    Builder,
    CacheOptions,
    KindOptions,
    LiveClient,
    Manager,
    ManagerOptions,
    Object,
    Reconciler,
    Request,
    Result,
    TerminalError,
    load_config,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.client import Preconditions
from localmodel.runtime.flags import add_common_flags, add_serving_flags
from localmodel.runtime.objects import PartialObjectMetadata

LABEL = "example.com/expires"
"""Objects that have it are looked at; the date is in the annotation of the same name."""


class ExpiryReconciler(Reconciler):
    def __init__(self, kind: type[PartialObjectMetadata]) -> None:
        self._kind = kind

    def setup(self, builder: Builder) -> None:
        builder.named(f"expiry-{self._kind.mapping.plural}").for_(self._kind)

    def reconcile(self, request: Request) -> Result | None:
        found = self.client.find(self._kind, request.name, namespace=request.namespace)
        if found is None or found.is_deleting:
            return None
        text = found.metadata.annotations.get(LABEL, "")
        try:
            expires = datetime.fromisoformat(text)
            left = (expires - self.clock.now()).total_seconds()
        except (TypeError, ValueError):
            raise TerminalError(f"{found}: {LABEL} is {text!r}: write a date as 2026-12-31T00:00:00+00:00") from None
        if left > 0:
            return Result(requeue_after=left)
        # Only the object that was looked at: one of the same name made since has another uid.
        self.client.delete(found, preconditions=Preconditions(uid=found.metadata.uid))
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", required=True, help="GROUP/VERSION/KIND or VERSION/KIND")
    add_common_flags(parser)
    add_serving_flags(parser)
    arguments = parser.parse_args()
    setup_logging(arguments.log_level, arguments.log_format)

    client = LiveClient(load_config(arguments.kubeconfig, user_agent="expiry"))
    kinds = []
    for text in arguments.kind:
        api_version, _, kind = text.rpartition("/")
        kinds.append(PartialObjectMetadata.of(client.kind(api_version, kind).mapping))

    # The selector is the server's work: what does not have the label is never sent.
    by_kind: dict[type[Object], KindOptions] = {kind: KindOptions(labels=LABEL) for kind in kinds}
    options = ManagerOptions(
        metrics_addr=arguments.metrics_addr,
        health_probe_addr=arguments.health_probe_addr,
        cache=CacheOptions(by_kind=by_kind),
    )
    manager = Manager(client, options)
    for kind in kinds:
        manager.add_reconciler(ExpiryReconciler(kind))
    manager.start(setup_signal_handler())


if __name__ == "__main__":
    main()
