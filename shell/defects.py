"""A defect of the program, said in one line: what and where, but no values.

A traceback would show values, and one of them may be a secret.
"""

from pathlib import Path


def describe(defect: BaseException) -> str:
    """Return the kind of ``defect`` and the place that raised it."""
    from traceback import extract_tb

    frames = extract_tb(defect.__traceback__)
    if not frames:
        return type(defect).__name__
    path = Path(frames[-1].filename)
    return f"{type(defect).__name__} at {path.parent.name}/{path.name}:{frames[-1].lineno}"
