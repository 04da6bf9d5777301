"""A defect of the program, said in one line: what and where, but no values.

A traceback would show values, and one of them may be a secret.
"""

from pathlib import Path

from filer.host.text import printable


def describe(defect: BaseException) -> str:
    """Return the kind of ``defect`` and the place that raised it."""
    from traceback import extract_tb

    frames = extract_tb(defect.__traceback__)
    if not frames:
        return printable(type(defect).__name__)
    path = Path(frames[-1].filename)
    place = f"{path.parent.name}/{path.name}:{frames[-1].lineno}"
    return printable(f"{type(defect).__name__} at {place}")
