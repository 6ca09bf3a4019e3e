"""Cleaning up outside the cluster: every Bucket has a directory, which must go before the Bucket may.

A finalizer holds the deleted object until the directory is removed. It is set before anything is made, so that a
process killed between two lines leaves nothing behind; and removing is idempotent, because it may be done twice.

    python examples/02_finalizer.py --root /tmp/buckets --log-format console
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from pydantic import Field

from localmodel.runtime import (
    Builder,
    LiveClient,
    Manager,
    Object,
    Reconciler,
    Request,
    RESTMapping,
    Result,
    TerminalError,
    load_config,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.controllerutil import add_finalizer, contains_finalizer, remove_finalizer
from localmodel.runtime.flags import add_common_flags
from localmodel.runtime.objects import Model

FINALIZER = "example.com/directory"


class BucketSpec(Model):
    name: str = ""


class Bucket(Object):
    mapping = RESTMapping.of("example.com", "v1", "Bucket")
    spec: BucketSpec = Field(default_factory=BucketSpec)


class BucketReconciler(Reconciler):
    def __init__(self, root: Path) -> None:
        self._root = root

    def setup(self, builder: Builder) -> None:
        builder.for_(Bucket)

    def reconcile(self, request: Request) -> Result | None:
        bucket = self.client.find(Bucket, request.name, namespace=request.namespace)
        if bucket is None:
            return None
        if bucket.is_deleting:
            self._clean_up(bucket)
            return None
        if "/" in bucket.spec.name or not bucket.spec.name:
            # Trying again would not help: whoever edits the Bucket brings it back here.
            raise TerminalError(f"{bucket}: spec.name {bucket.spec.name!r} is not a name: write one without a slash")
        if add_finalizer(bucket, FINALIZER):
            bucket = self.client.update(bucket)
        self._directory(bucket).mkdir(parents=True, exist_ok=True)
        return None

    def _clean_up(self, bucket: Bucket) -> None:
        if not contains_finalizer(bucket, FINALIZER):
            return  # somebody else's finalizer holds it
        directory = self._directory(bucket)
        if directory.exists():
            shutil.rmtree(directory)
        remove_finalizer(bucket, FINALIZER)
        self.client.update(bucket)

    def _directory(self, bucket: Bucket) -> Path:
        return self._root / bucket.namespace / bucket.spec.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="where the directories are made")
    add_common_flags(parser)
    arguments = parser.parse_args()
    setup_logging(arguments.log_level, arguments.log_format)

    manager = Manager(LiveClient(load_config(arguments.kubeconfig, user_agent="buckets")))
    manager.add_reconciler(BucketReconciler(arguments.root))
    manager.start(setup_signal_handler())


if __name__ == "__main__":
    main()
