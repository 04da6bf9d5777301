"""The standard streams of a server, which may lose them while it runs."""

import io
import sys
from typing import TextIO, cast

from filer.host.standard_streams import abandon


class HostOutput:
    """Standard output and standard error: what cannot be written is dropped once ``is_up`` is set.

    Until then, a failure to write ends the program, as it does elsewhere.  A stream that has failed
    drops all later output.  ``lost`` has the reason for each such stream, until it is logged.
    """

    def __init__(self) -> None:
        self.is_up = self.has_failed = False
        self.lost: list[str] = []
        self.out = cast(TextIO, _Stream(sys.stdout, "standard output", self))
        self.err = cast(TextIO, _Stream(sys.stderr, "standard error", self))

    def fail(self, stream: TextIO, name: str, error: OSError) -> None:
        """Drop what ``stream`` could not write, and its later output; raise ``error`` at start."""
        if not self.is_up:
            raise error
        self.has_failed = True
        self.lost.append(f"cannot write {name}: {error.strerror}; its lines are dropped")
        abandon(stream)


class _Stream(io.TextIOBase):
    def __init__(self, stream: TextIO, name: str, output: HostOutput) -> None:
        self._stream, self._name, self._output = stream, name, output

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._output.fail(self._stream, self._name, error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._output.fail(self._stream, self._name, error)

    def isatty(self) -> bool:
        return self._stream.isatty()
