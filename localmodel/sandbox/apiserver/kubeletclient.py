"""`KubeletClient`: how the server shows itself to kubelets: a client certificate of its own authority.

It is what kubeadm makes for a kube-apiserver's --kubelet-client-certificate. Kubelets know the authority from the
ConfigMap kube-system/extension-apiserver-authentication, which `bootstrap` writes. Their own certificates are not
verified, as kube-apiserver does unless it is told an authority for them.
"""

from __future__ import annotations

import ssl
import threading
from datetime import datetime, timedelta
from pathlib import Path

from localmodel.runtime.clock import Clock

from .tls import Authority
from .users import MASTERS

NAME = "kube-apiserver-kubelet-client"
LIFETIME = timedelta(days=30)
RENEW_AFTER = timedelta(days=20)


class KubeletClient:
    """Makes TLS contexts for connections to kubelets. Thread-safe."""

    def __init__(self, authority: Authority, directory: Path, *, clock: Clock) -> None:
        """`directory` gets the certificate and its key (mode 0600), when they are first needed."""
        self._authority = authority
        self._certificate = directory / "apiserver-kubelet-client.crt"
        self._key = directory / "apiserver-kubelet-client.key"
        self._clock = clock
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._issued: datetime | None = None

    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        with self._lock:
            now = self._clock.now()
            if self._context is None or self._issued is None or now - self._issued > RENEW_AFTER:
                pair = self._authority.issue_client(NAME, (MASTERS,), now=now, lifetime=LIFETIME)
                pair.write(self._certificate, self._key)
                self._context, self._issued = unverified_context(), now
                self._context.load_cert_chain(self._certificate, self._key)
            return self._context


def unverified_context() -> ssl.SSLContext:
    """TLS to a server whose certificate is not looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
