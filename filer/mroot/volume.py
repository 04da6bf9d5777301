"""/mroot, the root volume, read by the paths of the filer and never beyond it."""

import os
import stat
from pathlib import Path

from filer.host.errors import FilerError
from filer.host.quoting import named
from filer.host.reading import NEVER_WAIT, NotThereError, UnreadableError, read_regular

LIMIT = 16 * 1024 * 1024
"""Bytes of the largest file that is read."""

_MOST_LINKS = 40
"""Symbolic links followed for one path, as Linux does; more are a loop."""


class MrootError(FilerError):
    """A path that is not read: ``PATH: REASON``."""


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
            trail.append(os.open(self._directory, NEVER_WAIT | os.O_DIRECTORY))
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
                flags = NEVER_WAIT | os.O_DIRECTORY | os.O_NOFOLLOW
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
