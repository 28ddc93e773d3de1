"""`python -m rarefy` is the command `rarefy`."""

import sys

from rarefy.tools.cli import main

sys.exit(main())
