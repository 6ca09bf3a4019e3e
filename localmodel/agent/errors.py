"""The agent's errors. Each carries the CamelCase reason that goes into a condition or a model's status."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import ClassVar


class AgentError(Exception):
    """Base of everything the agent raises on purpose; `reason` is for conditions and `status.models[].reason`."""

    reason: ClassVar[str] = "AgentError"


class StoreError(AgentError):
    """The models root cannot be used as it is."""

    reason = "DiskError"


class StoreLockedError(StoreError):
    """Another agent holds the root. `holder` is what it wrote into the lock file: its node's name."""

    reason = "RootLocked"

    def __init__(self, message: str, *, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class RootNotMountedError(StoreError):
    """The root lacks the marker although models were downloaded to it: most likely its disk is not mounted."""

    reason = "RootNotMounted"


class RootEmptyError(RootNotMountedError):
    """A file system is mounted at the root, and lacks the marker and all models: another disk, or an emptied one."""

    reason = "RootEmpty"


class RootMissingError(StoreError):
    """The root directory does not exist."""

    reason = "RootMissing"


class WrongOwnerError(StoreError):
    """The agent may not write where it must."""

    reason = "WrongOwner"


class ReadOnlyError(StoreError):
    """The file system is read-only."""

    reason = "ReadOnlyFileSystem"


class DiskFullError(StoreError):
    """No space or quota is left."""

    reason = "DiskFull"


class LinkInRootError(StoreError):
    """A symbolic link, or a file, stands where the store keeps a directory or file of its own."""

    reason = "LinkInRoot"


class NotRespondingError(StoreError):
    """The disk does not answer."""

    reason = "DiskNotResponding"


class PathMismatchError(StoreError):
    """Downloads end well and leave nothing here: their volume is another directory than the agent's."""

    reason = "PathMismatch"


class VerificationError(AgentError):
    """A download that its Job calls a success is not whole."""

    reason = "VerificationFailed"


class NothingDownloadedError(VerificationError):
    """A successful Job left no file: usually its volume is not the agent's directory."""

    reason = "NothingDownloaded"


class CredentialsError(AgentError):
    """The entry's credentials cannot be used; the message names the object and key."""

    reason = "CredentialsInvalid"


class CertificatesError(AgentError):
    """The certificates that the download shall trust are not there; the message names the ConfigMap and key."""

    reason = "CertificatesInvalid"


class InsufficientStorageError(AgentError):
    """The model does not fit beside what is there; the message gives the numbers."""

    reason = "InsufficientStorage"


class EvictedError(AgentError):
    """The model was evicted, nobody asks for it, and it does not fit below the low watermark."""

    reason = "Evicted"


class DownloadSetupError(AgentError):
    """A Job cannot be made from what the cluster says: a missing group, a bad ClusterStorageContainer."""

    reason = "DownloadSetupFailed"


class EarlierDownloadError(AgentError):
    """A download of the same model that an earlier agent or LocalModelNode has started has not ended yet."""

    reason = "Waiting"


class CheckImpossibleError(AgentError):
    """The credentials of a cache cannot be proved for a model that others' have brought here."""

    reason = "CredentialsDiffer"


class JobRejectedError(AgentError):
    """The API server refuses the download Job."""

    reason = "JobRejected"


class JobConflictError(AgentError):
    """Another Job has the name of the one that is to be made."""

    reason = "JobConflict"

    def __init__(self, job: str, whose: str) -> None:
        """`job`: namespace and name; `whose` says what it is for, as far as it says."""
        super().__init__(
            f"Job {job} has the name that this one gets and is another's ({whose}): delete it, or wait until it has "
            "ended and its ttlSecondsAfterFinished is over"
        )


class DownloadModeError(AgentError):
    """The agent cannot download this itself (`downloadMode: Agent`); the message says what can."""

    reason = "DownloadModeUnsupported"


def owner_of(path: Path) -> str:
    """Whose a file or directory is, for messages: `owned by 0:0, mode 0755`."""
    try:
        found = path.lstat()
    except OSError as error:
        return f"of an owner that cannot be read ({error.strerror})"
    return f"owned by {found.st_uid}:{found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}"


class _DiskErrors:
    """Written out: a generator would cost a pass over many models as much as the disk does."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, OSError):
            raise _store_error(exc, self._path) from exc


def disk_errors(path: Path) -> AbstractContextManager[None]:
    """Turns an OSError of the block into the StoreError that says what is wrong with `path` and what to do."""
    return _DiskErrors(path)


def _store_error(error: OSError, path: Path) -> StoreError:
    where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
    if error.errno in (errno.EACCES, errno.EPERM):
        ours = f"{os.geteuid()}:{os.getegid()}"
        return WrongOwnerError(
            f"cannot use {where} ({owner_of(where)}, in a directory {owner_of(where.parent)}): {error.strerror}; "
            f"make {path} writable for the agent, which runs as {ours} like the downloads: chown -R {ours} {path}"
        )
    if error.errno == errno.EROFS:
        return ReadOnlyError(f"{where} is on a read-only file system; mount {path} read-write")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"no space is left for {where}; free some on the file system of {path}")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return LinkInRootError(
            f"{where} is a symbolic link, or a file in the place of a directory; the agent follows no links below "
            "its root: put a real one there (to keep models on another disk, mount it at the root)"
        )
    return StoreError(f"{where}: {error.strerror or error}; check the disk below {path}")
