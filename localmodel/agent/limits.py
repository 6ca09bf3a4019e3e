"""How much room models may take on this node, and from where on they are evicted: what its node groups say.

Groups are not watched. They are read live when a download is about to start or waits, at most once in a pass, and what
was read is remembered for whoever needs it otherwise: until the manager tells of a change by an annotation of the
LocalModelNode, or for ten minutes, as another manager tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from localmodel.api.config import LocalModelConfig
from localmodel.api.names import is_object_name
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import parse_quantity

from .errors import DownloadSetupError

MEMORY_SECONDS: Final = 600.0
"""How long what was read of the cluster is good enough for what is not urgent."""
_PERCENT: Final = 100

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bytes that models may take, and the two watermarks of that; None where no group sets a limit.

    `group` is the name of the one that does. The percentages are those of the volume's own watermarks.
    """

    limit: int | None = None
    group: str = ""
    high: int | None = None
    low: int | None = None
    high_percent: int
    low_percent: int


@dataclass(frozen=True, slots=True)
class _Said:
    """What a group says, when it was read by the monotonic clock, and what the annotation was then."""

    limit: int | None
    high_percent: int | None
    low_percent: int | None
    read: float
    told: str


class GroupLimits:
    """The node groups as they were last read. `group` raises ApiError and TransportError; `bounds` never fails."""

    def __init__(self, live: Reader, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._said: dict[str, _Said] = {}
        self._told = ""
        """The annotation as the pass finds it."""
        self._unreadable: set[str] = set()
        """Groups that could not be read in this pass."""
        self._bounds: tuple[object, Bounds] | None = None
        """What was asked last in this pass, and the answer: each download that waits asks for it."""

    def begin(self, told: str) -> None:
        """A pass begins. `told`: the value of GROUP_LIMITS_ANNOTATION, which is another when what groups say is."""
        self._told = told
        self._unreadable.clear()
        self._bounds = None

    def group(self, name: str) -> LocalModelNodeGroup | None:
        """The group, read live; None where there is none, which goes without asking for what is no name."""
        found = self._live.find(LocalModelNodeGroup, name) if is_object_name(name) else None
        self._remember(name, found)
        return found

    def _remember(self, name: str, group: LocalModelNodeGroup | None) -> None:
        self._bounds = None
        eviction = group.spec.eviction if group is not None else None
        try:
            limit = limit_of(group) if group is not None else None
        except DownloadSetupError as error:
            log.warning("storage limit of a node group is not known", group=name, error=str(error))
            limit = None
        self._said[name] = _Said(
            limit=limit,
            high_percent=eviction.high_watermark_percent if eviction is not None else None,
            low_percent=eviction.low_watermark_percent if eviction is not None else None,
            read=self._clock.monotonic(),
            told=self._told,
        )

    def bounds(self, names: Iterable[str], config: LocalModelConfig) -> Bounds:
        """The tightest of what these groups say; a group that says no watermark has that of the configuration."""
        asked = frozenset(names), config.high_watermark_percent, config.low_watermark_percent
        if self._bounds is None or self._bounds[0] != asked:
            # Made first: to read a group forgets what was asked before.
            bounds = self._tightest(asked[0], config)
            self._bounds = asked, bounds
        return self._bounds[1]

    def _tightest(self, names: Iterable[str], config: LocalModelConfig) -> Bounds:
        known = [name for name in sorted(set(names)) if name and self._recall(name) is not None]
        said = [self._said[name] for name in known]
        high = [_percent(s.high_percent, config.high_watermark_percent) for s in said]
        low = [
            min(_percent(s.low_percent, config.low_watermark_percent), top) for s, top in zip(said, high, strict=True)
        ]
        limited = [
            (s.limit, name, s.limit * h // _PERCENT, s.limit * lo // _PERCENT)
            for name, s, h, lo in zip(known, said, high, low, strict=True)
            if s.limit is not None
        ]
        return Bounds(
            limit=min((each[0] for each in limited), default=None),
            group=min(limited)[1] if limited else "",
            high=min((each[2] for each in limited), default=None),
            low=min((each[3] for each in limited), default=None),
            high_percent=min(high, default=config.high_watermark_percent),
            low_percent=min(low, default=config.low_watermark_percent),
        )

    def _recall(self, name: str) -> _Said | None:
        if name not in self._unreadable and not self._is_fresh(name):
            try:
                self.group(name)
            except RuntimeLibraryError as error:
                self._unreadable.add(name)
                log.warning("a node group cannot be read", group=name, error=str(error))
        return self._said.get(name)

    def _is_fresh(self, name: str) -> bool:
        known = self._said.get(name)
        if known is None or known.told != self._told:
            return False
        return self._clock.monotonic() - known.read < MEMORY_SECONDS


def limit_of(group: LocalModelNodeGroup) -> int | None:
    """The group's storageLimit in bytes; raises DownloadSetupError for one that cannot be read."""
    try:
        return parse_quantity(group.spec.storage_limit) if group.spec.storage_limit else None
    except ValueError as error:
        raise DownloadSetupError(f"storageLimit of LocalModelNodeGroup {group.name}: {error}") from error


def _percent(said: int | None, configured: int) -> int:
    return configured if said is None else min(max(said, 0), _PERCENT)
