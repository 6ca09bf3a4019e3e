"""Where a server listens: addresses as Go writes them, and sockets for them."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from .errors import RuntimeLibraryError


class AddressError(RuntimeLibraryError, ValueError):
    """The text is not an address to listen on."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. An empty host is every interface, port 0 a free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """Of ":8080", "127.0.0.1:0", "[::1]:8080" (net.Listen's forms); None for "" and "0", which mean off."""
        if text in ("", "0"):
            return None
        host, separator, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise AddressError(f"{text!r} is not an address: write HOST:PORT, :PORT, or 0 for off")
        if ":" in host and not bracketed:
            raise AddressError(f"{text!r} is not an address: put an IPv6 host in brackets, as [::1]:8080")
        return cls(host[1:-1] if bracketed else host, int(port))


def listen(address: Address) -> socket.socket:
    """A socket that listens there; raises OSError."""
    if address.host == "" and socket.has_dualstack_ipv6():
        # A machine may offer IPv6 sockets and yet have no IPv6 address.
        with contextlib.suppress(OSError):
            return socket.create_server(("", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=128)
