"""The interactive prompt as a person sees it on the screen."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from pygments.styles import get_style_by_name
from pygments.token import Comment, Error, _TokenType

from filer.keyserver.server import KeyServer
from filer.shell.line.highlighting import TOKENS
from filer.shell.manual.pages import find
from filer.shell.manual.typesetting import render
from tests.kit.console import PASSPHRASE, Account, answers_to_setup, configure
from tests.kit.hostile import silenced
from tests.kit.plugins import install
from tests.kit.screen import Screen, screen

UP, DOWN, RIGHT, ESCAPE, TAB = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b", "\t"
CTRL_C, CTRL_L, CTRL_R, CTRL_U = "\x03", "\x0c", "\x12", "\x15"
F2, F3, F4 = "\x1bOQ", "\x1bOR", "\x1bOS"


COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|9[0-7]|38)[0-9;]*m")

IN_24_BITS = {"PROMPT_TOOLKIT_COLOR_DEPTH": "DEPTH_24_BIT"}

GREETING = """
from filer.commands import Command, Subcommand, no_values

ROW = Subcommand("greet name", print, values={"name": no_values})
COMMAND = Command("greet", "greet a user", ROW)
"""

STYLE = """
from pygments.style import Style
from pygments.token import Keyword


class Plugged(Style):
    styles = {{Keyword: "{colour}"}}
"""

Open = Callable[..., Screen]


@pytest.fixture
def at(account: Account) -> Iterator[Open]:
    """Return a function that starts the program at a screen and waits for its first prompt."""
    with ExitStack() as stack:

        def start(
            settings: str = "",
            *,
            rows: int = 24,
            columns: int = 80,
            environment: Mapping[str, str] | None = None,
        ) -> Screen:
            configure(account, settings)
            opened = screen(account, rows=rows, columns=columns, environment=environment)
            return stack.enter_context(opened).booted()

        yield start


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory in which the program looks for distributions."""
    directory = tmp_path / "site"
    directory.mkdir()
    return directory


# The menu.


def anew(person: Screen) -> Screen:
    """Leave the line, and clear the screen."""
    person.type(f"{CTRL_C}{CTRL_L}")
    person.wait(lambda: person.line(0) == "filer1>" and person.cursor[0] == 0, "an empty screen")
    return person


def test_a_menu_opens_by_itself_with_a_word_about_each_entry(at: Open, account: Account) -> None:
    (account.home / "certs").mkdir()
    (account.home / "certs" / "client.pem").touch()
    (account.home / "certs" / "notes").touch()
    person = at()
    person.type("k")
    person.shows(
        "key_manager  external key server management commands",
        "keymgr       install, list, view and delete certificate files",
    )
    person.type("eym")
    person.shows_no("key_manager")

    # Paths of the host are completed.
    anew(person).type("keymgr install cert cer\t")
    person.shows("client.pem  certificate file")
    person.type(TAB)
    person.shows_typed("filer1> keymgr install cert certs/client.pem")

    # Enter runs the line as it stands if nothing was chosen.
    anew(person).type("host")
    person.shows("hostname  print")
    person.type("\r")
    person.shows("host not found.")

    # Enter takes what Tab has chosen, and runs it the next time.
    anew(person).type("ke")
    person.shows("keymgr  ")
    person.type(TAB)
    person.shows_typed("filer1> key")
    person.shows("keymgr  ")
    person.type(TAB)
    person.shows_typed("filer1> key_manager")
    person.type(TAB)
    person.shows_typed("filer1> keymgr")
    person.type("\r")
    person.shows_no("external key server")
    assert person.typed == "filer1> keymgr"
    person.type("list cert\r")
    person.shows("No certificates are installed.")

    # The arrows choose too; up goes back up.
    anew(person).type("key")
    person.shows("keymgr  ")
    person.type(DOWN + DOWN)
    person.shows_typed("filer1> keymgr")
    person.type(UP)
    person.shows_typed("filer1> key_manager")
    person.type("\rshow\r")
    person.shows("No key servers are registered.")

    # A continued line is completed as the one line it is.
    anew(person).enter("key_manager \\")
    assert person.typed == ">"
    person.type("sh")
    person.shows("show")
    person.type(TAB)
    person.shows_typed("> show")
    person.shows_colour("show", "cyan")
    person.type("\r")
    person.shows("No key servers are registered.")


def test_the_menu_has_live_values(registered: Account) -> None:
    with screen(registered) as person:
        person.booted().type("key_manager status -key_server ")

        person.shows("127.0.0.2  registered, up", "127.0.0.3  registered, up")


def test_tab_completes_even_what_is_typed_ahead(at: Open) -> None:
    person = at()
    person.type("hostn\t\rversi\t\r")

    person.shows("\nfiler1> hostname\nfiler1\nfiler1> version\n")


def test_a_burst_of_lines_runs_as_typed_with_an_open_menu(at: Open) -> None:
    person = at()
    person.type("ke")
    person.shows("keymgr  ")
    person.type("\rhost\rhostname\rdisk encrypt show 0c.00.1\rkeym\rhostname\r")

    def answered() -> bool:
        return person.text.count("filer1> ") == 6 and person.typed == "filer1>"

    person.wait(answered, "six lines")
    printed = [line for line in person.text.splitlines() if not line.startswith("filer1>")]
    assert [line for line in printed if "not found" in line] == [
        f"{name} not found.  Type '?' for a list of commands" for name in ("ke", "host", "keym")
    ]
    assert printed.count("filer1") == 2
    assert "0c.00.1    0x0" in person.text


def test_without_a_menu_tab_still_opens_one(at: Open) -> None:
    person = at("menu = false\n")
    person.type("key")
    person.shows_typed("filer1> key")
    person.settle()
    assert "keymgr" not in person.text
    person.type(TAB)

    person.shows("keymgr  ", "key_manager  ")


def test_plug_ins_are_looked_for_before_the_first_key(at: Open, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    install(site, "broken", "1 / 0")
    person = at(environment={"PYTHONPATH": str(site)})
    person.shows("WARNING: command plug-in broken of broken 1.0 cannot be loaded:")
    person.shows_typed("filer1>")
    person.type("hostn")

    person.shows("hostname  print")
    assert person.text.count("WARNING") == 1


# The history.


def with_history(account: Account, *lines: str) -> None:
    """Write the history of earlier sessions."""
    account.history.parent.mkdir(mode=0o700, parents=True)
    text = "".join(f"\n# 2026-11-27 12:00:00.000000\n+{line}\n" for line in lines)
    account.history.write_text(text, encoding="utf-8")
    account.history.chmod(0o600)


def test_a_suggestion_from_the_history_is_taken_with_right_and_never_run(
    at: Open, account: Account
) -> None:
    with_history(account, "disk encrypt show 0c.00.2", "hostname")
    person = at()
    person.type("disk e")
    person.shows_typed("filer1> disk encrypt show 0c.00.2")
    person.shows_colour("ncrypt show 0c.00.2", "brightblack")
    assert person.cursor[1] == len("filer1> disk e")
    person.type(f"{RIGHT}\r")
    person.shows("\n0c.00.2    0x0")

    person.booted().type("host")  # is suggested and not run
    person.shows_typed("filer1> hostname")
    person.type("\r")
    person.shows("filer1> host\nhost not found.")


def test_up_and_down_go_through_what_begins_the_same(at: Open, account: Account) -> None:
    with_history(account, "version", "hostname", "help version", "date")
    person = at()
    person.type("h")
    person.shows("history ")  # a menu is open
    person.type(UP)
    person.shows_typed("filer1> help version")
    person.type(UP)
    person.shows_typed("filer1> hostname")
    person.type(DOWN)
    person.shows_typed("filer1> help version")
    person.type(CTRL_C)
    person.shows_typed("filer1>")
    person.settle()  # the history is loaded
    person.type(UP)
    person.shows_typed("filer1> date")


def test_ctrl_r_searches(at: Open, account: Account) -> None:
    with_history(account, "hostname", "key_manager show", "version")
    person = at()
    person.type(f"{CTRL_R}ger")
    person.shows("(reverse-i-search)`ger': key_manager show")
    person.type("\r")
    person.shows_typed("filer1> key_manager show")
    person.type("\r")

    person.shows("No key servers are registered.")


def test_a_line_that_begins_with_a_blank_is_in_no_history(at: Open, account: Account) -> None:
    person = at()
    person.enter("hostname")
    person.enter(" version")
    person.enter(" logger \\")
    person.enter("nothing of this")
    assert re.fullmatch(r" +1  hostname\n +2  history\n", person.enter("history"))
    person.type(UP + UP)
    person.shows_typed("filer1> hostname")
    person.type(CTRL_C)
    assert person.leave() == 0

    kept = account.history.read_text(encoding="utf-8")
    assert [line for line in kept.splitlines() if line.startswith("+")] == ["+hostname", "+history"]


def test_answers_are_neither_suggested_nor_kept(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    with screen(unregistered) as person:
        person.booted().enter("hostname")
        person.type("key_manager setup\r")
        person.shows("'q' to quit:")
        person.type("h")
        person.wait(lambda: person.typed.endswith("'q' to quit: h"), "what is typed")
        person.settle()
        assert person.typed.endswith("'q' to quit: h")
        assert person.toolbar == ""
        person.type("\x7f")
        for answer in answers_to_setup(servers, passphrases=(PASSPHRASE, PASSPHRASE)):
            person.type(f"{answer}\r")
        person.shows("Completed lock on 4 disks")
        person.booted()
        assert PASSPHRASE not in person.text
    kept = unregistered.history.read_text(encoding="utf-8")
    assert [line for line in kept.splitlines() if line.startswith("+")] == [
        "+hostname",
        "+key_manager setup",
    ]


# Colours.


def test_words_are_coloured_by_what_they_are(at: Open) -> None:
    person = at("menu = false\n")
    person.type("key_manager add -key_server 127.0.0.2 # so")
    person.shows_typed("filer1> key_manager add -key_server 127.0.0.2 # so")
    person.shows_colour("# so", "brightblack")

    assert person.colours("filer1>") == {"default"}
    assert person.colours("key_manager") == {"brightcyan"}
    assert person.colours("add") == {"cyan"}
    assert person.colours("-key_server") == {"green"}
    assert person.colours("127.0.0.2") == {"brown"}  # pyte's name for the third colour

    # A wrong word is marked before Enter, and an unfinished one is not.
    anew(person).type("key_manager add -key_serv")
    person.shows_colour("add", "cyan")
    person.shows_colour("-key_serv", "default")
    person.type("rr")
    person.shows_colour("-key_servrr", "brightred")
    assert {cell.underscore for cell in person.cells("-key_servrr")} == {True}
    person.type("\x7f\x7fer")
    person.shows_colour("-key_server", "green")

    assert {cell.underscore for cell in person.cells("-key_server")} == {False}


def test_the_light_theme_has_other_colours(at: Open) -> None:
    person = at('theme = "light"\nmenu = false\n')
    person.type("hostname")

    person.shows_colour("hostname", "blue")


def test_a_style_of_pygments_colours_the_tokens_of_the_line(at: Open) -> None:
    words = ["key_manager", "add", "-key_server", "127.0.0.2", "nonsense"]
    shown = [*zip(words, [*TOKENS.values(), Error], strict=True), ("# so", Comment)]
    person = at('theme = "monokai"\nmenu = false\n', environment=IN_24_BITS)
    for before in "", "key_manager \\\r":
        person.type(before)
        if before:
            person.shows_typed(">")
        person.type(" ".join(words[bool(before) :]) + " # so")
        person.shows_colour("nonsense", shade("monokai", Error))

        for word, token in shown:
            assert person.colours(word) == {shade("monokai", token)}, (before, word)
        assert {cell.underscore for cell in person.cells("nonsense")} == {True}
        person.type(CTRL_C)
        person.shows_typed("filer1>")


def shade(theme: str, token: _TokenType) -> str:
    """Return the colour of ``token`` as pyte names it."""
    return str(get_style_by_name(theme).style_for_token(token)["color"])


def test_the_commands_of_a_plug_in_are_coloured(at: Open, site: Path) -> None:
    install(site, "greet", GREETING)
    person = at("menu = false\n", environment={"PYTHONPATH": str(site)})
    person.type("greet Alice Bob")

    person.shows_colour("greet", "brightcyan")
    person.shows_colour("Alice", "brown")
    person.shows_colour("Bob", "brightred")


def test_the_style_of_another_distribution_is_a_theme(at: Open, site: Path) -> None:
    plugged = STYLE.format(colour="ansimagenta")
    install(site, "plugged", plugged, entry="plugged:Plugged", groups=["pygments.styles"])
    person = at('theme = "plugged"\nmenu = false\n', environment={"PYTHONPATH": str(site)})
    person.type("hostname")

    person.shows_colour("hostname", "magenta")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise RuntimeError", "RuntimeError"),
        (STYLE.format(colour="var"), "ValueError"),  # for Pygments a colour, but no terminal has it
    ],
)
def test_a_style_that_cannot_be_used_costs_a_warning(
    at: Open, site: Path, source: str, error: str
) -> None:
    install(site, "plugged", source, entry="plugged:Plugged", groups=["pygments.styles"])
    settings = 'theme = "plugged"\nmenu = false\n'
    person = at(settings, columns=120, environment={"PYTHONPATH": str(site)})
    person.type("hostname")
    person.shows_colour("hostname", "brightcyan")

    warning = f'theme "plugged" cannot be loaded: {error}; ignored'
    assert f"WARNING: config.toml:1: {warning}" in person.text


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        ('theme = "none"\n', {}),
        ('theme = "monokai"\n', {"NO_COLOR": "1"}),
    ],
)
def test_without_colours_a_wrong_word_is_underlined(
    at: Open, settings: str, environment: dict[str, str]
) -> None:
    person = at(settings, environment=environment)
    person.type("hostname x")

    def marked() -> list[bool]:
        return [cell.underscore for cell in person.cells("hostname x")]

    person.wait(lambda: marked() == [False] * 9 + [True], "a line below x")
    person.type(f"{CTRL_U}ke{TAB}")
    person.shows("keymgr  ", "key_manager  ", "disks 0/4 locked")
    assert not person.is_coloured

    def chosen(entry: str) -> bool:
        return {cell.reverse for cell in person.cells(entry)} == {False}

    assert not chosen("keymgr  ")
    person.type(TAB)
    person.wait(lambda: chosen("key_manager  ") and not chosen("keymgr  "), "the first one chosen")
    person.type(TAB)
    person.wait(lambda: chosen("keymgr  ") and not chosen("key_manager  "), "the second one chosen")
    assert not person.is_coloured


# The toolbar.


def test_the_toolbar_follows_the_commands(unregistered: Account, servers: list[KeyServer]) -> None:
    with screen(unregistered, columns=100) as person:
        person.booted()
        ids = "1573922311-1573922407"
        person.shows_toolbar(f"no key servers | disks 0/4 locked | 0 key pairs | admin | tag {ids}")
        person.enter("key_manager add -key_server 127.0.0.2 -key_server 127.0.0.3")
        person.shows("key servers 2/2 up")
        assert {cell.bold for cell in person.cells("2/2 up")} == {False}
        servers[1].stop()
        person.enter("key_manager status")
        person.shows_colour("key servers 1/2 up", "red")
        servers[1].start()
        person.enter("key_manager rekey -key_tag weekly; priv set advanced")
        person.shows_toolbar(
            f"key servers 2/2 up | disks 0/4 locked | 1 key pairs | advanced | tag {ids}"
        )
        # Executed lines show no menu or toolbar any more.
        assert person.text.count("key servers 2/2 up") == 1


def test_all_of_the_toolbar_fits_into_80_columns_and_is_known_from_the_boot(
    registered: Account, servers: list[KeyServer]
) -> None:
    servers[0].stop()
    with screen(registered) as person:
        person.booted().shows_toolbar(
            "key servers 1/2 up | locked 0/4 | keys 0 | admin | tag 1573922311-1573922407"
        )


def test_the_toolbar_does_not_wait_for_a_silent_key_server(
    registered: Account, servers: list[KeyServer]
) -> None:
    with screen(registered) as person:
        person.booted()
        with silenced(servers[0]) as listener:
            listener.settimeout(0.2)
            begun = time.monotonic()
            assert person.enter("hostname") == "filer1\n"
            person.type("key_manager status -key_server ")
            person.shows("127.0.0.2  registered, up", "key servers 2/2 up")
            with pytest.raises(TimeoutError):
                listener.accept()

            assert time.monotonic() - begun < 10  # the timeout of a key server is 20 s


def test_the_loader_has_a_toolbar_and_its_own_commands(at: Open) -> None:
    person = at()
    person.enter("halt")
    person.type("boot")
    person.shows("LOADER> boot", "boot_ontap  boot the filer", "disks 0/4 locked")
    person.type("\tmain\t\r")
    person.shows("*>")


def test_toolbar_and_menu_can_be_switched(at: Open) -> None:
    person = at("toolbar = false\n")
    assert person.toolbar == ""
    person.type(F3)
    person.shows("keys 0")
    person.type(F3)
    person.shows_no("keys 0")
    person.type(f"{F2}key")
    person.shows_typed("filer1> key")
    person.settle()
    assert "keymgr" not in person.text
    person.type(f"{F2}m")
    person.shows("keymgr  ")


# Editing modes, keys, settings.


def test_vi_mode_says_so_and_has_its_keys(at: Open) -> None:
    person = at('editing = "vi"\n')
    person.shows("vi insert | ")
    person.type("hostnamex")
    person.type(ESCAPE)
    person.shows("vi command | ")
    person.type("x")
    person.shows_typed("filer1> hostname")
    person.type("\r")
    person.shows("\nfiler1\n")
    person.type(F4)
    person.shows_no("vi insert")
    person.type(F4)
    person.shows("vi insert")


def test_keys_can_be_chosen(at: Open, account: Account) -> None:
    with_history(account, "hostname")
    person = at(
        '[keys]\ncomplete = "c-o"\nsuggestion = "escape s"\nsearch = "f8"\ntoolbar = "f2"\n'
    )
    person.type("hostn\x0f")
    person.shows_typed("filer1> hostname")
    person.type(CTRL_U)
    person.shows_typed("filer1>")
    person.type("ho")
    person.shows_typed("filer1> hostname")
    person.type("\x1bs")
    person.wait(lambda: person.cursor[1] == len("filer1> hostname"), "the cursor at the end")
    person.type(f"{CTRL_U}\x1b[19~")
    person.shows("reverse-i-search")
    person.type(f"{CTRL_C}{F2}")
    person.shows_no("keys 0")


def test_a_pager_can_be_chosen(at: Open, account: Account) -> None:
    shown = account.home / "shown"
    pager = f'pager = "cat > \'{shown}\'; echo PAGED"\ntheme = "none"\n'
    person = at(pager, environment={"MANPAGER": "false"})
    assert person.enter("man keymgr") == "PAGED\n"

    page = find("keymgr")
    assert page is not None
    assert shown.read_text(encoding="utf-8") == render(page.source, 80)


def test_wrong_settings_cost_a_warning_each_and_nothing_else(at: Open) -> None:
    person = at('theme = "pink"\n\ntoolbr = false\nediting = "vi"\n', columns=120)

    person.shows(
        'WARNING: config.toml:1: theme must be "dark", "light", "none" or a style of Pygments; '
        "ignored",
        'WARNING: config.toml:3: unknown key "toolbr"; did you mean "toolbar"?; ignored',
    )
    person.shows("vi insert | ")
    assert person.enter("hostname") == "filer1\n"


def test_settings_do_not_concern_scripts(account: Account) -> None:
    configure(account, "nonsense\n")

    assert account.commands("hostname") == ("filer1\n", "", 0)


# Windows and environments.


def test_a_narrow_window_has_a_short_toolbar_and_a_menu(at: Open) -> None:
    person = at(columns=40)
    person.shows_toolbar("no servers | locked 0/4 | keys 0 | admin")
    person.type("disk encrypt show 0")
    person.shows("0c.00.3")
    person.type(f"{CTRL_U}hostname\r")
    person.shows("\nfiler1> hostname\nfiler1\n")


def test_a_window_that_is_resized_is_drawn_again(at: Open) -> None:
    person = at()
    person.type("disk encrypt show")
    person.shows_typed("filer1> disk encrypt show")
    person.resize(30, 40)
    person.shows("filer1> disk encrypt show")
    person.shows_toolbar("no servers | locked 0/4 | keys 0 | admin")
    person.resize(12, 120)
    person.wait(lambda: "| disks 0/4 locked | 0 key pairs |" in person.toolbar, "a wide toolbar")
    person.type(f"{CTRL_U}hostname\r")
    person.shows("\nfiler1\n")
    person.resize(24, 200)
    person.wait(lambda: "| admin | tag " in person.toolbar, "all of the toolbar")
    person.type("k")
    person.shows("key_manager  external key server management commands")
    assert person.typed == "filer1> k"


@pytest.mark.parametrize("rows", [1, 5])
def test_a_window_without_room_has_just_the_prompt(at: Open, rows: int) -> None:
    person = at(rows=rows)
    person.type("hostn\t\t")
    person.shows_typed("filer1> hostname")
    person.settle()
    assert "too small" not in person.text
    assert "0/4" not in person.text
    person.type("\r")
    person.shows_typed("filer1>")
    assert rows == 1 or person.line(person.cursor[0] - 1) == "filer1"


@pytest.mark.parametrize("language", [{"LANG": "C"}, {"LC_ALL": "POSIX"}])
def test_a_plain_language_is_no_hindrance(at: Open, language: dict[str, str]) -> None:
    person = at(environment=language)
    person.type("key")
    person.shows("keymgr  ")
    person.type(f"{CTRL_U}logger '\N{GREEK SMALL LETTER ALPHA}\N{GREEK SMALL LETTER BETA}'\r")
    person.shows_typed("filer1>")
    person.shows("disks 0/4 locked")
    assert person.enter("hostname") == "filer1\n"


def test_a_home_that_is_read_only_costs_the_history_only(account: Account) -> None:
    nowhere = {
        "XDG_CONFIG_HOME": "/proc/no-config",
        "XDG_STATE_HOME": "/proc/no-state",
        "HOME": "/proc/no-home",
    }
    with screen(account, environment=nowhere) as person:
        assert person.booted().enter("hostname") == "filer1\n"
        person.type(UP)
        person.shows_typed("filer1> hostname")
        assert "WARNING" not in person.text


def test_a_terminal_that_does_not_tell_its_cursor_is_shown_no_more_than_before(
    account: Account,
) -> None:
    with_history(account, "hostname", "key_manager show")
    answers = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": ""}
    with account.terminal(environment=answers) as terminal:
        terminal.booted()
        assert terminal.enter("hostname") == "filer1\n"
        for key in "key_mana":
            terminal.type(key)
            terminal.shows(key)
        assert terminal.enter("ger show") == "No key servers are registered.\n"
        seen = terminal.seen

    assert seen.count("\x1b[6n") == 1
    assert "WARNING" not in seen
    assert "0/4" not in seen
    assert "keymgr" not in seen
    assert not COLOUR.search(seen)


def test_a_line_that_is_typed_ahead_of_the_first_prompt_leaves_nothing_but_its_output(
    account: Account,
) -> None:
    with screen(account) as person:
        person.type("hostname\r")
        person.shows("\nfiler1> hostname\nfiler1\nfiler1>\n")
        assert "[" not in person.text

        person.wait(lambda: "locked" in person.toolbar, "a toolbar")


def test_an_answer_about_the_cursor_may_come_late_and_to_another_prompt(
    account: Account,
) -> None:
    late: list[str] = []
    with screen(account) as person:
        person.answer(late.append)
        person.shows_typed("filer1>")
        person.type("disk encrypt sanitize -all\r")
        person.shows("To continue, enter sanitize disk:")
        assert person.toolbar == ""
        person.answer(person.child.send)
        person.type(late.pop())
        person.settle()
        person.type("\r")
        person.wait(lambda: "locked" in person.toolbar, "a toolbar")

        assert late == []
        assert "[" not in person.text


def test_a_driver_that_types_ahead_is_no_person(account: Account) -> None:
    environment = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": ""}
    with account.terminal(environment=environment) as terminal:
        terminal.type("man na_disk\rman na_disk\rhostname\r")
        terminal.shows("filer1\r\n")
        seen = terminal.seen

    assert seen.count("SYNOPSIS") >= 2
    assert not COLOUR.search(seen)


def test_a_dumb_terminal_shows_plain_lines(account: Account) -> None:
    configure(account, 'toolbar = true\nmenu = true\ntheme = "dark"\n')
    with account.terminal(environment={"TERM": "dumb"}) as terminal:
        terminal.shows("filer1> ")
        terminal.type("hostname\r")
        terminal.shows("hostname\r\nfiler1\r\nfiler1> ")

        assert "\x1b" not in terminal.seen
