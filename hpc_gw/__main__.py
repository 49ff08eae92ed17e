"""``python -m hpc_gw`` is the command ``hpc-gw``."""

import sys

from hpc_gw.cli import main

if __name__ == "__main__":
    sys.exit(main())
