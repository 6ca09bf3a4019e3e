"""The pods of this node, read live before anything goes that one of them could use.

The agent's cache of pods may lag, for a moment after each change and for longer while its watch is broken. A model that
somebody is about to serve must not go for that: so whoever removes asks here first. One list for a pass is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

import structlog

from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError, RuntimeLibraryError
from localmodel.runtime.objects import Pod

from .context import Pass

log = structlog.get_logger(__name__)


class Holders(Protocol):
    """Who may have something open that was discarded."""

    def of(self, key: str) -> Mapping[str, datetime]:
        """The pods that have the storage key mounted, as far as is known: an identity of each, and when it was made."""

    @property
    def unseen_since(self) -> datetime | None:
        """Set where pods may not be read: what was discarded after that moment may still be open."""

    def look(self) -> bool:
        """Makes `of` certain; False where that is not possible now."""


class PodLook:
    """Looks, at most once in a pass."""

    def __init__(self, live: Reader, find_in_use: Callable[[Pass], None]) -> None:
        """`find_in_use` sets `Pass.in_use` from `Pass.pods`."""
        self._live = live
        self._find_in_use = find_in_use

    def look(self, current: Pass) -> bool:
        """Renews `Pass.pods` and `Pass.in_use`; False where they cannot be read now: nothing is removed then.

        True also where they may not be read at all, as under KServe's role: there is no use in waiting for them, and
        `InUse.unseen_since` gives pods their time. `Pass.is_blind` is set in both cases, and then nothing is evicted.
        """
        if not current.has_looked:
            current.has_looked = True
            try:
                current.pods = self._live.list(Pod, fields={"spec.nodeName": current.node.name})
            except ForbiddenError as error:
                current.is_blind = True
                log.debug("the pods of this node may not be read", error=str(error))
            except RuntimeLibraryError as error:
                current.is_blind = current.must_wait = True
                log.warning("nothing is removed while the pods of this node cannot be read", error=str(error))
            else:
                self._find_in_use(current)
        return not current.must_wait

    def holders(self, current: Pass) -> Holders:
        """Those of one pass."""
        return _PodHolders(self, current)


class _PodHolders:
    def __init__(self, look: PodLook, current: Pass) -> None:
        self._look = look
        self._current = current

    def of(self, key: str) -> Mapping[str, datetime]:
        return self._current.in_use.pods.get(key, {})

    @property
    def unseen_since(self) -> datetime | None:
        return self._current.in_use.unseen_since

    def look(self) -> bool:
        return self._look.look(self._current)
