"""The file descriptors of the process, which may run out."""

import os
from contextlib import ExitStack
from errno import EMFILE, ENFILE

from filer.host.errors import FilerError

NEEDED = 32
"""How many a console with four key servers needs at most, and some to spare."""

TOO_FEW = "too few file descriptors are free; raise the limit (ulimit -n)"


def require_descriptors(count: int = NEEDED) -> None:
    """Raise FilerError unless ``count`` file descriptors are free."""
    with ExitStack() as stack:
        try:
            for _ in range(count):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if has_too_few(error):
                raise FilerError(TOO_FEW) from None
            raise


def has_too_few(error: BaseException) -> bool:
    """Say whether ``error`` means that no file descriptor is left, here or on the host."""
    return isinstance(error, OSError) and error.errno in (EMFILE, ENFILE)
