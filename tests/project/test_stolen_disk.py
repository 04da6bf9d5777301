"""docs/STOLEN_DISK.md: every command runs and prints the output that is shown."""

from pathlib import Path

from filer.shell.recording.volatile import Pairing
from tests.kit import walkthrough


def test_the_document_shows_what_happens_today(tmp_path: Path) -> None:
    document = walkthrough.DOCUMENT.read_text(encoding="utf-8")

    today = walkthrough.perform(document, tmp_path)

    shown, done = Pairing().lines(document, today)
    assert done == shown


def test_an_output_that_is_not_what_happens_is_noticed(tmp_path: Path) -> None:
    shown = "$ cat <<'END'\n> one\n>\n> two\n> END\n{}```\nand\n```pycon\n>>> 3 * 4\n{}"
    document = f"```console\n{shown}```\n"

    assert walkthrough.perform(document.format("three\n", "34\n"), tmp_path) == (
        document.format("one\n\ntwo\n", "12\n")
    )
