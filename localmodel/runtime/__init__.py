"""A library for level-triggered Kubernetes controllers: what controller-runtime is to Go.

    class GreeterReconciler(Reconciler):
        def setup(self, builder: Builder) -> None:
            builder.for_(Greeter).owns(ConfigMap)

        def reconcile(self, request: Request) -> Result | None:
            greeter = self.client.find(Greeter, request.name, namespace=request.namespace)
            ...

    manager = Manager(LiveClient(load_config(None, user_agent="greeter")))
    manager.add_reconciler(GreeterReconciler())
    manager.start(setup_signal_handler())

These are the names that every controller needs; the modules below hold the rest. They are imported when they are first
used, because a program may need one of them only (the CRD generator needs the types and no HTTP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localmodel.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from .builder import Builder
    from .cache import Cache, CacheOptions, KindOptions
    from .cached_client import CachedClient
    from .client import Client, Preconditions, Reader, WriteOptions
    from .conditions import set_status_condition
    from .consistency import ConsistencyStore
    from .controller import Controller, ControllerOptions
    from .controllerutil import (
        add_finalizer,
        create_or_patch,
        create_or_update,
        remove_finalizer,
        set_controller_reference,
    )
    from .delegating_client import dry_run_client, namespaced_client, with_field_owner, with_field_validation
    from .errors import ApiError, ConflictError, NotFoundError, TerminalError
    from .event import GenericEvent
    from .events import EventRecorder
    from .finalizer import Finalizers
    from .handler import EnqueueRequestForObject, EnqueueRequestForOwner, EnqueueRequestsFromMapFunc
    from .informer import SharedInformer
    from .kubeconfig import load_config
    from .logging import setup_logging
    from .manager import Manager, process_metrics
    from .manager_options import ManagerOptions
    from .mergepatch import merge_from
    from .metrics import Metrics
    from .objects import Condition, Model, Object, ObjectMeta, PartialObjectMetadata, RESTMapping, Unstructured
    from .predicate import GenerationChanged
    from .reconcile import Reconciler, Request, Result, current_reconcile_id, within_run
    from .rest import LiveClient
    from .retry import retry_on_conflict
    from .signals import setup_signal_handler
    from .source import Channel

__all__ = [
    "ApiError",
    "Builder",
    "Cache",
    "CacheOptions",
    "CachedClient",
    "Channel",
    "Client",
    "Condition",
    "ConflictError",
    "ConsistencyStore",
    "Controller",
    "ControllerOptions",
    "EnqueueRequestForObject",
    "EnqueueRequestForOwner",
    "EnqueueRequestsFromMapFunc",
    "EventRecorder",
    "Finalizers",
    "GenerationChanged",
    "GenericEvent",
    "KindOptions",
    "LiveClient",
    "Manager",
    "ManagerOptions",
    "Metrics",
    "Model",
    "NotFoundError",
    "Object",
    "ObjectMeta",
    "PartialObjectMetadata",
    "Preconditions",
    "RESTMapping",
    "Reader",
    "Reconciler",
    "Request",
    "Result",
    "SharedInformer",
    "TerminalError",
    "Unstructured",
    "WriteOptions",
    "add_finalizer",
    "create_or_patch",
    "create_or_update",
    "current_reconcile_id",
    "dry_run_client",
    "load_config",
    "merge_from",
    "namespaced_client",
    "process_metrics",
    "remove_finalizer",
    "retry_on_conflict",
    "set_controller_reference",
    "set_status_condition",
    "setup_logging",
    "setup_signal_handler",
    "with_field_owner",
    "with_field_validation",
    "within_run",
]

_HOMES = {
    "builder": ("Builder",),
    "cache": (
        "Cache",
        "CacheOptions",
        "KindOptions",
    ),
    "cached_client": ("CachedClient",),
    "client": (
        "Client",
        "Preconditions",
        "Reader",
        "WriteOptions",
    ),
    "conditions": ("set_status_condition",),
    "consistency": ("ConsistencyStore",),
    "controller": (
        "Controller",
        "ControllerOptions",
    ),
    "controllerutil": (
        "add_finalizer",
        "create_or_patch",
        "create_or_update",
        "remove_finalizer",
        "set_controller_reference",
    ),
    "delegating_client": (
        "dry_run_client",
        "namespaced_client",
        "with_field_owner",
        "with_field_validation",
    ),
    "errors": (
        "ApiError",
        "ConflictError",
        "NotFoundError",
        "TerminalError",
    ),
    "event": ("GenericEvent",),
    "events": ("EventRecorder",),
    "finalizer": ("Finalizers",),
    "handler": (
        "EnqueueRequestForObject",
        "EnqueueRequestForOwner",
        "EnqueueRequestsFromMapFunc",
    ),
    "informer": ("SharedInformer",),
    "kubeconfig": ("load_config",),
    "logging": ("setup_logging",),
    "manager": ("Manager", "process_metrics"),
    "manager_options": ("ManagerOptions",),
    "mergepatch": ("merge_from",),
    "metrics": ("Metrics",),
    "objects": ("Condition", "Model", "Object", "ObjectMeta", "PartialObjectMetadata", "RESTMapping", "Unstructured"),
    "predicate": ("GenerationChanged",),
    "reconcile": (
        "Reconciler",
        "Request",
        "Result",
        "current_reconcile_id",
        "within_run",
    ),
    "rest": ("LiveClient",),
    "retry": ("retry_on_conflict",),
    "signals": ("setup_signal_handler",),
    "source": ("Channel",),
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
