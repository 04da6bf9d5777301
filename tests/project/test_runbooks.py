"""docs/RUNBOOKS.md: each line typed there does what is shown, at two consoles and on the host."""

import re
import sys
from pathlib import Path

import pytest

from tests.kit.runbooks import DOCUMENT, Runbooks, differences

RUNBOOKS = Runbooks(DOCUMENT.read_text(encoding="utf-8"))

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="needs addresses in all of 127.0.0.0/8"
)


def test_each_block_belongs_to_a_terminal() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    begin = r"\*\*(?:filer[12]\*\*\n\n```|host\*\*\n\n```console)\n"

    assert document.count("```") == 2 * len(re.findall(begin, document))


def test_an_output_that_is_not_what_happens_is_noticed(tmp_path: Path) -> None:
    document = (
        "## Before each runbook\n\n## 1. First\n\n**host**\n\n```console\n$ echo two\n{}\n```\n"
    )

    today = Runbooks(document.format("three")).make_pair(tmp_path)

    assert document.format("two").endswith(today)
    assert "\n$ echo two\ntwo\n" in today


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a directory with the pair of the first runbook, and this runbook as it went."""
    directory = tmp_path_factory.mktemp("first")
    return directory, RUNBOOKS.make_pair(directory)


def test_the_first_runbook_shows_what_happens_today(made: tuple[Path, str]) -> None:
    _, today = made

    shown, done = differences(RUNBOOKS.texts[RUNBOOKS.first], today)
    assert done == shown


@pytest.mark.parametrize("title", RUNBOOKS.others)
def test_a_runbook_shows_what_happens_today(
    made: tuple[Path, str], tmp_path: Path, title: str
) -> None:
    directory, _ = made

    today = RUNBOOKS.perform(title, directory, tmp_path)

    shown, done = differences(RUNBOOKS.start + RUNBOOKS.texts[title], "".join(today))
    assert done == shown
