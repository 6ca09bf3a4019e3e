"""`Environment`: an API server for a test, with its clients and kubeconfigs (controller-runtime's envtest).

By default it is the embedded API server in this process, over HTTPS on a free port, with authentication and RBAC; the
environment can ask for a stock kube-apiserver or for a cluster that is there (`controlplane.choice`). kubectl and any
other client work with it. It has no controllers of ours: nothing schedules pods or collects garbage.

On a server that tests share, an environment removes at its end what it made itself, namespaces and what `install`
applied, and nothing else.
"""

from __future__ import annotations

import itertools
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from localmodel.runtime.errors import ApiError, NoKindMatchError, NotFoundError
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import CustomResourceDefinition, Namespace, Object, ObjectMeta, Unstructured
from localmodel.runtime.rest import LiveClient

from . import install
from .apiserver.audit import AuditRecord
from .apiserver.kubeconfig import kubeconfig, write_kubeconfig
from .apiserver.server import ApiServer
from .controllers.kinds import served_kinds
from .controlplane.base import ControlPlane, ControlPlaneError
from .controlplane.choice import SHARED, choose

USER_AGENT = "envtest/1"
DEFINITION_TIMEOUT = 20.0
"""Seconds in which a definition has to be served, and to be gone after its deletion."""
_POLL = 0.02

Json = dict[str, Any]


class Environment:
    """Usage: `with Environment(crds=[Path("config/crd")]) as environment: environment.client().list(...)`."""

    def __init__(
        self, *, crds: Iterable[Path | Json] = (), control_plane: ControlPlane | None = None, audit: bool = False
    ) -> None:
        """`crds`: definitions to install at the start; see `install`. `control_plane`: one that was not started, which
        this environment starts and stops; by default the environment variables choose. `audit`: whether `audit` has
        to work. Raises ControlPlaneError.
        """
        self.control_plane = control_plane or choose(os.environ, audit=audit)
        self._is_chosen = control_plane is None and self.control_plane.is_shared
        # Then it is one of the process, which other environments use as well; one that was given is this one's.
        self._crds = tuple(crds)
        self._directory = tempfile.TemporaryDirectory(prefix="localmodel-envtest-")
        self._clients: list[LiveClient] = []
        self._numbers = itertools.count()
        self._made: list[Object] = []
        """What this environment created on a shared server, in that order."""

    @property
    def url(self) -> str:
        return self.control_plane.url

    @property
    def server(self) -> ApiServer:
        """The embedded server itself. Raises UnsupportedError where it is another."""
        return self.control_plane.server

    def start(self) -> None:
        """Returns when the server answers and the definitions are installed.

        Raises ControlPlaneError, and what `install` raises.
        """
        if self._is_chosen:
            self.control_plane = SHARED.started(self.control_plane)
        else:
            self.control_plane.start()
        self.install(*self._crds)

    def stop(self) -> None:
        """Removes what was made on a shared server, else ends it with its watches; ends the clients. Idempotent."""
        try:
            self._remove()
        finally:
            while self._clients:
                self._clients.pop().close()
            if not self._is_chosen:
                self.control_plane.stop()
            self._directory.cleanup()

    def kubeconfig(
        self,
        user: str = "admin",
        *,
        groups: Sequence[str] | None = None,
        token: str | None = None,
        namespace: str = "default",
    ) -> Path:
        """A kubeconfig of a cluster administrator of that name; with `groups`, of a user who is in just these groups
        (perhaps none); with `token`, of whomever it belongs to.

        A file of its own for each call: clients read theirs again, and must not come to be another user.
        """
        path = Path(self._directory.name) / f"kubeconfig-{next(self._numbers)}"
        credentials = {"token": token} if token else self.control_plane.user(user, groups)
        cluster = self.control_plane.cluster()
        write_kubeconfig(path, kubeconfig(cluster=cluster, user=user, credentials=credentials, namespace=namespace))
        return path

    def client(
        self,
        user: str = "admin",
        *,
        groups: Sequence[str] | None = None,
        token: str | None = None,
        user_agent: str = USER_AGENT,
    ) -> LiveClient:
        """A client of its own, closed at `stop`; whose, see `kubeconfig`."""
        client = LiveClient(load_config(self.kubeconfig(user, groups=groups, token=token), user_agent=user_agent))
        self._clients.append(client)
        return client

    def namespace(self, prefix: str = "test") -> str:
        """Makes a namespace that nobody else has; its name."""
        name = unique(prefix)
        made = self.client().create(Namespace(metadata=ObjectMeta(name=name)))
        if self.control_plane.is_shared:
            self._made.append(made)
        return name

    def service_account_token(self, namespace: str, name: str) -> str:
        """A bearer token of a service account that exists, good for a day. Raises ApiError."""
        return install.service_account_token(self.client(), namespace, name)

    def token_for(self, user: str, groups: Sequence[str] = ()) -> str:
        """A bearer token of any user. Raises UnsupportedError where only service accounts have tokens."""
        return self.control_plane.token_for(user, groups)

    def audit(self, user_agent: str = "") -> list[AuditRecord]:
        """The requests that were answered so far, of one user agent or of all. Raises UnsupportedError."""
        return [line for line in self.control_plane.audit() if user_agent in ("", line.user_agent)]

    def end_watches(self, resource: str) -> int:
        """Ends the watches of a resource ("configmaps"); how many. Raises UnsupportedError."""
        return self.control_plane.end_watches(resource)

    def compact(self) -> None:
        """Makes the server forget its history: older resource versions are 410. Raises UnsupportedError."""
        self.control_plane.compact()

    def install(self, *manifests: Path | Json) -> list[Unstructured]:
        """Applies manifests: objects, YAML files, or directories of YAML files; what was stored.

        Returns when the definitions among them are served; a custom resource may follow its definition. Raises
        ApiError, OSError, ValueError for a kind that is not served, and ControlPlaneError for a definition that is not
        served in time and for an object that somebody else has on a cluster that is not ours.
        """
        documents = [document for manifest in manifests for document in _documents(manifest)]
        stored: list[Unstructured] = []
        while documents:
            # A client of its own after each definition: it learns what is served from then on.
            client = self.client()
            while documents:
                obj = self._apply(client, documents.pop(0))
                stored.append(obj)
                if obj.mapping.gvk == CustomResourceDefinition.mapping.gvk and not _are_definitions(documents[:1]):
                    break
            self._wait_until_served(client, stored)
        return stored

    def _apply(self, client: LiveClient, document: Json) -> Unstructured:
        try:
            kind = client.kind(document["apiVersion"], document["kind"])
        except NoKindMatchError as error:
            raise ValueError(
                f"{document['kind']} ({document['apiVersion']}) is not served: install its CRD first"
            ) from error
        obj = kind.from_dict(document)
        if not self.control_plane.is_shared:
            return client.apply(obj, field_owner=install.FIELD_OWNER, force=True)
        before = client.find(kind, obj.name, namespace=obj.namespace)
        if before is not None and not self._is_own(before):
            raise ControlPlaneError(
                f"{self.control_plane.name} has a {document['kind']} {obj.key} that this test did not make: remove it, "
                "or run the test on another API server"
            )
        applied = client.apply(obj, field_owner=install.FIELD_OWNER, force=True)
        if before is None:
            self._made.append(applied)
        return applied

    def _is_own(self, obj: Object) -> bool:
        """Made here, or in a namespace made here."""
        own = {made.metadata.uid for made in self._made}
        namespaces = {made.name for made in self._made if made.mapping.gvk == Namespace.mapping.gvk}
        return obj.metadata.uid in own or obj.namespace in namespaces

    def _wait_until_served(self, client: LiveClient, stored: list[Unstructured]) -> None:
        until = time.monotonic() + DEFINITION_TIMEOUT
        for obj in stored:
            if obj.mapping.gvk == CustomResourceDefinition.mapping.gvk:
                while not _is_served(client, obj.name):
                    if time.monotonic() >= until:
                        raise ControlPlaneError(f"{obj.name} is not served after {DEFINITION_TIMEOUT:g} s")
                    time.sleep(_POLL)

    def _remove(self) -> None:
        """Deletes what was made, last first, and waits until definitions are gone: the next test may install them."""
        if not self._made:
            return
        client = self.client()
        made, self._made = self._made[::-1], []
        for obj in made:
            try:
                client.delete(obj)
            except NotFoundError:
                continue
        until = time.monotonic() + DEFINITION_TIMEOUT
        for obj in made:
            if obj.mapping.gvk == CustomResourceDefinition.mapping.gvk:
                while client.find(CustomResourceDefinition, obj.name) is not None:
                    if time.monotonic() >= until:
                        raise ControlPlaneError(
                            f"{obj.name} is still there {DEFINITION_TIMEOUT:g} s after its deletion: do its objects "
                            "have finalizers?"
                        )
                    time.sleep(_POLL)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def unique(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}-{secrets.token_hex(4)}"


def _are_definitions(documents: list[Json]) -> bool:
    return bool(documents) and documents[0].get("kind") == CustomResourceDefinition.mapping.gvk.kind


def _is_served(client: LiveClient, name: str) -> bool:
    """The definition is established, and the server answers for its kinds."""
    mappings = served_kinds(client.get(CustomResourceDefinition, name))
    try:
        for mapping in mappings:
            client.list(Unstructured.of(mapping), limit=1)
    except ApiError as error:
        if error.code not in (404, 429, 503):
            raise
        return False
    return bool(mappings)


def _documents(manifest: Path | Json) -> list[Json]:
    if isinstance(manifest, dict):
        return [manifest]
    files = sorted(manifest.glob("*.yaml")) if manifest.is_dir() else [manifest]
    found = [document for path in files for document in yaml.safe_load_all(path.read_text())]
    return [document for document in found if document and document.get("kind") != "Kustomization"]
