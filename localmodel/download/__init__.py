"""Fetching one URI into one directory: resumable, verified, and reported on while it runs.

`download` is the whole of it; the `localmodel-download` program (`main`) wraps it in the contract of KServe's
storage-initializer. What others rely on are the files in `DEST/.localmodel/`: `manifest.json` (`Manifest`) and
`progress.json` (`Progress`). Importing this package is cheap, since an idle agent does it to read those files; what it
takes to download is imported when `download` is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from localmodel.download.clock import Clock, SystemClock
from localmodel.download.errors import (
    AuthenticationError,
    CancelledError,
    DestinationError,
    DownloadError,
    IntegrityError,
    InvalidURIError,
    NoSpaceError,
    NotFoundError,
    UnreachableError,
    UnsupportedSchemeError,
)
from localmodel.download.manifest import NOTES_DIR, FileEntry, Manifest, compute_digest, manifest_path
from localmodel.download.progress import Progress, progress_path, read_progress

__all__ = [
    "NOTES_DIR",
    "AuthenticationError",
    "CancelledError",
    "DestinationError",
    "DownloadError",
    "FileEntry",
    "IntegrityError",
    "InvalidURIError",
    "Manifest",
    "NoSpaceError",
    "NotFoundError",
    "Progress",
    "UnreachableError",
    "UnsupportedSchemeError",
    "check_access",
    "compute_digest",
    "download",
    "manifest_path",
    "progress_path",
    "read_progress",
]


def download(
    uri: str,
    dest: Path | str,
    *,
    env: Mapping[str, str] = os.environ,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Clock | None = None,
) -> Manifest:
    """Downloads `uri` into the directory `dest`, which is made if needed, and returns what it consists of.

    Continues what an earlier call left unfinished there. `env` gives credentials, endpoint, patterns and options
    (`DownloadOptions`); `on_progress` gets every progress that is written to `dest`. Raises DownloadError, of the
    subclass that says what was wrong; the parts stay for the next call.
    """
    from localmodel.download.engine import Engine
    from localmodel.download.storageconfig import with_storage_config

    env = with_storage_config(env)
    return Engine(uri=uri, dest=Path(dest), env=env, clock=clock or SystemClock(), on_progress=on_progress).run()


def check_access(uri: str, *, env: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
    """Returns if the credentials in `env` can read `uri`, of which one byte is fetched; raises DownloadError if not."""
    from localmodel.download.access import check
    from localmodel.download.storageconfig import with_storage_config

    check(uri, env=with_storage_config(env), clock=clock or SystemClock())
