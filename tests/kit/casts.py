"""Recordings of sessions that never were."""

import json
from collections.abc import Sequence
from pathlib import Path

HEADER = '{"version": 2, "width": 80, "height": 24}\n'


def cast(path: Path, *steps: tuple[str, str, Sequence[tuple[str, str]]]) -> Path:
    """Write a recording of prompts, lines, and questions with their answers."""
    events: list[tuple[float, str, str]] = [(0.0, "m", "session: interactive")]
    for prompt, line, replies in steps:
        for asked, reply in ((f"{prompt} {line}", line), *replies):
            events += [(0.0, "m", asked), (0.0, "i", f"{reply}\r")]
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    path.write_text(f"{HEADER}{lines}", encoding="utf-8")
    return path
