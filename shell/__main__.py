"""The program ``filer``."""

import gc
import signal
import sys
from collections.abc import Sequence

from shell.options import parse
from shell.standard_streams import prepare_standard_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    prepare_standard_streams()
    options = parse(argv)
    try:
        from shell.program import run  # --version and --help need none of it

        return run(options)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        # The process ends here: to take all objects apart would cost a tenth of a short run.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
