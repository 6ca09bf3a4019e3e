"""May these credentials read a URI? Asked of the source itself, without downloading the model.

A listing proves nothing: hubs list the files of a gated model to everybody. So the largest file, which is what there is
to protect, is opened as a download would open it, and its first byte is read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing

import structlog

from localmodel.download.clock import Clock
from localmodel.download.errors import DownloadError, NotFoundError, redact_uri
from localmodel.download.filters import PathFilter
from localmodel.download.options import DownloadOptions
from localmodel.download.retry import with_retries
from localmodel.download.sources import source_for
from localmodel.download.sources.base import PlannedFile, Source

log = structlog.get_logger(__name__)


def check(uri: str, *, env: Mapping[str, str], clock: Clock, source: Source | None = None) -> None:
    """Returns if a file of `uri` can be read; raises DownloadError, of the subclass that says why not.

    `source` stands in for the one that the URI names.
    """
    try:
        _check(uri, env=env, clock=clock, source=source)
    except DownloadError as error:
        error.name_uri(redact_uri(uri))
        raise


def _check(uri: str, *, env: Mapping[str, str], clock: Clock, source: Source | None) -> None:
    options, wanted, stop = DownloadOptions.from_env(env), PathFilter.from_env(env), threading.Event()
    source = source or source_for(uri, env=env, options=options)
    plan = with_retries(source.resolve, options=options, clock=clock, stop=stop)
    files = [file for file in plan.files if plan.archive is not None or wanted.wants(file.path)]
    if not files:
        raise NotFoundError(f"{redact_uri(uri)} has no file that the patterns let through")
    largest = max(files, key=lambda file: file.size or 0)
    with_retries(lambda: _read_from(largest), options=options, clock=clock, stop=stop)
    log.info("the source can be read", uri=redact_uri(uri), revision=plan.revision, path=largest.path)


def _read_from(file: PlannedFile) -> None:
    with closing(file.open(0)) as stream:
        stream.read(1)
