"""Caches machine-learning models on the local disks of Kubernetes nodes, and the reconciler library it is built on."""

__version__ = "0.1.0"
