"""A program of a manager and one reconciler, to be started, killed and told to stop.

It writes its identity into each ConfigMap labelled `greet`, prints "ready" once its manager has begun, and, when the
manager has ended, one line of JSON with the threads that are left.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading

from localmodel.runtime import Manager, ManagerOptions, Reconciler, Request, Result, setup_logging, setup_signal_handler
from localmodel.runtime.builder import Builder
from localmodel.runtime.cache import CacheOptions, KindOptions
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.leaderelection import LeaderElectionConfig
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.rest import LiveClient

LABEL = "greet"
GREETED_BY = "greeted-by"


class Greeter(Reconciler):
    """Greets whatever was not greeted by this process."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    def setup(self, builder: Builder) -> None:
        builder.for_(ConfigMap)

    def reconcile(self, request: Request) -> Result:
        found = self.client.find(ConfigMap, request.name, namespace=request.namespace)
        if found is not None and found.data.get(GREETED_BY) != self._identity:
            self.client.patch(found, {"data": {GREETED_BY: self._identity}})
            self.recorder.event(found, "Normal", "Greeted", f"by {self._identity}")
        return Result()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig")
    parser.add_argument("--identity", default="greeter")
    parser.add_argument("--namespace", default="default", help="where the lease is, and what is greeted")
    parser.add_argument("--leader-elect", action="store_true")
    arguments = parser.parse_args()

    setup_logging()
    stop = setup_signal_handler()
    client = LiveClient(load_config(arguments.kubeconfig, user_agent=f"{arguments.identity}/1"))
    options = ManagerOptions(
        metrics_addr="127.0.0.1:0",
        health_probe_addr="127.0.0.1:0",
        leader_election=arguments.leader_elect,
        lease=LeaderElectionConfig(
            name="greeter",
            namespace=arguments.namespace,
            identity=arguments.identity,
            lease_duration=3.0,
            renew_deadline=2.0,
            retry_period=1.0,
        ),
        cache=CacheOptions(by_kind={ConfigMap: KindOptions(labels=LABEL)}, default_namespaces=(arguments.namespace,)),
    )
    manager = Manager(client, options)
    manager.add_reconciler(Greeter(arguments.identity))
    sys.stdout.write(f"{manager.probe_url}\n")
    sys.stdout.flush()
    manager.start(stop)
    client.close()
    sys.stdout.write(json.dumps([thread.name for thread in threading.enumerate() if thread.name != "signal"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
