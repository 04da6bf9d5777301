"""The transcript of the README: what tests/demo.cast shows, put into its place.

``python -m tests.transcript`` runs the commands of tests/demo.cast again, records them in its
place, and writes the new transcript into README.md.
"""

import re
import subprocess
import sysconfig
from pathlib import Path

from filer.shell.recording import asciicast

HOUSE = Path(__file__).parent.parent
README = HOUSE / "README.md"
CAST = HOUSE / "tests" / "demo.cast"
FILER = Path(sysconfig.get_path("scripts")) / "filer"

_PLACE = re.compile(
    r"(<!-- transcript: begin -->\n```\n)(.*?)(```\n<!-- transcript: end -->)", re.S
)


def recorded() -> str:
    """Return what the recording shows on a terminal."""
    return asciicast.output(CAST.read_bytes())


def shown() -> str:
    """Return the transcript that stands in the README."""
    place = _PLACE.search(README.read_text(encoding="utf-8"))
    assert place is not None
    return place[2]


def _record_again() -> None:
    """Replace the recording by one of today.  Raises if a command fails."""
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


if __name__ == "__main__":
    _record_again()
    text = _PLACE.sub(
        lambda place: f"{place[1]}{recorded()}{place[3]}", README.read_text(encoding="utf-8")
    )
    README.write_text(text, encoding="utf-8")
