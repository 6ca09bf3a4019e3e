"""`python -m localmodel.sandbox.apiserver`: the same as `localmodel sandbox apiserver`."""

import sys

from .main import main

sys.exit(main())
