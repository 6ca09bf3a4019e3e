"""A kubelet for what the sandbox needs: it runs the containers of pods as local processes on simulated nodes."""

from .kubelet import KubeletOptions, KubeletReconciler
from .server import KubeletServer

__all__ = ["KubeletOptions", "KubeletReconciler", "KubeletServer"]
