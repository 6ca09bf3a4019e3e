"""The environment of a download process: made from nothing, so that it has what it needs and nothing of the agent's.

From the agent it gets where programs are, how the network is reached, and the options of `localmodel-download`. It gets
neither the agent's own token nor its kubeconfig: what downloads what users name must not speak for the agent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .childplan import FILES

LAST_WORDS: Final = "termination-log"
"""Below its directory: where a download process says why it failed, as a container does in its termination log."""
_TERMINATION_LOG: Final = "TERMINATION_LOG"
_PASSED_ON: Final = frozenset(
    {
        "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    }
)  # fmt: skip
_OPTIONS: Final = "LOCALMODEL_DOWNLOAD_"
_OURS: Final = frozenset({"PATH", "HOME", "TMPDIR", _TERMINATION_LOG, "KUBECONFIG"})
_OUR_PREFIXES: Final = ("LD_", "PYTHON", "MALLOC_")
"""What steers the process itself is not for a container's definition to say: it runs as the agent's user."""


def own_variables(given: Mapping[str, str]) -> dict[str, str]:
    """Those of a container's variables that a download process may have."""
    return {name: value for name, value in given.items() if name not in _OURS and not name.startswith(_OUR_PREFIXES)}


def process_environment(
    own: Mapping[str, str], scratch: Path, *, agent: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """All variables of a download process. `own` are its plan's, `scratch` is its directory."""
    passed = {name: value for name, value in agent.items() if name in _PASSED_ON or name.startswith(_OPTIONS)}
    files = str(scratch / "files")
    return {
        "PATH": os.defpath,
        **passed,
        **{name: value.replace(FILES, files) for name, value in own.items()},
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        _TERMINATION_LOG: str(scratch / LAST_WORDS),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",
    }
