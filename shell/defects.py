"""Reports of defects in the program or a plug-in: exception types and places only.

Exception texts, variables and source lines are left out: they may hold a secret.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from filer.host.descriptors import TOO_FEW, has_too_few
from filer.host.text import printable

_MOST_EXCEPTIONS = 10
_MOST_CALLS = 50
_IMPORT = "<frozen importlib"
"""The prefix of the file names of the import system."""


def describe(defect: BaseException) -> str:
    """Return the type of ``defect`` and the place that raised it."""
    calls = list(_calls(defect.__traceback__))
    if not calls:
        return printable(type(defect).__name__)
    file, line, _ = calls[-1]
    path = Path(file)
    return printable(f"{type(defect).__name__} at {path.parent.name}/{path.name}:{line}")


def explain(defect: BaseException, environment: Mapping[str, str] = os.environ) -> str:
    """Return `describe` and, with FILER_DEBUG=1, `traceback_of` of ``defect``, on several lines."""
    return "\n".join([describe(defect), *traceback_of(defect, environment)])


def problem(defect: BaseException) -> str:
    """Return what a user is told of ``defect``: what to do, or that it is an internal error."""
    return TOO_FEW if has_too_few(defect) else f"internal error: {explain(defect)}"


def traceback_of(
    defect: BaseException, environment: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Yield the traceback of ``defect`` line by line, causes first, if FILER_DEBUG is 1."""
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
    """Yield the causes and group members of ``defect``, then ``defect`` itself."""
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
    """Yield file, line and function of each call, the innermost last."""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield code.co_filename, traceback.tb_lineno, code.co_qualname
        traceback = traceback.tb_next
