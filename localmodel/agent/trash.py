"""What is to be deleted: moved away whole first, deleted when nothing mounts it, and told of where that fails.

Part of `store`. An item is named `<storageKey>.<seconds since 1970 when it was discarded>.<number>`, which is all that
must be known of it after a restart. What cannot be deleted is tried again at growing intervals, so that a folder of
another user does not cost every pass a walk and a line in the log (D-13).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from localmodel.runtime.clock import Clock

from .errors import WrongOwnerError, owner_of
from .filesystem import FileSystem

if TYPE_CHECKING:
    from .podlook import Holders

_FIRST_RETRY: Final = 60.0
_LAST_RETRY: Final = 3600.0

log = structlog.get_logger(__name__)


NOTES: Final = "notes"
"""In place of a storage key: of what no pod can ever have mounted."""
_LATER: Final = timedelta(days=1)
"""A pod that is so much younger than an item does not hold it. No clock of a node is further from the API server's."""


class _Nobody:
    unseen_since = None

    def of(self, _key: str) -> Mapping[str, datetime]:
        return {}

    def look(self) -> bool:
        return True


NO_HOLDERS: Final[Holders] = _Nobody()


class Trash:
    """One directory of discarded things. Methods raise OSError."""

    def __init__(self, directory: Path, filesystem: FileSystem, clock: Clock) -> None:
        self.directory = directory
        self._fs = filesystem
        self._clock = clock
        self._count = 0
        self._new: set[str] = set()
        """Names of items that this process has discarded: whoever uses their keys at first sight may hold them."""
        self._held: dict[str, frozenset[str]] = {}
        """By an item's name: the pods that used its key when it was first looked at."""
        self._stuck: dict[str, tuple[str, int, float]] = {}
        """By an item's name: why it cannot be deleted, how often that was tried, when (monotonic) it is tried again."""

    @property
    def stuck(self) -> list[str]:
        """What cannot be deleted: path, cause and what to do."""
        return [told for told, _, _ in self._stuck.values()]

    def discard(self, path: Path, key: str) -> None:
        """Moves a folder here in one step. An empty one that belongs to another user is removed instead.

        Raises WrongOwnerError for one of another user that holds something: such a folder cannot be moved.
        """
        try:
            self._fs.rename(path, self._new_name(key))
        except PermissionError:
            if path.is_symlink() or not path.is_dir():
                raise
            self.remove_foreign(path)

    def remove_foreign(self, path: Path) -> None:
        """See `discard`: a directory that may not be moved may still be removed where it is empty, as those are that
        the kubelet makes for pods (D-05, D-13)."""
        try:
            self._fs.remove_empty_directory(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM):
                raise
            raise WrongOwnerError(
                f"cannot move {path} away: it is {owner_of(path)}, and the agent runs as "
                f"{os.geteuid()}:{os.getegid()}; chown -R {os.geteuid()}:{os.getegid()} {path}, or delete it"
            ) from error

    def _new_name(self, key: str) -> Path:
        while True:
            self._count += 1
            target = self.directory / f"{key}.{int(self._clock.now().timestamp())}.{self._count}"
            if not os.path.lexists(target):
                self._new.add(target.name)
                return target

    def empty(self, holders: Holders) -> int:
        """Deletes what nothing mounts; how many things. See `ModelStore.empty_trash`."""
        deleted = 0
        items = sorted(self.directory.iterdir())
        names = {item.name for item in items}
        self._stuck = {name: stuck for name, stuck in self._stuck.items() if name in names}
        self._held = {name: held for name, held in self._held.items() if name in names}
        self._new &= names
        for item in items:
            if not self._is_due(item.name) or self._is_held(item.name, holders):
                continue
            try:
                self._fs.remove_tree(item)
                self._stuck.pop(item.name, None)
                deleted += 1
            except OSError as error:
                self._keep(item, error)
        return deleted

    def _is_held(self, name: str, holders: Holders) -> bool:
        """Whether a pod may have the item open: one that used its key when it was first seen, and still does.

        Not by comparing times, as far as that can be: the node's clock may differ from the API server's, or jump.
        """
        key, _, rest = name.partition(".")
        if key == NOTES:
            return False
        if self._held.get(name, frozenset()) & holders.of(key).keys():
            return True
        if not holders.look():
            return True
        users, discarded = holders.of(key), datetime.fromtimestamp(_leading_number(rest), tz=UTC)
        if holders.unseen_since is not None and discarded >= holders.unseen_since:
            return True
        if name not in self._held:
            is_new = name in self._new
            self._held[name] = frozenset(uid for uid, made in users.items() if is_new or made <= discarded + _LATER)
        return bool(self._held[name] & users.keys())

    def _is_due(self, name: str) -> bool:
        return name not in self._stuck or self._clock.monotonic() >= self._stuck[name][2]

    def _keep(self, item: Path, error: OSError) -> None:
        tries = self._stuck[item.name][1] + 1 if item.name in self._stuck else 1
        delay = min(_FIRST_RETRY * 2 ** min(tries - 1, 16), _LAST_RETRY)
        where = Path(error.filename or item)
        told = f"cannot delete {where}: {error.strerror or error}"
        if error.errno in (errno.EACCES, errno.EPERM):
            told += (
                f" (in {where.parent}, {owner_of(where.parent)}); delete {item} by hand, or chown -R it to the agent"
            )
        self._stuck[item.name] = told, tries, self._clock.monotonic() + delay
        log.warning(
            "cannot delete a discarded folder, trying again later", path=str(item), error=told, delay=delay, tries=tries
        )


def _leading_number(text: str) -> int:
    digits = text.partition(".")[0]
    return int(digits) if digits.isdigit() and len(digits) < 12 else 0
