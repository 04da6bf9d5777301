"""The transcript of the README: a run of the installed program, put into its place.

``python -m tests.transcript`` writes a new one into README.md.
"""

import re
import subprocess
import sysconfig
from pathlib import Path

HOUSE = Path(__file__).parent.parent
README = HOUSE / "README.md"
FILER = Path(sysconfig.get_path("scripts")) / "filer"
COMMANDS = HOUSE / "tests" / "transcript.txt"

_PLACE = re.compile(
    r"(<!-- transcript: begin -->\n```\n)(.*?)(```\n<!-- transcript: end -->)", re.S
)
_KEY_ID = re.compile(r"\b[0-9A-F]{64}\b")
_PORT = re.compile(r"(port number for kmip server) \[[0-9]+\]")


def record() -> str:
    """Run the main job and return what it printed.  Raises if it fails or complains."""
    run = subprocess.run(
        [FILER, "--demo", "-x", COMMANDS], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    return run.stdout


def recorded() -> str:
    """Return the transcript that stands in the README."""
    place = _PLACE.search(README.read_text(encoding="utf-8"))
    assert place is not None
    return place[2]


def pattern(transcript: str) -> str:
    """Return ``transcript`` with what differs from run to run replaced by numbered names."""
    names: dict[str, str] = {}
    named = _KEY_ID.sub(
        lambda key_id: names.setdefault(key_id[0], f"KEYID{len(names) + 1}"), transcript
    )
    return _PORT.sub(r"\1 [PORT]", named)


if __name__ == "__main__":
    text = _PLACE.sub(
        lambda place: f"{place[1]}{record()}{place[3]}", README.read_text(encoding="utf-8")
    )
    README.write_text(text, encoding="utf-8")
