"""Validation of webhook configurations.

Texts and fields: k8s.io/kubernetes/pkg/apis/admissionregistration/validation, and apiserver's webhook validation.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from localmodel.runtime.testing import metadata
from localmodel.sandbox.apiserver.cel import EvaluationError
from localmodel.sandbox.apiserver.cel.formats import dns1035_label
from localmodel.sandbox.apiserver.cel.net import parse_url
from localmodel.sandbox.apiserver.fielderrors import Cause, duplicate, invalid, not_supported, required

from . import rulechecks
from .expressions import environment

Json = dict[str, Any]

_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_URL_FORM = "desired format: https://host[/path]"
_PORT = re.compile(r":([^:\]]*)$")


def configuration_faults(new: Json, _: Json | None) -> Iterator[Cause]:
    """A MutatingWebhookConfiguration or ValidatingWebhookConfiguration."""
    names: set[str] = set()
    for index, webhook in enumerate(new.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        yield from _webhook(webhook, path)
        name = webhook.get("name") or ""
        if name and name in names:
            yield duplicate(f"{path}.name", name)
        names.add(name)


def _webhook(webhook: Json, path: str) -> Iterator[Cause]:
    yield from _name(str(webhook.get("name") or ""), f"{path}.name")
    yield from rulechecks.rules(webhook.get("rules"), f"{path}.rules")
    yield from rulechecks.choice(webhook, "failurePolicy", path, ("Fail", "Ignore"))
    yield from rulechecks.choice(webhook, "matchPolicy", path, ("Equivalent", "Exact"))
    yield from rulechecks.choice(webhook, "reinvocationPolicy", path, ("IfNeeded", "Never"))
    effects = webhook.get("sideEffects")
    if effects is None:
        yield required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    elif effects not in _SIDE_EFFECTS:
        yield not_supported(f"{path}.sideEffects", effects, _SIDE_EFFECTS)
    timeout = webhook.get("timeoutSeconds")
    if timeout is not None and not 1 <= timeout <= 30:
        yield invalid(f"{path}.timeoutSeconds", timeout, "the timeout value must be between 1 and 30 seconds")
    for key in ("namespaceSelector", "objectSelector"):
        yield from rulechecks.selector(webhook.get(key), f"{path}.{key}")
    yield from _client_config(webhook.get("clientConfig") or {}, f"{path}.clientConfig")
    yield from _versions(webhook.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions")
    yield from rulechecks.conditions(webhook.get("matchConditions"), f"{path}.matchConditions", environment())


def _name(name: str, path: str) -> Iterator[Cause]:
    if not name:
        yield required(path)
    elif faults := metadata.dns1123_subdomain(name):
        yield from (invalid(path, name, why) for why in faults)
    elif name.count(".") < 2:
        yield invalid(path, name, "should be a domain with at least three segments separated by dots")


def _versions(versions: list[str], path: str) -> Iterator[Cause]:
    if not versions:
        yield required(path, "must specify one of v1, v1beta1")
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield invalid(f"{path}[{index}]", version, "duplicate version")
        yield from (invalid(f"{path}[{index}]", version, why) for why in dns1035_label(version))
    if not {"v1", "v1beta1"} & set(versions):
        yield rulechecks.shown_invalid(path, rulechecks.go_list(versions), "must include at least one of v1, v1beta1")


def _client_config(config: Json, path: str) -> Iterator[Cause]:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _url(str(url), f"{path}.url")
    else:
        yield from _service(service or {}, f"{path}.service")
    yield from _bundle(config.get("caBundle"), f"{path}.caBundle")


def _url(url: str, path: str) -> Iterator[Cause]:
    try:
        parse_url(url if "/" in url or ":" in url else f"/{url}")
        parts = urlsplit(url)
        _ = parts.port
    except (EvaluationError, ValueError) as error:
        why = str(error).rpartition(f'"{url}": ')[2]
        if match := _PORT.search(urlsplit(url).netloc):
            why = f'invalid port "{match[0]}" after host'
        yield required(path, f'url must be a valid URL: parse "{url}": {why}; {_URL_FORM}')
        return
    if parts.scheme != "https":
        yield invalid(path, parts.scheme, f"'https' is the only allowed URL scheme; {_URL_FORM}")
    host = parts.netloc.rpartition("@")[2]
    if not host:
        yield invalid(path, host, f"host must be specified; {_URL_FORM}")
    if "@" in parts.netloc:
        yield invalid(path, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid(path, parts.query, "query parameters are not permitted in the URL")


def _service(service: Json, path: str) -> Iterator[Cause]:
    # kube-apiserver 1.32 names the fields the other way round; so that clients see the same, so do we.
    if not service.get("name"):
        yield required(f"{path}.namespace", "service namespace is required")
    if not service.get("namespace"):
        yield required(f"{path}.name", "service name is required")
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        yield invalid(f"{path}.port", port, "port is not valid: must be between 1 and 65535, inclusive")
    target = service.get("path")
    if target is None:
        return
    if not target.startswith("/"):
        yield invalid(f"{path}.path", target, "must start with a '/'")
        return
    steps = target[1:].removesuffix("/").split("/") if target != "/" else []
    for index, step in enumerate(steps):
        if not step:
            yield invalid(f"{path}.path", target, f"segment[{index}] may not be empty")
        else:
            faults = metadata.dns1123_subdomain(step)
            yield from (invalid(f"{path}.path", target, f"segment[{index}]: {why}") for why in faults)


def _bundle(bundle: Any, path: str) -> Iterator[Cause]:
    """A real server takes any bytes, and fails each call. Here what is no certificate is refused at once."""
    if not bundle:
        return
    try:
        text = base64.b64decode(str(bundle), validate=True).decode("ascii")
        ssl.create_default_context(cadata=text)
    except (binascii.Error, ValueError, ssl.SSLError):
        yield invalid(path, bundle, "unable to load root certificates: no certificate in PEM")
