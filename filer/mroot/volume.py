"""/mroot, the root volume: read files by their filer paths, and never outside /mroot."""

import os
import stat
from pathlib import Path

from filer.host.errors import FilerError
from filer.host.quoting import named
from filer.host.reading import NEVER_WAIT, NotThereError, UnreadableError, read_regular

LIMIT = 16 * 1024 * 1024
"""Maximum size in bytes of a file to read."""

_MOST_LINKS = 40
"""Symbolic links followed for one path, as on Linux; more are treated as a loop."""


class MrootError(FilerError):
    """A path cannot be read; the text is ``PATH: REASON``."""


class Mroot:
    """The files below one directory of the host, addressed by their filer paths."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, path: str) -> bytes:
        """Return the content of ``/mroot/...``, or of ``/etc/...``, which means /mroot/etc/... .

        Raises MrootError for any other path, for a path or a link that leads out of /mroot, for
        anything but a regular file, and for a file of more than ``LIMIT`` bytes.
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
        """Resolve the names in ``pending``, from last to first, and read the file.

        ``trail`` holds the open directories from /mroot downwards.  Each name is opened relative to
        an open directory, and the kernel follows no link, so renames during the walk cannot lead
        it out of /mroot.
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
        """Return the part below /mroot of ``target``, an absolute link target on the host."""
        for directory in (self._directory.absolute(), self._directory.resolve()):
            if target == str(directory) or target.startswith(f"{directory}/"):
                return target[len(str(directory)) :]
        raise UnreadableError("leads out of /mroot")


def _link_target(name: str, directory: int) -> str | None:
    if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return None
    return os.readlink(name, dir_fd=directory)
