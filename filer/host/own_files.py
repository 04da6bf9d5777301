"""Recognise files and directories that another user owns or can change."""

import errno
import os
import stat
from pathlib import Path

_WRITABLE_BY_OTHERS = 0o022


def followed(path: Path) -> Path:
    """Return the directory ``path``, or its target if it is a link that the user (or root) owns.

    Raises OSError for a dangling link (a file system may not be mounted) and for one of another
    user.
    """
    if not path.is_symlink():
        return path
    if path.lstat().st_uid not in (os.geteuid(), 0):
        raise PermissionError(errno.EPERM, "a link of another user")
    return Path(os.path.realpath(path, strict=True))  # resolve() raises RuntimeError for a loop


def objection(path: Path, *, directory: bool = False) -> str | None:
    """Return why ``path`` must not be used as our own, or None; a missing path is fine.

    A link is refused, since its target would be changed.  A ``directory`` must be one, and not
    writable by other users.  Raises OSError.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    if directory and not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if directory and status.st_mode & _WRITABLE_BY_OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        return f"can be changed by other users (mode {mode:04o}; needs chmod go-w)"
    return None
