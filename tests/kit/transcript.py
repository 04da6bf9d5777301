"""The transcript of tests/demo.cast: docs/WALK.md has all of it, README.md parts of it.

``python -m tests.kit.transcript`` runs the commands of tests/demo.cast again, records them in its
place, and writes the new transcript into docs/WALK.md and the new key IDs into README.md.
"""

import json
import re
import subprocess
import sysconfig
from pathlib import Path

from filer.shell.recording import asciicast
from tests.kit.paths import CHECKOUT

HOUSE = CHECKOUT
README = HOUSE / "README.md"
WALK = HOUSE / "docs" / "WALK.md"
CAST = HOUSE / "tests" / "demo.cast"
FILER = Path(sysconfig.get_path("scripts")) / "filer"

GAP = "...\n"
"""Marks one or more omitted lines in the README."""

_BLOCK = re.compile(r"(<!-- (?:transcript|walk): begin -->\n```\n)(.*?)(```\n<!-- )", re.S)
_KEY_ID = re.compile(r"\b[0-9A-F]{64}\b")


def recorded() -> str:
    """Return what the recording shows on a terminal."""
    _, *events = map(json.loads, CAST.read_text(encoding="utf-8").splitlines())
    return "".join(text for _, kind, text in events if kind == "o").replace("\r\n", "\n")


def shown(document: Path) -> str:
    """Return the transcript in ``document``."""
    block = _BLOCK.search(document.read_text(encoding="utf-8"))
    assert block is not None
    return block[2]


def typed(transcript: str) -> list[str]:
    """Return the lines with typed text: each has a prompt or a question."""
    _, *events = map(json.loads, CAST.read_text(encoding="utf-8").splitlines())
    markers = [text for _, kind, text in events if kind == "m"]
    prompts = tuple(marker.removeprefix("question: ") for marker in markers)
    return [line for line in transcript.splitlines() if line.startswith(prompts)]


def is_extract(extract: str, whole: str) -> bool:
    """Return whether ``extract`` is ``whole`` with a GAP for each omitted run of lines."""
    lines = extract.splitlines(keepends=True)
    pattern = "".join(r"(?:.*\n)+" if line == GAP else re.escape(line) for line in lines)
    return re.fullmatch(pattern, whole) is not None


def _record_again() -> None:
    """Record the commands again. Raises if a command fails."""
    steps = asciicast.read(CAST.read_bytes()).steps
    lines = [line for step in steps for line in (step.typed, *(r.text for r in step.replies))]
    new = CAST.with_suffix(".new")
    subprocess.run(
        [FILER, "--demo", "-e", "--record", new],
        input="".join(f"{line}\n" for line in lines if line is not None),
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    new.replace(CAST)


def _write() -> None:
    """Write the transcript of the recording, and its key IDs, into the documents."""
    ids = zip(_KEY_ID.findall(shown(WALK)), _KEY_ID.findall(recorded()), strict=True)
    walk = _BLOCK.sub(lambda block: f"{block[1]}{recorded()}{block[3]}", WALK.read_text("utf-8"))
    readme = README.read_text("utf-8")
    for old, new in dict(ids).items():
        readme = readme.replace(old, new)
    WALK.write_text(walk, encoding="utf-8")
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    _record_again()
    _write()
