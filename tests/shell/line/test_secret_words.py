"""A passphrase of several words is hidden in a line that cannot run; mistyped commands are not."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from filer.host.passphrase_rule import is_passphrase
from filer.host.quoting import HIDDEN, named, quoted
from filer.shell.line.length import LONGEST
from filer.shell.line.parsing import WrongWords, commands_of, parse_command, shown_line, would_run
from filer.shell.line.words import LanguageError
from filer.shell.plugins import Commands

COMMANDS = Commands(pytest.fail)
SECRET = "Correct Horse 9 battery!"
KEY_ID = "5DD026075DD026670101000000000000BAF6B874A7407A36751342CB27F4B8B9"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (SECRET, ""),
        (f"key_manager rekey -manual {SECRET}", "key_manager rekey -manual "),
        (f"key_manager rekey -manual {SECRET} please", "key_manager rekey -manual "),
        (f"key_manager rekey -key_tag {SECRET}", "key_manager rekey -key_tag "),
        (f"key_manger rekey -manual {SECRET}", "key_manger rekey -manual "),
        (f"key_manager rekey -manaul {SECRET}", "key_manager rekey -manaul "),
        (f"hostname; {SECRET}", "hostname; "),
        (f"hostname;{SECRET}", "hostname;"),
        ("hostname; version Correct; Horse 9 battery", "hostname; version "),
        ("hostname; disk 9 Correct horses go", "hostname; "),
        ("nonsense Correct  Horse   9  bat", ""),
        (f"nonsense \\\n{SECRET}", ""),
        (f"hostname; version; \\\n{SECRET} and more", "hostname; version; \\\n"),
        ("hostname; Correct Horse \\\n9 battery!", "hostname; "),
        (f"hostname '{SECRET}", ""),
        (f'key_manager rekey -manual -passphrase="{SECRET}"', ""),
        (f"FILER_PASSPHRASE='{SECRET}'", ""),
        (f"new_passphrase:{SECRET}", ""),
        ("key_manager rekey -manual My  Cat  Tom  is  7!", "key_manager rekey -manual "),
        (f"key_manager show # {SECRET}", f"key_manager show # {SECRET}"),
        (f"logger {SECRET}", f"logger {SECRET}"),
    ],
)
def test_it_is_hidden_from_its_first_word_on(line: str, shown: str) -> None:
    assert shown_line(COMMANDS, line) == (line if shown == line else shown + HIDDEN)


@pytest.mark.parametrize(
    "line",
    [
        "hostnmae",
        "key_manager stauts -key_server 10.41.16.1",
        "key_manager restore -key_server 10.41.16.1 -key_tag Prod1 -al",
        "key_manager restore -key_sever 10.41.16.1 -key_tag Prod1",
        "key_manger add -key_server 10.41.16.1 -key_server 10.41.16.2 -key_server FE80::1",
        "key_manager add -key_server 10.41.16.1 10.41.16.2 10.41.16.3 10.41.16.4",
        f"disk encrypt rekey {KEY_ID} 0c.00.1 -f 0c.00.2 and 0c.00.3 too",
        f"disk encrypt rekye {KEY_ID} *",
        "disk encrypt sanitize -al 0c.00.10 0c.00.11 0c.00.12 0c.00.13",
        "aggr create Aggr 12",
        "priv set Advanced 1",
        "# Step 2: Rekey all disks of Filer1 as of the runbook",
    ],
)
def test_a_mistyped_command_is_shown(line: str) -> None:
    assert not would_run(COMMANDS, line)
    assert shown_line(COMMANDS, line) == line


@pytest.mark.parametrize(
    "line",
    [
        "key_manager rekey -manual -passphrase=Spring-rain-falls-2026!",
        "FILER_PASSPHRASE='Spring-rain-falls-2026!' key_manager rekey",
        '{"passphrase": "Spring-rain-falls-2026!"}',
        '{"passphrase":"Spring-rain-falls-2026!"}',
        "new_passphrase:Spring-rain-falls-2026!",
        "nonsense \u201cSpring-rain-falls-2026!\u201d",
        "filer1,root,Spring-rain-falls-2026!",
        "<passphrase>Spring-rain-falls-2026!</passphrase>",
        "(Spring-rain-falls-in-the-2026!!!)",
        '{"passphrase":"Spring-rain-falls-in-the-2026!!!"}',
        "\0".join("Spring-rain-falls-2026!"),
    ],
)
def test_a_passphrase_joined_to_another_word_hides_the_line(line: str) -> None:
    assert shown_line(COMMANDS, line) == HIDDEN


_WORD = st.text("abcXYZ019!?.,:=/", min_size=1, max_size=9)
_PASSPHRASE = st.lists(_WORD, min_size=2, max_size=8).map(" ".join).filter(is_passphrase)
_BEFORE = st.sampled_from(
    [
        "",
        "hostname; ",
        "key_manager ",
        "set PASS=",
        'rekey -manual -pass="',
        "add 'my pass: ",
        "key_manager rekey -manual ",
        "nonsense -key_server ",
        "a; ",
    ]
)


@given(_BEFORE, _PASSPHRASE, st.sampled_from(["", " x", "; hostname", " # y"]))
def test_no_word_of_it_is_shown(before: str, passphrase: str, after: str) -> None:
    line = f"{before}{passphrase}{after}"
    assume(not would_run(COMMANDS, line))

    shown = shown_line(COMMANDS, line)

    assert shown == HIDDEN or (shown.endswith(HIDDEN) and before.startswith(shown[: -len(HIDDEN)]))
    try:
        lists = commands_of(COMMANDS, line)
    except LanguageError:
        return
    for words in lists:
        try:
            parse_command(COMMANDS, words, line)
        except WrongWords as problem:
            said = f"{problem.complaint} {problem.complaint.details}"
            assert not any(
                word in said for word in passphrase.split() if len(word) > 3 and word[0].isupper()
            )


@pytest.mark.parametrize("answer", [SECRET, SECRET.replace(" ", "  "), f"{SECRET}   # for filer1"])
def test_a_message_does_not_name_it(answer: str) -> None:
    assert quoted(answer) == named(answer) == HIDDEN


@pytest.mark.parametrize(
    "word", ["a1 ", "-abcd ", "Aa1 ", "-key_server ", "Aa\xe91 ", "=a", "Aa1,,"]
)
def test_a_line_of_very_many_words(word: str) -> None:
    line = "nonsense " + word * ((LONGEST - 20) // len(word))

    shown = shown_line(COMMANDS, line)

    assert shown == (HIDDEN if word.startswith("Aa1") else line)
