"""Which files of a source are wanted: the patterns of KServe's storage-initializer.

`STORAGE_ALLOW_PATTERNS` and `STORAGE_IGNORE_PATTERNS` hold a JSON list or a list with commas. A pattern is matched with
`fnmatch` against the path relative to the source's root, where `*` also matches slashes. A pattern that ends in a slash
stands for everything below that directory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from localmodel.download.errors import DownloadError

ALLOW_ENV = "STORAGE_ALLOW_PATTERNS"
IGNORE_ENV = "STORAGE_IGNORE_PATTERNS"


@dataclass(frozen=True, kw_only=True)
class PathFilter:
    """A file is wanted if some `allow` pattern matches it (or there is none) and no `ignore` pattern does."""

    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> PathFilter:
        """Reads both variables. Raises DownloadError when a JSON list holds something other than strings."""
        return cls(allow=_patterns(env, ALLOW_ENV), ignore=_patterns(env, IGNORE_ENV))

    def wants(self, path: str) -> bool:
        """Whether the file at this relative path is to be downloaded."""
        if self.allow and not any(fnmatchcase(path, pattern) for pattern in self.allow):
            return False
        return not any(fnmatchcase(path, pattern) for pattern in self.ignore)


def _patterns(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = env.get(name, "").strip()
    if text.startswith("["):
        try:
            patterns = json.loads(text)
        except ValueError as error:
            raise DownloadError(f"{name} looks like a JSON list but is not one: {error}") from error
        if not all(isinstance(pattern, str) for pattern in patterns):
            raise DownloadError(f"{name} must be a list of strings")
    else:
        patterns = text.split(",")
    stripped = (pattern.strip() for pattern in patterns)
    return tuple(f"{pattern}*" if pattern.endswith("/") else pattern for pattern in stripped if pattern)
