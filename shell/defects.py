"""Defects of the program or of a plug-in: what and where, but no values.

The text of an exception, a variable or a line of source may hold a secret, so none is shown.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from filer.host.text import printable

_MOST_EXCEPTIONS = 10
_MOST_CALLS = 50
_IMPORT = "<frozen importlib"
"""How the names of the files begin that import a module."""


def describe(defect: BaseException) -> str:
    """Return the kind of ``defect`` and the place that raised it."""
    calls = list(_calls(defect.__traceback__))
    if not calls:
        return printable(type(defect).__name__)
    file, line, _ = calls[-1]
    path = Path(file)
    return printable(f"{type(defect).__name__} at {path.parent.name}/{path.name}:{line}")


def explain(defect: BaseException, environment: Mapping[str, str] = os.environ) -> str:
    """Return what `describe` returns and, with FILER_DEBUG=1, `traceback_of` ``defect``."""
    return "\n".join([describe(defect), *traceback_of(defect, environment)])


def traceback_of(
    defect: BaseException, environment: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Yield the calls that led to ``defect``, a line each, if FILER_DEBUG is 1.

    An exception that caused another one comes before it.
    """
    if environment.get("FILER_DEBUG") != "1":
        return
    for exception in _in_order(defect):
        yield printable(f"  {type(exception).__name__}:")
        calls = [
            each for each in _calls(exception.__traceback__) if not each[0].startswith(_IMPORT)
        ]
        for file, line, function in calls[-_MOST_CALLS:]:
            yield printable(f"    {file}:{line} in {function}")


def _in_order(defect: BaseException) -> Iterator[BaseException]:
    """Yield ``defect`` last, and before it what caused it and what it groups."""
    found: list[BaseException] = []
    waiting = [defect]
    while waiting and len(found) < _MOST_EXCEPTIONS:
        exception = waiting.pop()
        if any(exception is known for known in found):
            continue
        found.append(exception)
        if isinstance(exception, BaseExceptionGroup):
            waiting += exception.exceptions
        context = None if exception.__suppress_context__ else exception.__context__
        if cause := exception.__cause__ or context:
            waiting.append(cause)
    return reversed(found)


def _calls(traceback: TracebackType | None) -> Iterator[tuple[str, int, str]]:
    """Yield file, line and function of each call, the innermost one last."""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield code.co_filename, traceback.tb_lineno, code.co_qualname
        traceback = traceback.tb_next
