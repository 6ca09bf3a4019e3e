"""The start of `localmodel-agent`: see `program`. What comes before it keeps the process small."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from .lean import import_libraries


def main(argv: Sequence[str] | None = None, env: Mapping[str, str] = os.environ) -> int:
    """See `program.main`."""
    import_libraries()
    # Imported here: it imports them, too.
    from . import program

    return program.main(argv, env)


if __name__ == "__main__":
    sys.exit(main())
