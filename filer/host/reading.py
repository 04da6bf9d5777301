"""Reading files that may be links, devices, FIFOs, or too large."""

import os
import stat
from pathlib import Path

from filer.host.errors import FilerError

NEVER_WAIT = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class UnreadableError(FilerError):
    """A file that cannot be read; the text is the reason, without the file name."""


class NotThereError(UnreadableError):
    """A missing file."""


def read_regular(
    path: str | Path, limit: int, *, directory: int | None = None, follow: bool = False
) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Never blocks (on a FIFO) and opens no device.  ``path`` is relative to the descriptor
    ``directory``, if given; a symbolic link is followed only with ``follow``.
    Raises UnreadableError, or NotThereError.
    """
    flags = NEVER_WAIT if follow else NEVER_WAIT | os.O_NOFOLLOW
    try:
        # Check before opening, since opening alone makes some devices act; and again after it,
        # since the file may have been replaced in between.
        _require_regular(os.stat(path, dir_fd=directory, follow_symlinks=follow), limit)
        with open(os.open(path, flags, dir_fd=directory), "rb") as file:  # noqa: PTH123
            _require_regular(os.fstat(file.fileno()), limit)
            content = file.read(limit + 1)
    except FileNotFoundError as error:
        raise NotThereError(error.strerror) from None
    except OSError as error:
        raise UnreadableError(error.strerror) from None
    except ValueError:  # a NUL or a lone surrogate
        raise NotThereError("not a file name") from None
    if len(content) > limit:
        raise _too_large(limit)
    return content


def _require_regular(status: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableError("is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file")
    if status.st_size > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> UnreadableError:
    mib, rest = divmod(limit, 1024 * 1024)
    return UnreadableError(f"larger than {limit // 1024} KiB" if rest else f"larger than {mib} MiB")
