"""/mroot, the root volume, read by the paths of the filer and never beyond it."""

import os
import stat
from pathlib import Path

from filer.errors import FilerError
from filer.quoting import named

LIMIT = 16 * 1024 * 1024
"""Bytes of the largest file that is read."""

_MOST_LINKS = 40
"""Symbolic links followed for one path, as Linux does; more are a loop."""

_NEVER_WAIT = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class UnreadableError(FilerError):
    """Why a file is not read; the text is the reason alone, without the name."""


class NotThereError(UnreadableError):
    """There is no such file."""


class MrootError(FilerError):
    """A path that is not read: ``PATH: REASON``."""


def read_regular(
    path: str | Path, limit: int, *, directory: int | None = None, follow: bool = False
) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Never waits (a FIFO) and touches no device.  ``path`` is relative to the descriptor
    ``directory``, if given; a symbolic link is followed only with ``follow``.
    Raises UnreadableError, or NotThereError.
    """
    flags = _NEVER_WAIT if follow else _NEVER_WAIT | os.O_NOFOLLOW
    try:
        # Looked at before it is opened, since opening alone makes some devices act; and after,
        # since the name may have come to mean another file in between.
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


class Mroot:
    """The files below one directory of the host, under the names that the filer has for them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, path: str) -> bytes:
        """Return the content of ``/mroot/...``, or of ``/etc/...``, which is /mroot/etc/... .

        Raises MrootError for every other path, for a path or a link that leads out of /mroot,
        for anything but a regular file, and for more than ``LIMIT`` bytes.
        """
        try:
            return self._read(self._parts(path))
        except UnreadableError as reason:
            raise MrootError(f"{named(path)}: {reason}") from None

    @staticmethod
    def _parts(path: str) -> list[str]:
        start, _, rest = path.partition("/")
        volume, *parts = rest.split("/")
        if start or volume not in ("mroot", "etc"):
            raise UnreadableError("not in /mroot or /etc of the filer")
        return [volume, *parts] if volume == "etc" else parts

    def _read(self, parts: list[str]) -> bytes:
        trail: list[int] = []
        try:
            trail.append(os.open(self._directory, _NEVER_WAIT | os.O_DIRECTORY))
            return self._walk(trail, parts[::-1])
        except OSError as error:
            raise UnreadableError(error.strerror) from None
        except ValueError:
            raise NotThereError("not a file name") from None
        finally:
            for descriptor in trail:
                os.close(descriptor)

    def _walk(self, trail: list[int], pending: list[str]) -> bytes:
        """Follow ``pending``, last name first, a name at a time.

        ``trail`` holds the open directories from /mroot downwards.  Only names in an open
        directory are ever opened, and no link is followed by the system, so whatever is renamed
        meanwhile, the walk cannot end outside.
        """
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(trail) == 1:
                    raise UnreadableError("leads out of /mroot")
                os.close(trail.pop())
            elif (target := _link_target(name, trail[-1])) is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise UnreadableError("too many levels of symbolic links")
                if target.startswith("/"):
                    target = self._below(target)
                    while len(trail) > 1:
                        os.close(trail.pop())
                pending.extend(reversed(target.split("/")))
            elif pending:
                flags = _NEVER_WAIT | os.O_DIRECTORY | os.O_NOFOLLOW
                trail.append(os.open(name, flags, dir_fd=trail[-1]))
            else:
                return read_regular(name, LIMIT, directory=trail[-1])
        raise UnreadableError("is a directory")

    def _below(self, target: str) -> str:
        """Return the absolute link ``target``, which is a path of the host, relative to /mroot."""
        for directory in (self._directory.absolute(), self._directory.resolve()):
            if target == str(directory) or target.startswith(f"{directory}/"):
                return target[len(str(directory)) :]
        raise UnreadableError("leads out of /mroot")


def _link_target(name: str, directory: int) -> str | None:
    if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return None
    return os.readlink(name, dir_fd=directory)
