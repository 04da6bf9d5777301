"""Writing to a standard stream, which may be full, closed, or nobody's."""

from typing import TextIO

from commands import OutputLost


def write(stream: TextIO, text: str) -> None:
    """Write ``text`` at once.  Raises OutputLost if that is not possible."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise OutputLost(None) from None
    except OSError as error:
        raise OutputLost(error.strerror) from None
