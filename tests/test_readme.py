"""The README shows what the program does."""

import re
import sys
from pathlib import Path

from tests import transcript
from tests.console import Account


def test_the_transcript_is_what_the_recording_shows() -> None:
    assert transcript.shown() == transcript.recorded()


def test_the_recording_is_what_the_program_does_today(tmp_path: Path) -> None:
    replayed = Account(tmp_path / "home").run("--demo", "--replay", transcript.CAST)

    assert replayed == ("", "", 0)


def test_the_transcript_ends_with_the_second_key_on_locked_disks_and_nothing_unknown() -> None:
    shown = transcript.shown()
    _, second = dict.fromkeys(re.findall(r"^Key ID: ([0-9A-F]{64})$", shown, re.M))

    assert f"0c.00.1    {second} Yes" in shown.rpartition("> reboot\n")[2]
    assert not re.search(r"\*[0-9A-F]{64}", shown)


def test_the_example_for_pexpect_prints_the_output(account: Account) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    ended = account.run("-c", example, program=[sys.executable])

    assert ended == ("hostname\r\nfiler1\r\n\n", "", 0)
