"""Reading at a terminal: manual pages in colour, and the list of commands."""

import re
import shutil
from collections.abc import Mapping

import pytest
from pygments.token import Generic, Text, Whitespace

from filer.commands import Command
from filer.shell.line.highlighting import TOKENS
from filer.shell.manual.colours import tokens_of
from filer.shell.manual.pages import find
from filer.shell.manual.text import ManualText
from filer.shell.manual.typesetting import render
from filer.shell.plugins import Commands
from filer.shell.prompt.appearance import coloured
from tests.kit.console import Account, configure, plain
from tests.kit.pages import HEAD, PAGES, by_mandoc
from tests.kit.screen import screen

TERMINAL = "xterm-256color"
COMMANDS: Mapping[str, Command] = Commands(pytest.fail)

every_page = pytest.mark.parametrize("name", PAGES)


ROLES = {token: kind.value for kind, token in TOKENS.items()} | {
    Generic.Heading: "heading",
    Generic.Strong: "bold",
    Text: "",
    Whitespace: "",
}


def roles(page: ManualText) -> list[tuple[str, str]]:
    return [(ROLES[token], text) for token, text in tokens_of(page)]


def styled(body: str) -> list[tuple[str, str]]:
    """Return the roles of the text below a heading, without blanks and line ends."""
    page = ManualText(f"{HEAD}.SH TEXT\n{body}", 80, COMMANDS)
    found = [(role, text.strip()) for role, text in roles(page)]
    below = found.index(("heading", "TEXT")) + 1
    return [each for each in found[below:-2] if each[1]]


# Styles.


@every_page
@pytest.mark.parametrize("width", [60, 80, 132])
def test_a_page_in_styles_is_the_text_that_mandoc_prints(name: str, width: int) -> None:
    page = ManualText(PAGES[name], width, COMMANDS)
    text = by_mandoc(PAGES[name], width)

    assert page == text
    assert "".join(words for _, words in tokens_of(page)) == text


@every_page
@pytest.mark.parametrize("theme", ["dark", "light", "monokai", "default"])
def test_a_page_in_colours_is_the_same_text(name: str, theme: str) -> None:
    page = ManualText(PAGES[name], 80, COMMANDS)
    sent = coloured(page, theme, TERMINAL)

    assert re.sub(r"\x1b\[[0-9;]*m", "", sent) == page
    assert all(line.count("\x1b") != 1 for line in sent.splitlines())  # a colour ends on its line


def test_headings_and_fonts_have_styles() -> None:
    page = ManualText(f"{HEAD}.SH SEE ALSO\n.B bold\nand\n.I so\non.\n", 80, COMMANDS)
    found = roles(page)

    assert ("heading", "SEE ALSO") in found
    assert ("bold", "bold") in found
    assert ("variable", "so") in found


def test_a_synopsis_looks_as_the_line_does_when_it_is_typed() -> None:
    body = ".nf\n\\fBkey_manager add\\fR ( \\fB\\-key_server\\fR \\fIipaddr\\fR )+\n.fi\n"

    assert styled(body) == [
        ("command", "key_manager"),
        ("subcommand", "add"),
        ("", "("),
        ("option", "-key_server"),
        ("variable", "ipaddr"),
        ("", ")+"),
    ]


def test_an_option_is_one_in_the_synopsis_of_a_program_too() -> None:
    assert styled(".B filer \\-\\-demo\n") == [("bold", "filer"), ("option", "--demo")]


def test_a_command_in_a_sentence_looks_as_it_does_when_it_is_typed() -> None:
    assert styled('See\n.BR "disk encrypt rekey 0x0 *" .\n') == [
        ("", "See"),
        ("command", "disk"),
        ("subcommand", "encrypt"),
        ("subcommand", "rekey"),
        ("variable", "0x0"),
        ("variable", "*"),
        ("", "."),
    ]


@pytest.mark.parametrize("prompt", ["", "    ", "filer1> ", "filer1*> "])
def test_the_commands_of_an_example_are_coloured_and_what_they_print_is_not(prompt: str) -> None:
    body = (
        f".EX\n{prompt}key_manager rekey \\-key_tag winter\nNew passphrase generated.\n"
        "key_manager: interrupted\nkey_manager nonsense\n.EE\n"
    )
    before = [("", prompt.strip())] if prompt.strip() else []

    assert styled(body) == [
        *before,
        ("command", "key_manager"),
        ("subcommand", "rekey"),
        ("option", "-key_tag"),
        ("variable", "winter"),
        ("", "New passphrase generated."),
        ("", "key_manager: interrupted"),
        ("", "key_manager nonsense"),
    ]


# References.


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("na_disk", "na_disk"),
        ("disk", "na_disk"),
        ("na_disk(1)", "na_disk"),
        ("na_key_manager", "na_key_manager"),
        ("filer-keyserver(1)", "filer-keyserver"),
    ],
)
def test_a_page_is_found_by_every_name_it_is_referred_to(name: str, page: str) -> None:
    found = find(name)
    assert found is not None
    assert found.name == page


def test_every_name_under_see_also_can_be_typed_behind_man(account: Account) -> None:
    typed: list[str] = []
    for source in PAGES.values():
        _, _, also = render(source, 80).partition("\nSEE ALSO\n")
        referred = re.findall(r"([a-z_-]+)\(1\)", also.partition("\n\n")[0])
        own = [each for each in referred if each in PAGES]
        assert own, source
        typed += own
    shown = account.commands(*(f"man {each}{end}" for each in typed for end in ("", "(1)")))

    assert (shown.err, shown.status) == ("", 0)
    assert shown.out == "".join(render(PAGES[each], 80) * 2 for each in typed)


def test_another_section_has_no_pages() -> None:
    assert find("na_disk(8)") is None


# At the terminal.

PAGER = "cat > '{}'; printf '%s\\n' \"PAGED $LESS\""


def paged(account: Account, environment: Mapping[str, str], settings: str = "") -> tuple[str, str]:
    """Return what ``man na_disk`` sends to the pager, and the options for less."""
    shown = account.home / "paged"
    configure(account, settings)
    with screen(account, environment={"MANPAGER": PAGER.format(shown), **environment}) as person:
        person.booted().type("man na_disk\r")
        person.shows("PAGED")
        person.settle()
        (options,) = re.findall("PAGED(.*)", person.text)
    return shown.read_text(encoding="utf-8"), options.strip()


def test_man_gives_a_page_in_colours_to_the_pager(account: Account) -> None:
    text, options = paged(account, {})

    assert text != plain(text) == render(PAGES["na_disk"], 80)
    assert options == "-R"


def test_the_options_that_less_has_stay(account: Account) -> None:
    assert paged(account, {"LESS": "-i -M"})[1] == "-R -i -M"


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({}, 'theme = "none"\n'),
        ({"NO_COLOR": "1"}, 'theme = "monokai"\n'),
        ({"PROMPT_TOOLKIT_NO_CPR": "1"}, ""),
    ],
)
def test_without_colours_the_page_is_plain(
    account: Account, environment: dict[str, str], settings: str
) -> None:
    assert paged(account, environment, settings) == (render(PAGES["na_disk"], 80), "")


def test_a_dumb_terminal_gets_the_plain_page(account: Account) -> None:
    with account.terminal(environment={"TERM": "dumb", "MANPAGER": "cat"}) as terminal:
        terminal.shows("filer1>")
        terminal.type("man na_disk\r")
        terminal.shows("NA_DISK(1)\r\nfiler1>")

    assert render(PAGES["na_disk"], 80) in plain(terminal.seen)
    assert "\x1b" not in terminal.seen


@pytest.mark.parametrize("pager", ["no-such-pager -R", "./none", "/etc/passwd"])
def test_a_pager_that_is_not_there_costs_a_warning_and_the_page_is_shown(
    account: Account, pager: str
) -> None:
    with account.terminal(environment={"MANPAGER": pager}) as terminal:
        shown = terminal.booted().enter("man na_disk")

    assert shown == f"WARNING: pager {pager.split(maxsplit=1)[0]} not found\n" + render(
        PAGES["na_disk"], 80
    )


@pytest.mark.parametrize("pager", ["exec cat", "command cat", "A=b cat", "'cat'"])
def test_what_sh_runs_is_a_pager(account: Account, pager: str) -> None:
    with account.terminal(environment={"MANPAGER": pager}) as terminal:
        assert terminal.booted().enter("man na_disk") == render(PAGES["na_disk"], 80)


def test_less_shows_the_page_with_its_colours(account: Account) -> None:
    with screen(account, rows=20, environment={"MANPAGER": "less"}) as person:
        person.booted().type("man key_manager\r")
        person.shows("SYNOPSIS", "key_manager setup")

        assert "ESC[" not in person.text
        assert all(cell.bold for cell in person.cells("SYNOPSIS"))
        assert person.colours("key_manager setup") > {"default"}
        person.type("q")
        person.shows_typed("filer1>")


def test_help_says_one_line_a_command_and_the_question_mark_keeps_its_columns(
    account: Account,
) -> None:
    with screen(account, rows=40) as person:
        person.booted()
        columns = person.enter("?")
        lines = person.enter("help").splitlines()
    piped = account.commands("?", "help")

    assert columns * 2 == piped.out
    assert len(lines) == len(piped.out.split()) // 2
    assert [line.split()[0] for line in lines] == sorted(piped.out.split()[: len(lines)])
    assert "key_manager  external key server management commands" in lines
    assert len({re.match(r"\S+ +", line).end() for line in lines}) == 1  # type: ignore[union-attr]


def test_less_keeps_the_colours_of_a_page_without_a_pager_configured(account: Account) -> None:
    """The host's pager is less here, with any other options."""
    programs = account.home / "programs"
    programs.mkdir()
    (programs / "less").symlink_to(str(shutil.which("less")))
    environment = {"MANPAGER": "", "PATH": str(programs), "LESS": "-M"}
    with screen(account, rows=20, environment=environment) as person:
        person.booted().type("man key_manager\r")
        person.shows("SYNOPSIS", "key_manager setup", "lines 1-19")

        assert "ESC[" not in person.text
        assert person.colours("key_manager setup") > {"default"}
        person.type("q")
        person.shows_typed("filer1>")


def test_a_host_without_a_pager_prints_the_page(account: Account) -> None:
    with account.terminal(environment={"MANPAGER": "", "PATH": str(account.home)}) as terminal:
        assert terminal.booted().enter("man na_disk") == render(PAGES["na_disk"], 80)
