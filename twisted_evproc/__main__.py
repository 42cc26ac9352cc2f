"""``python -m twisted_evproc`` is ``evproc``."""

import sys

from .cli import main

sys.exit(main())
