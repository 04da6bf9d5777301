"""The console, as ``python -m filer``."""

import sys

from filer.shell.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
