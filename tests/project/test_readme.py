"""README.md and the documents that it links to: their commands run and print what they show.

docs/STOLEN_DISK.md, docs/TESTING.md and docs/JSON.md have separate tests.
"""

import re
import sys
from contextlib import AbstractContextManager
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest

from tests.kit import transcript, walkthrough
from tests.kit.console import Account, Terminal
from tests.kit.transcript import HOUSE, README, WALK

DOCS = HOUSE / "docs"
DOCUMENTS = sorted(
    path
    for folder in (HOUSE, DOCS, DOCS / "decisions", HOUSE / "bench", HOUSE / "tests")
    for path in folder.glob("*.md")
)
NOT_HERE_YET = {DOCS / "PLUGINS.md"}
"""Linked documents that do not exist yet."""

PASSWORD = "open-sesame-7"


def code(document: Path, language: str = "") -> list[str]:
    """Return the fenced blocks of one language, or all indented code."""
    text = document.read_text(encoding="utf-8")
    if language:
        return re.findall(rf"```{language}\n(.*?)```", text, re.S)
    return re.findall(r"(?:^    .*\n)+", text, re.M)


def test_the_transcript_is_what_the_recording_shows() -> None:
    assert transcript.shown(WALK) == transcript.recorded()


def test_the_walk_leaves_out_no_line_that_is_typed() -> None:
    walk = transcript.shown(README)

    assert transcript.is_extract(walk, transcript.recorded())
    assert transcript.typed(walk) == transcript.typed(transcript.recorded())


@pytest.mark.parametrize("changed", ["...", "yes", "Locked?", "...\nKey ID"])
def test_a_walk_that_differs_from_the_recording_is_noticed(changed: str) -> None:
    walk = transcript.shown(README).replace(changed, "", 1)

    assert not transcript.is_extract(walk, transcript.recorded())


def test_the_recording_is_what_the_program_does_today(tmp_path: Path) -> None:
    replayed = Account(tmp_path / "home").run("--demo", "--replay", transcript.CAST)

    assert replayed == ("", "", 0)


def test_the_transcript_ends_with_the_second_key_on_locked_disks_and_nothing_unknown() -> None:
    shown = transcript.shown(WALK)
    _, second = dict.fromkeys(re.findall(r"^Key ID: ([0-9A-F]{64})$", shown, re.M))

    assert f"0c.00.1    {second} Yes" in shown.rpartition("> reboot\n")[2]
    assert not re.search(r"\*[0-9A-F]{64}", shown)


@pytest.mark.parametrize("name", ["README.md", "docs/SCRIPTS.md", "docs/KEY_SERVERS.md"])
def test_each_command_prints_what_the_document_shows(tmp_path: Path, name: str) -> None:
    document = (HOUSE / name).read_text(encoding="utf-8")

    assert code(HOUSE / name, "console")
    assert _timeless(walkthrough.perform(document, tmp_path)) == _timeless(document)


def _timeless(document: str) -> str:
    return re.sub(r'(?<="duration_s": )[0-9.]+', "0", document)


@pytest.mark.parametrize("name", ["README.md", "docs/SCRIPTS.md"])
def test_the_example_for_pexpect_prints_the_output(account: Account, name: str) -> None:
    (example,) = (block for block in code(HOUSE / name, "python") if "import pexpect" in block)
    ended = account.run("-c", example, program=[sys.executable])

    assert ended == ("hostname\r\nfiler1\r\n\n", "", 0)


def test_the_example_for_tcl_expect_prints_the_output(account: Account) -> None:
    (example,) = code(DOCS / "SCRIPTS.md", "tcl")
    ended = account.run("-c", example, program=["expect"])

    assert ended.out.count("hostname\r\nfiler1\r\nfiler1> ") == 2  # seen, and then printed
    assert ended.status == 0


def test_the_example_for_pytest_is_one_that_is_tested() -> None:
    (example,) = (block for block in code(README, "python") if "def test" in block)

    assert example in code(DOCS / "TESTING.md", "python")


def test_the_console_is_reached_over_ssh_as_the_documents_say(account: Account) -> None:
    _, give, serve = code(DOCS / "SSH.md")[0].splitlines()
    text = (DOCS / "SSH.md").read_text(encoding="utf-8")
    console, command, script = re.findall(r"^\| `(ssh .*?)` \|", text, re.M)
    readme = README.read_text(encoding="utf-8")
    assert code(DOCS / "SSH.md")[0] in code(README)
    assert f"`{console}`" in readme
    assert f"`{command}`" in readme
    (account.home / "runbook.txt").write_text("version\n")

    def typed(line: str, port: str = "0") -> AbstractContextManager[Terminal]:
        hosts = f"-o UserKnownHostsFile={account.home / 'known_hosts'}"
        client = f"ssh -F none -o StrictHostKeyChecking=accept-new {hosts}"
        line = re.sub("^ssh", client, line.strip().replace("2222", port))
        return account.terminal(program=("bash", "-c", line))

    with typed(give) as terminal:
        for question in ("New password for root: ", "Retype new password: "):
            terminal.shows(question)
            terminal.type(f"{PASSWORD}\r")
        assert terminal.end() == 0
    with typed(serve) as server:
        server.child.expect(r" port (\d+) ")
        assert isinstance(server.child.match, re.Match)
        port = server.child.match[1]
        for line, shown, keys, status in (
            (command, "No key servers", "", 1),
            (script, "NetApp Release", "", 0),
            (console, "filer1> ", "exit\r", 0),
        ):
            with typed(line, port) as client:
                client.shows("Password: ")
                client.type(f"{PASSWORD}\r")
                client.shows(shown)
                client.type(keys)
                assert client.end() == status
        server.type("\x03")
        assert server.end() == 0


def test_the_completion_of_options_can_be_loaded(account: Account) -> None:
    (block,) = code(DOCS / "CONSOLE.md")
    ended = account.run(
        "-c",
        f"{block}\ncomplete -p filer filer-keyserver filer-qualify filer-shelf filer-storm",
        program=["bash"],
        together=True,
    )

    assert ended.out.count("complete ") == 5
    assert ended.status == 0


def test_what_is_installed_from_the_checkout_is_there() -> None:
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    extras = {extra for text in texts for extra in re.findall(r"pip install.*?\[(\w+)\]", text)}
    programs = re.findall(
        r"`(?:pipx run --spec|uvx --from) \. (\S+) ", texts[DOCUMENTS.index(README)]
    )

    assert {"pytest", "ssh"} <= extras <= set(metadata("filer").get_all("Provides-Extra") or ())
    assert len(programs) == 2
    assert set(programs) <= entry_points(group="console_scripts").names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_document_installs_nothing_but_the_checkout_and_links_to_what_is_there(
    document: Path,
) -> None:
    text = document.read_text(encoding="utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    targets = {document.parent / link for link in links if link and "://" not in link}

    assert not re.findall(r"(?:pip install|--spec|--from) +'?filer\b", text)
    assert not {target for target in targets - NOT_HERE_YET if not target.exists()}


def test_each_command_of_make_is_one() -> None:
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)", makefile, re.M)

    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(
            r"(?:^ {4}|`)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.M
        )
    }

    assert {"run", "test"} <= named <= set(phony.split())
