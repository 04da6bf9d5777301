"""Count the work that Python does, instead of timing it."""

import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any


def steps_of(work: Callable[[], object], *modules: ModuleType) -> int:
    """Return how many lines of ``modules`` ``work`` executes."""
    files = {module.__file__ for module in modules}
    steps = 0

    def trace(frame: FrameType, what: str, _: Any) -> Any:
        nonlocal steps
        if what == "call" and frame.f_code.co_filename not in files:
            return None
        steps += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps
