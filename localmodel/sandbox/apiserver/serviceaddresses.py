"""Cluster addresses and node ports of Services: given to new ones, kept by changed ones, refused where taken.

What kube-apiserver's service REST does around a write: addresses are of 10.96.0.0/12, ports of 30000-32767, one family,
IPv4. Nothing carries traffic to them in the sandbox. What a Service may say at all is in `checks`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec

from localmodel.runtime.testing.answers import invalid_kind
from localmodel.runtime.testing.registry import Registry

from .fielderrors import Cause, go_strings, invalid

Json = dict[str, Any]

RANGE = IPv4Network("10.96.0.0/12")
PORTS = range(30000, 32768)
_WITH_PORTS = ("NodePort", "LoadBalancer")


class ServiceAddresses:
    """The `prepare` hook of Services. Raises InvalidError."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._handed: dict[str, tuple[str, str]] = {}
        """Addresses that were given out, and to whom, until the store has them."""

    def __call__(self, new: Json, old: Json | None) -> None:
        spec, before = new.setdefault("spec", {}), (old or {}).get("spec") or {}
        if old is not None:
            _keep(spec, before)
        type_ = spec.get("type")
        if type_ == "ExternalName" or not isinstance(spec.get("ports") or [], list):
            return
        if spec.get("clusterIP") == "None":
            return
        with self._lock:
            taken, ports = self._taken(new["metadata"])
            causes = [*_address_faults(spec, before, taken)]
            if type_ in _WITH_PORTS:
                causes += _port_faults(spec, ports)
            if causes:
                raise invalid_kind("Service", "", new["metadata"].get("name", ""), causes)
            if not spec.get("clusterIP") and not spec.get("clusterIPs"):
                address = _first_free(taken)
                self._handed[address] = _key(new["metadata"])
                spec["clusterIP"] = address
            if type_ in _WITH_PORTS and (type_ == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)):
                _give_ports(spec, ports)
        _one_family(spec)

    def _taken(self, metadata: Json) -> tuple[set[str], set[tuple[str, int]]]:
        """Addresses and ports, as (protocol, port), of all other services."""
        own, stored, ports = _key(metadata), set(), set()
        for entry in self._registry.store.list("services")[1]:
            if (entry.namespace, entry.name) == own:
                continue
            spec = msgspec.json.decode(entry.value).get("spec") or {}
            stored.add(spec.get("clusterIP") or "")
            ports |= {(p.get("protocol", "TCP"), p["nodePort"]) for p in spec.get("ports") or () if p.get("nodePort")}
        if len(self._handed) > 1000:
            self._handed.clear()
        return stored | {address for address, holder in self._handed.items() if holder != own}, ports


def _key(metadata: Json) -> tuple[str, str]:
    return metadata.get("namespace", ""), metadata.get("name", "")


def _keep(spec: Json, before: Json) -> None:
    """A client need not repeat what it was given, and loses it with a type that has no use for it."""
    if spec.get("type") == "ExternalName":
        if before.get("type") != "ExternalName":
            _drop(spec, before, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    elif before.get("type") != "ExternalName" and not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
        if not spec.get("clusterIPs"):
            spec["clusterIPs"] = before.get("clusterIPs") or [before["clusterIP"]]
    has_ports = spec.get("type") in _WITH_PORTS
    loses_ports = before.get("type") in _WITH_PORTS and not has_ports
    if loses_ports:
        _drop(spec, before, "externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort")
    had = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        given = had.get((port.get("protocol"), port.get("port")))
        if has_ports and given and not port.get("nodePort"):
            port["nodePort"] = given
        elif loses_ports and given and port.get("nodePort") == given:
            del port["nodePort"]


def _drop(spec: Json, before: Json, *fields: str) -> None:
    for field in fields:
        if spec.get(field) == before.get(field):
            spec.pop(field, None)


def _address_faults(spec: Json, before: Json, taken: set[str]) -> Iterator[Cause]:
    address = spec.get("clusterIP") or ""
    if not address or address == before.get("clusterIP"):
        return
    if before.get("clusterIP") and before.get("type") != "ExternalName":
        return  # which `checks` refuses
    try:
        parsed = IPv4Address(address)
    except ValueError:
        text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        yield invalid("spec.clusterIPs[0]", address, text)
        return
    why = f"failed to allocate IP {address}: "
    if parsed not in RANGE:
        why += f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {RANGE}"
        yield invalid("spec.clusterIPs", go_strings([address]), why)
    elif address in taken:
        yield invalid("spec.clusterIPs", go_strings([address]), f"{why}provided IP is already allocated")


def _port_faults(spec: Json, taken: set[tuple[str, int]]) -> Iterator[Cause]:
    for index, port in enumerate(spec.get("ports") or ()):
        given = port.get("nodePort")
        if not given:
            continue
        if given not in PORTS:
            text = "provided port is not in the valid range. The range of valid ports is 30000-32767"
            yield invalid(f"spec.ports[{index}].nodePort", given, text)
        elif (port.get("protocol", "TCP"), given) in taken:
            yield invalid(f"spec.ports[{index}].nodePort", given, "provided port is already allocated")


def _first_free(taken: set[str]) -> str:
    """The network's own address and the first, that of the API server in a cluster, are not given."""
    candidates = (str(RANGE[index]) for index in range(10, RANGE.num_addresses - 1))
    return next(address for address in candidates if address not in taken)


def _give_ports(spec: Json, taken: set[tuple[str, int]]) -> None:
    used = {number for _, number in taken} | {port.get("nodePort") for port in spec.get("ports") or ()}
    free = (number for number in PORTS if number not in used)
    for port in spec.get("ports") or ():
        if not port.get("nodePort"):
            port["nodePort"] = next(free, 0)


def _one_family(spec: Json) -> None:
    if spec.get("clusterIPs") is None:
        spec["clusterIPs"] = [spec["clusterIP"]]
    spec.setdefault("clusterIP", (spec["clusterIPs"] or [""])[0])
    spec["ipFamilies"] = spec.get("ipFamilies") or ["IPv4"]
    spec["ipFamilyPolicy"] = spec.get("ipFamilyPolicy") or "SingleStack"
