"""Recognise files and directories that another user owns or can change."""

import errno
import os
import stat
from pathlib import Path

_WRITABLE_BY_OTHERS = 0o022
_READABLE_BY_OTHERS = 0o044


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


def exposure(path: Path, *, secret: bool = False) -> str | None:
    """Return how other users can change a file, as sshd's StrictModes does, or None.

    Checks its directory too.  With ``secret``, others must not be able to read the file either.
    The text begins with the name of the file or directory.  Raises OSError.
    """
    directory = path.parent
    for each, name in (
        (directory, f"{directory.name}/"),
        (path, f"{directory.name}/{path.name}"),
    ):
        status = each.lstat()
        if stat.S_ISLNK(status.st_mode):
            return f"{name}: a symbolic link, which is not followed"
        if status.st_uid not in (0, os.geteuid()):
            return f"{name}: belongs to another user"
        if status.st_mode & _WRITABLE_BY_OTHERS:
            return f"{name}: others can change it; run chmod go-rwx on it"
        if secret and each == path and status.st_mode & _READABLE_BY_OTHERS:
            return f"{name}: others can read it; run chmod go-rwx on it"
    return None


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
