"""URLs, IP addresses and CIDRs in expressions, in the reading of Go's net/url and net/netip."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from .functions import Function, function, member
from .values import EvaluationError, NoSuchOverloadError, Opaque

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_LEADING_ZERO = re.compile(r"^(?:0|[1-9]\d*)?(?:\.\d+)*?\.?0\d+(?:\.\d+)*$")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Url(Opaque):
    """An absolute URL, or an absolute path."""

    type_name: ClassVar[str] = "kubernetes.URL"
    text: str

    @property
    def host(self) -> str:
        return urlsplit(self.text).netloc.rpartition("@")[2]

    @property
    def hostname(self) -> str:
        host = self.host
        if host.startswith("["):
            return host[1:].partition("]")[0]
        return host.partition(":")[0]

    @property
    def port(self) -> str:
        return self.host.rpartition("]")[2].partition(":")[2]


def parse_url(text: str) -> Url:
    message = f'URL parse error during conversion from string: parse "{text}": '
    if not _SCHEME.match(text) and not text.startswith("/"):
        raise EvaluationError(message + "invalid URI for request")
    if _CONTROL.search(text.replace(" ", "") if "?" not in text else text):
        raise EvaluationError(message + "net/url: invalid control character in URL")
    if _BAD_ESCAPE.search(text):
        raise EvaluationError(message + f'invalid URL escape "{text[text.index("%") :][:3]}"')
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise EvaluationError(message + "invalid port after host") from None
    if " " in parts.netloc:
        raise EvaluationError(message + 'invalid character " " in host name')
    return Url(text)


def _holds(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return check


@dataclass(frozen=True, slots=True)
class IP(Opaque):
    """An address, without zone."""

    type_name: ClassVar[str] = "net.IP"
    address: Address

    @property
    def text(self) -> str:
        return str(self.address)


def _ip(text: str) -> IP:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        why = "IPv4 field has octet with leading zero" if _LEADING_ZERO.match(text) else "unable to parse IP"
        raise EvaluationError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): {why}'
        ) from None
    if "%" in text:
        raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return IP(address)


def _is_canonical(text: str) -> bool:
    return _ip(text).text == text


@dataclass(frozen=True, slots=True)
class CIDR(Opaque):
    """A prefix; the address may have bits beyond it."""

    type_name: ClassVar[str] = "net.CIDR"
    address: Address
    bits: int

    @property
    def network(self) -> Network:
        return ipaddress.ip_network((self.address, self.bits), strict=False)

    @property
    def text(self) -> str:
        return f"{self.address}/{self.bits}"


_CIDR_ERROR = "network address parse error during conversion from string: "


def _cidr(text: str) -> CIDR:
    address, slash, bits = text.partition("/")
    what = f'{_CIDR_ERROR}{_CIDR_ERROR}netip.ParsePrefix("{text}"): '
    if not slash:
        raise EvaluationError(f"{what}no '/'")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise EvaluationError(f'{what}ParseAddr("{address}"): unable to parse IP') from None
    if "%" in address:
        raise EvaluationError(f"{what}IPv6 zones cannot be present in a prefix")
    if not bits.isdecimal() or (len(bits) > 1 and bits[0] == "0"):
        raise EvaluationError(f'{what}bad bits after slash: "{bits}"')
    if int(bits) > parsed.max_prefixlen:
        raise EvaluationError(f"{what}prefix length out of range")
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        raise EvaluationError(f'{_CIDR_ERROR}IPv4-mapped IPv6 address "{text}" is not allowed')
    return CIDR(parsed, int(bits))


def _or_no_overload(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except EvaluationError:
        raise NoSuchOverloadError from None


def _contains_ip(cidr: CIDR, ip: IP | str) -> bool:
    address = (_or_no_overload(_ip, ip) if isinstance(ip, str) else ip).address
    return address.version == cidr.network.version and address in cidr.network


def _contains_cidr(cidr: CIDR, other: CIDR | str) -> bool:
    network = (_or_no_overload(_cidr, other) if isinstance(other, str) else other).network
    return network.version == cidr.network.version and network.subnet_of(cidr.network)  # type: ignore[arg-type]


def _query(url: Url) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url.text).query, keep_blank_values=True)


def _is_link_local_multicast(ip: IP) -> bool:
    text = "224.0.0.0/24" if ip.address.version == 4 else "ff02::/16"
    return ip.address in ipaddress.ip_network(text)


def _is_global_unicast(ip: IP) -> bool:
    address = ip.address
    broadcast = address.version == 4 and int(address) == 2**32 - 1
    local = address.is_unspecified or address.is_loopback or address.is_link_local
    return not (local or address.is_multicast or broadcast)


_URL, _IP, _CIDR = Url.type_name, IP.type_name, CIDR.type_name

NET: tuple[Function, ...] = (
    function("url", ["string"], _URL, parse_url),
    function("isURL", ["string"], "bool", _holds(parse_url)),
    member(_URL, "getScheme", [], "string", lambda url: urlsplit(url.text).scheme),
    member(_URL, "getHost", [], "string", lambda url: url.host),
    member(_URL, "getHostname", [], "string", lambda url: url.hostname),
    member(_URL, "getPort", [], "string", lambda url: url.port),
    member(_URL, "getEscapedPath", [], "string", lambda url: urlsplit(url.text).path.replace(" ", "%20")),
    member(_URL, "getQuery", [], "map<string,list<string>>", _query),
    function("ip", ["string"], _IP, _ip),
    function("isIP", ["string"], "bool", _holds(_ip)),
    function("ip.isCanonical", ["string"], "bool", _is_canonical),
    member(_IP, "family", [], "int", lambda ip: ip.address.version),
    member(_IP, "isUnspecified", [], "bool", lambda ip: ip.address.is_unspecified),
    member(_IP, "isLoopback", [], "bool", lambda ip: ip.address.is_loopback),
    member(_IP, "isLinkLocalMulticast", [], "bool", _is_link_local_multicast),
    member(_IP, "isLinkLocalUnicast", [], "bool", lambda ip: ip.address.is_link_local),
    member(_IP, "isGlobalUnicast", [], "bool", _is_global_unicast),
    function("cidr", ["string"], _CIDR, _cidr),
    function("isCIDR", ["string"], "bool", _holds(_cidr)),
    member(_CIDR, "containsIP", [_IP], "bool", _contains_ip),
    member(_CIDR, "containsIP", ["string"], "bool", _contains_ip),
    member(_CIDR, "containsCIDR", [_CIDR], "bool", _contains_cidr),
    member(_CIDR, "containsCIDR", ["string"], "bool", _contains_cidr),
    member(_CIDR, "ip", [], _IP, lambda cidr: IP(cidr.address)),
    member(_CIDR, "masked", [], _CIDR, lambda cidr: CIDR(cidr.network.network_address, cidr.bits)),
    member(_CIDR, "prefixLength", [], "int", lambda cidr: cidr.bits),
)
