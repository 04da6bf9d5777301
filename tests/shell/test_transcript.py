"""The Pygments lexer of transcripts, for documentation."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.filters import RaiseOnErrorTokenFilter
from pygments.token import Comment, Generic, Keyword, Name, Number, String, Text, _TokenType

from filer.boot.machine import Panic
from filer.shell.transcript import TranscriptLexer
from tests.kit import manual, transcript
from tests.kit.console import Account
from tests.kit.house import Told
from tests.kit.manual import Build
from tests.kit.plugins import install

build = manual.build

KEY_ID = "5DD026075DD026670101000000000000BAF6B874A7407A36751342CB27F4B8B9"


def lexed(text: str) -> list[tuple[_TokenType, str]]:
    """Return the tokens of a transcript, without blanks between words."""
    found = TranscriptLexer().get_tokens(text)
    return [(token, part.strip()) for token, part in found if token is not Text]


def of(text: str, wanted: _TokenType) -> list[str]:
    return [part for token, part in lexed(text) if token is wanted]


# The text is kept.

PIECES = st.sampled_from(
    [
        *("filer1> ", "filer1*> ", "LOADER> ", "*> ", "> ", ">", "filer1>", "\n", "\r\n", "\\\n"),
        *("key_manager", "show", "disk encrypt", "0x0", KEY_ID, "boot_ontap", "'", '"', ";", "# "),
        *("WARNING: ", "disk: ", "runbook.txt:1: ", " ", "\t", "\\", "\x0b", "\u2028", "\x1b[0m"),
    ]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=20).map("".join))
def test_no_character_is_lost_or_changed(text: str) -> None:
    end = 0
    for offset, _, part in TranscriptLexer().get_tokens_unprocessed(text):
        assert (offset, part) == (end, text[offset : offset + len(part)])
        end += len(part)
    assert end == len(text)

    lexer = TranscriptLexer(stripnl=False, ensurenl=False, filters=[RaiseOnErrorTokenFilter()])
    unchanged = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    assert "".join(part for _, part in lexer.get_tokens(text)) == unchanged


def test_a_command_of_many_lines_is_kept() -> None:
    text = "filer1> key_manager \\\n> " * 20_000 + "\\" * 20_000

    assert "".join(part for _, _, part in TranscriptLexer().get_tokens_unprocessed(text)) == text


# Prompts and commands.


def test_a_command_has_the_tokens_of_the_prompt_and_its_output_its_own() -> None:
    text = (
        "filer1> key_manager rekey -key_tag lab # so\n"
        f"Key ID: {KEY_ID}\nKey tag: lab\n"
        "filer1*> disk encrypt show 0c.00.1\n"
        "0c.00.0    0x0    No\nfiler1>\n"
    )

    assert lexed(text) == [
        (Generic.Prompt, "filer1>"),
        (Keyword, "key_manager"),
        (Name.Function, "rekey"),
        (Name.Attribute, "-key_tag"),
        (String, "lab"),
        (Comment, "# so"),
        (Generic.Output, "Key ID:"),
        (Number.Hex, KEY_ID),
        (Generic.Output, ""),
        (Generic.Output, "Key tag: lab"),
        (Generic.Prompt, "filer1*>"),
        (Keyword, "disk"),
        (Name.Function, "encrypt"),
        (Name.Function, "show"),
        (String, "0c.00.1"),
        (Generic.Output, "0c.00.0"),
        (Number.Hex, "0x0"),
        (Generic.Output, "No"),
        (Generic.Prompt, "filer1>"),
    ]


@pytest.mark.parametrize(
    "prompt", ["filer1(takeover)>", "filer1(takeover)*>", "filer2/filer1>", "filer2/filer1*>"]
)
def test_the_prompts_of_a_takeover_are_known(prompt: str) -> None:
    assert lexed(f"{prompt} hostname\nfiler2\n") == [
        (Generic.Prompt, prompt),
        (Keyword, "hostname"),
        (Generic.Output, "filer2"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_continued_command_is_one(end: str) -> None:
    text = f"filer1> key_manager \\{end}> show{end}No key servers are registered.{end}"

    assert lexed(text) == [
        (Generic.Prompt, "filer1>"),
        (Keyword, "key_manager"),
        (Generic.Prompt, ">"),
        (Name.Function, "show"),
        (Generic.Output, "No key servers are registered."),
    ]


@pytest.mark.parametrize(
    ("prompt", "commands"),
    [
        ("filer1>", ["hostname", "disk encrypt lock *"]),
        ("LOADER>", ["boot_ontap maint", "kmip_setup keys 127.0.0.2"]),
        ("*>", ["disk encrypt destroy 0c.00.1", "halt"]),
    ],
)
def test_each_prompt_has_its_own_commands(prompt: str, commands: list[str]) -> None:
    other = {"filer1>": "LOADER>", "LOADER>": "*>", "*>": "LOADER>"}[prompt]
    for command in commands:
        assert of(f"{prompt} {command}\n", Generic.Error) == []
        assert of(f"{other} {command}\n{prompt} {command}\n", Generic.Error) != []


def test_a_word_that_was_entered_unfinished_is_wrong() -> None:
    assert of("filer1> key_manager sh\n", Generic.Error) == ["sh"]


def test_the_transcript_of_the_documents_has_no_failure_and_no_wrong_word() -> None:
    text = transcript.shown(transcript.WALK)
    found = lexed(text)

    assert {Generic.Prompt, Generic.Output, Keyword, Number.Hex} <= {token for token, _ in found}
    assert Generic.Error not in {token for token, _ in found}


def test_the_commands_of_a_plug_in_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from filer.commands import Command, Subcommand, no_values\n"
        "ROW = Subcommand('salute name', print, values={'name': no_values})\n"
        "COMMAND = Command('salute', 'greet a user', ROW)\n"
    )
    install(tmp_path, "salute", source)
    install(tmp_path, "shattered", "1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.warns(UserWarning, match="command plug-in shattered of shattered 1.0"):
        found = lexed("filer1> salute Alice\nsalute: not today\n")

    assert found == [
        (Generic.Prompt, "filer1>"),
        (Keyword, "salute"),
        (String, "Alice"),
        (Generic.Error, "salute: not today"),
    ]


# Output and failures.


def test_failures_are_what_the_console_reported_as_such(build: Build) -> None:
    house = build()
    house.add()
    house.servers[1].stop()
    for line in (
        "hostname",
        "nonsense",
        "key_manager shw",
        "key_manager status",
        "key_manager restore -all",
        "key_manager rekey -key_tag lab",
        "disk encrypt show",
        "disk encrypt lock *",
        "disk encrypt lock 9z.0",
        "options nonsense",
        "rdfile /etc/nonsense",
        "hostname 'x",
    ):
        _, out, err = house.execute(line)

        assert of(f"filer1>\n{out}{err}", Generic.Error) == err.splitlines(), line


def test_a_script_log_with_its_failures(account: Account) -> None:
    (account.home / "runbook.txt").write_text(
        "hostname\ndisk encrypt lock 0c.00.0\nkey_manager \\\nshow x\n", encoding="ascii"
    )
    out, err, status = account.run("-x", "runbook.txt")

    assert status == 1
    assert of(out, Generic.Error) == ["x"]
    assert of(err, Generic.Error) == err.splitlines() != []
    assert of(out, Generic.Prompt) == ["filer1>", "filer1>", "filer1>", ">"]


def test_what_a_boot_without_keys_prints_is_a_failure(build: Build) -> None:
    house = build()
    house.add()
    house.encrypt()
    house.lock()
    house.stop_servers()
    house.power_cycle()
    told = Told()
    with pytest.raises(Panic) as panic:
        house.boot(told)
    (box,) = told.boxes
    printed = [*box, *(f"WARNING: kmip_init: {each}." for each in told.warnings), str(panic.value)]

    assert of("\n".join(printed), Generic.Error) == printed


# Programs that load every lexer.


def test_the_console_is_imported_only_to_lex() -> None:
    program = (
        "import sys, filer.shell.transcript as transcript\n"
        "def ours(): return sorted(name for name in sys.modules if name.startswith('filer.'))\n"
        "print(ours())\n"
        "list(transcript.TranscriptLexer().get_tokens('filer1> hostname'))\n"
        "print('filer.commands.system' in ours())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ran.stdout == "['filer.shell', 'filer.shell.transcript']\nTrue\n"
