"""The console at a real terminal: prompt, keys, completion, questions, secrets."""

import signal
import stat
from errno import EMFILE
from pathlib import Path

import pexpect
import pytest

from filer.keyserver.server import KeyServer
from filer.running.interrupt import Interrupt
from filer.shell.manual.pages import find
from filer.shell.manual.typesetting import render
from filer.shell.prompt import terminal as shell_terminal
from filer.shell.prompt.reader import LineReader
from filer.shell.signals import Signals
from tests.kit import manual
from tests.kit.console import (
    OTHER_PASSPHRASE,
    PASSPHRASE,
    PROGRAM,
    SMALL_SHELF,
    Account,
    answers_to_setup,
    beside,
    editing,
    files_below,
    plain,
)
from tests.kit.house import House
from tests.kit.points import paired

build, house = manual.build, manual.house

UNKNOWN = "{} not found.  Type '?' for a list of commands\n"
DUMB = {"TERM": "dumb"}


def test_the_prompt_is_the_hostname(tmp_path: Path) -> None:
    account = Account(tmp_path / "home", f'[system]\nhostname = "toaster"\n{SMALL_SHELF}')
    with account.terminal() as terminal:
        terminal.booted()

        assert terminal.prompt == "toaster>"


def test_typed_and_piped_give_the_same_text(registered: Account) -> None:
    lines = (
        "hostname",
        "nonsense",
        "",
        "# a comment",
        "version; hostname",
        "logger 'never closed",
        "?",
        "help key_manager",
        "key_manager show",
        "key_manager status",
        "key_manager query",
        "key_manager add",
        "key_manager rekey -tag",
        "disk encrypt show",
        "disk show 0c",
        "sysconfig -r",
        "keymgr list cert",
        "rdfile /etc/passwd",
        "man key_manager",
    )
    piped = registered.run(
        "-c", f"'{PROGRAM}' 2>&1", input="".join(f"{line}\n" for line in lines), program=("sh",)
    )
    with registered.terminal() as terminal:
        terminal.booted()
        typed = [terminal.enter(line) for line in lines]

    assert "".join(typed) == piped.out


def test_setup_typed_and_piped_gives_the_same_text(
    tmp_path: Path, servers: list[KeyServer]
) -> None:
    answers = answers_to_setup(servers, passphrases=(PASSPHRASE, PASSPHRASE))
    piped = beside(servers, tmp_path / "piped").script("key_manager setup", *answers)
    with beside(servers, tmp_path / "typed").terminal() as terminal:
        terminal.booted()
        typed = terminal.enter("key_manager setup")
        for answer in answers:
            typed += f"{terminal.prompt}\n" + terminal.enter(answer)

    def without_key_id(text: str) -> list[str]:
        lines = [line.rstrip() for line in text.splitlines()]
        return [line for line in lines if not line.startswith("Key ID: ")]

    assert without_key_id(typed) == without_key_id(piped.out)


def test_the_boot_and_a_reboot_tell_their_progress(registered: Account) -> None:
    with registered.terminal() as terminal:
        first = terminal.wait_for_prompt()
        again = terminal.enter("reboot")

        assert terminal.prompt == "filer1>"
    assert "kmip_init: 2 key servers, 0 key pairs loaded (" in first
    assert "raid: 4 disks, aggr0 online\n" in first
    menu = "Press Ctrl-C for Boot Menu.\n"
    assert again.startswith(f"System rebooting...\n{menu}kmip_init: 2 key servers, ")
    assert again.endswith("raid: 4 disks, aggr0 online\n")


def test_a_panic_leads_to_the_loader_and_leaving_there_is_status_3(tmp_path: Path) -> None:
    account = Account(tmp_path / "home", f"[system]\nsnaplock = true\n{SMALL_SHELF}")
    with account.terminal() as terminal:
        assert terminal.wait_for_prompt().startswith("PANIC: ")
        assert terminal.prompt == "LOADER>"

        assert terminal.leave() == 3


def test_the_prompt_shows_privilege_and_continuation_and_ctrl_c_clears_the_line(
    account: Account,
) -> None:
    with account.terminal() as terminal:
        terminal.booted().type("\x11\x01red")  # control characters are printed escaped
        assert terminal.enter() == UNKNOWN.format("\\x01red")

        for unfinished in "non", "":
            terminal.type(unfinished)
            terminal.shows(unfinished)
            terminal.type("\x03")
            terminal.wait_for_prompt()
        assert terminal.enter("hostname") == "filer1\n"

        terminal.enter("priv set advanced")
        assert terminal.prompt == "filer1*>"
        terminal.enter("priv set admin")
        assert terminal.prompt == "filer1>"

        assert terminal.enter("host\\") == ""
        assert terminal.prompt == ">"
        assert terminal.enter("name") == "filer1\n"

        terminal.enter("nonsense \\")
        terminal.type("\x03")
        terminal.wait_for_prompt()
        assert terminal.prompt == "filer1>"
        assert terminal.enter("hostname") == "filer1\n"


def test_ctrl_c_and_ctrl_d_at_a_question_end_the_command_and_not_the_console(
    registered: Account,
) -> None:
    with registered.terminal() as terminal:
        terminal.booted()
        for key, said in ("\x03", "interrupted"), ("\x04", "end of input"):
            terminal.enter("key_manager setup")
            assert terminal.prompt.startswith("Enter the IP address for a key server, 'q' to quit")
            terminal.type(key)

            assert terminal.wait_for_prompt().endswith(f"key_manager: {said}\n")
            assert terminal.prompt == "filer1>"
            assert terminal.enter("hostname") == "filer1\n"

            terminal.enter("key_manager rekey -manual")
            terminal.enter(PASSPHRASE)
            terminal.type(key)

            assert terminal.wait_for_prompt().endswith(f"key_manager: {said}\n")
            assert terminal.prompt == "filer1>"
            terminal.type("key_manager query")
            terminal.shows("key_manager query")  # what is typed is echoed again
            assert "reports 0 keys." in terminal.enter()


# History.


def test_the_history_file_is_private_and_holds_commands_only(
    unregistered: Account, servers: list[KeyServer]
) -> None:
    answers = answers_to_setup(servers, passphrases=(PASSPHRASE, PASSPHRASE))
    with editing(unregistered) as terminal:
        terminal.booted().enter("hostname")
        terminal.enter("key_manager setup")
        for answer in answers:
            terminal.enter(answer)
        terminal.enter("key_manager rekey -manual")
        terminal.enter(OTHER_PASSPHRASE)
        assert "accepted" in terminal.enter(OTHER_PASSPHRASE)
        assert terminal.leave() == 0

    typed = [
        line[1:]
        for line in unregistered.history.read_text(encoding="utf-8").splitlines()
        if line.startswith("+")
    ]
    assert typed == ["hostname", "key_manager setup", "key_manager rekey -manual"]
    assert stat.S_IMODE(unregistered.history.stat().st_mode) == 0o600
    kept = b"".join(path.read_bytes() for path in files_below(unregistered.home))
    assert PASSPHRASE.encode() not in kept
    assert OTHER_PASSPHRASE.encode() not in kept


# Completion.


def test_tab_completes_a_word(registered: Account) -> None:
    with editing(registered) as terminal:
        terminal.booted().enter("key_manager rekey -key_tag weekly")
        for typed, added, output in (
            ("hostn", "ame", "filer1\n"),
            ("key_manager sh", "ow", "127.0.0.2\n127.0.0.3\n"),
            ("key_manager restore -a", "ll", "Keytable: 1 key pairs, 0 added, 0 removed.\n"),
            ("key_manager rekey -key_tag wee", "kly", "Completed rekey on 4 disks: 4 successes"),
        ):
            terminal.type(typed)
            terminal.shows(typed)
            terminal.type("\t")
            terminal.shows(added)
            assert output in terminal.enter(), typed

        terminal.type("disk encrypt show 0\t")
        terminal.shows("c.00.")
        assert "\n0c.00.3 " in terminal.enter("3")
        terminal.type("nonsense\t \t")  # nothing fits
        assert terminal.enter() == UNKNOWN.format("nonsense")
        terminal.type("\x1b[31m")  # a colour sequence that is pasted
        assert "Traceback" not in terminal.enter("hostname")
        assert "Unhandled exception" not in terminal.seen


# Secrets.


def test_a_passphrase_is_not_echoed_not_even_its_length(registered: Account) -> None:
    with editing(registered) as terminal:
        terminal.booted().enter("key_manager rekey -manual")
        assert terminal.prompt == "Please enter a new passphrase:"
        begin = len(terminal.seen)
        for key in PASSPHRASE:
            terminal.type(key)
        terminal.enter()
        assert terminal.prompt == "Please reenter the new passphrase:"
        between = terminal.seen[begin:]
        assert "accepted" in terminal.enter(PASSPHRASE)

        assert PASSPHRASE not in terminal.seen
        question = plain(between).replace("Please reenter the new passphrase:", "")
        assert question.replace("Please enter a new passphrase:", "").strip() == ""
        assert f"\x1b[{len(PASSPHRASE)}C" not in between


def test_a_passphrase_is_in_nothing_that_the_arrow_keys_recall(registered: Account) -> None:
    with editing(registered) as terminal:
        terminal.booted().enter("hostname")
        terminal.enter("key_manager rekey -manual")
        terminal.enter(PASSPHRASE)
        terminal.type("\x1b[A")
        assert "accepted" in terminal.enter(PASSPHRASE)
        terminal.type("\x1b[A")
        terminal.shows("rekey")
        terminal.type("\x03")
        terminal.wait_for_prompt()

        listed = terminal.enter("history")
        assert PASSPHRASE not in terminal.seen
    assert [line.split(maxsplit=1)[1] for line in listed.splitlines()] == [
        "hostname",
        "key_manager rekey -manual",
        "history",
    ]


# Other terminals and other ways to end.


def test_a_dumb_terminal_has_prompt_questions_and_unseen_passphrases(registered: Account) -> None:
    with registered.terminal(environment=DUMB) as terminal:
        terminal.shows("filer1> ")
        terminal.type("hostname\r")
        terminal.shows("hostname\r\nfiler1\r\nfiler1> ")
        terminal.type("key_manager rekey -manual\r")
        terminal.shows("Please enter a new passphrase: ")
        terminal.type(f"{PASSPHRASE}\r")
        terminal.shows("Please reenter the new passphrase: ")
        terminal.type(f"{PASSPHRASE}\r")
        terminal.shows("New passphrase accepted.")
        terminal.shows("filer1> ")
        terminal.type("hostname\r")
        terminal.shows("hostname\r\nfiler1\r\nfiler1> ")

        assert PASSPHRASE not in terminal.seen
        assert "\x1b" not in terminal.seen
        assert "*" not in terminal.seen


def test_a_dumb_terminal_has_ctrl_c_and_ctrl_d(account: Account) -> None:
    with account.terminal(environment=DUMB) as terminal:
        terminal.shows("filer1> ")
        terminal.type("non\x03")
        terminal.shows("filer1> ")
        terminal.type("hostname\r")
        terminal.shows("\r\nfiler1\r\nfiler1> ")

        assert terminal.leave() == 0
        assert "nonsense" not in terminal.seen


class FailingReader(LineReader):
    """Fails whenever it is asked, except at the times in ``lines``."""

    def __init__(self, lines: dict[int, str]) -> None:
        self._lines = lines
        self.asked = 0

    def line(self, prompt: str, before: str = "") -> str:
        self.asked += 1
        try:
            return self._lines[self.asked]
        except KeyError:
            raise OSError(EMFILE, "Too many open files") from None

    def secret(self, prompt: str) -> str:
        raise AssertionError("no secret is asked for")

    def discard(self) -> None:
        raise AssertionError("nothing is left unread")


def test_a_prompt_that_keeps_failing_is_given_up(house: House) -> None:
    reader, signals = FailingReader({5: "hostname"}), Signals(Interrupt())
    terminal = shell_terminal.Terminal(reader, shell_terminal.TerminalConsole(reader, signals))
    with pytest.raises(OSError, match="Too many open files"):
        terminal.run(house.session)

    assert reader.asked == 5 + 10
    assert len(house.screen.failures) == 4 + 9
    assert house.screen.out == "filer1\n"


def test_man_sets_the_page_at_the_width_of_the_terminal(account: Account) -> None:
    page = find("key_manager")
    assert page is not None
    with account.terminal(columns=60) as terminal:
        terminal.booted()

        assert terminal.enter("man key_manager") == render(page.source, 60)


def test_a_narrow_terminal_lists_the_commands_in_one_column(account: Account) -> None:
    with account.terminal(columns=20) as terminal:
        terminal.booted()
        listed = terminal.enter("?").splitlines()

    assert "key_manager" in listed
    assert max(map(len, listed)) <= 20


def test_a_terminal_is_asked_for_the_answers_of_a_command_option(registered: Account) -> None:
    with registered.terminal("-c", "key_manager rekey -manual", "-c", "hostname") as terminal:
        terminal.shows("Please enter a new passphrase: ")
        terminal.type(f"{PASSPHRASE}\r")
        terminal.shows("Please reenter the new passphrase: ")
        terminal.type(f"{PASSPHRASE}\r")
        terminal.shows("New passphrase accepted.")

        assert terminal.end() == 0
        assert terminal.seen.endswith("filer1\r\n")
        assert PASSPHRASE not in terminal.seen


def test_failures_go_to_standard_error_when_only_the_input_is_a_terminal(account: Account) -> None:
    out = account.home / "out"
    with account.terminal("-c", f"'{PROGRAM}' > '{out}'", program=("sh",)) as terminal:
        terminal.type("nonsense\rhostname\rlogout\r")
        terminal.end()

    assert UNKNOWN.format("nonsense").strip() in terminal.seen
    assert "not found" not in out.read_text(encoding="utf-8")
    assert "filer1\n" in out.read_text(encoding="utf-8")


@paired(("number", [signal.SIGTERM, signal.SIGHUP]), ("environment", [{}, DUMB]))
def test_a_signal_at_the_prompt_ends_the_program_silently(
    account: Account, number: signal.Signals, environment: dict[str, str]
) -> None:
    with editing(account, environment=environment) as terminal:
        if environment:
            terminal.shows("filer1> ")
        else:
            terminal.booted()
        begin = len(terminal.seen)
        terminal.child.kill(number)

        assert terminal.child.expect([pexpect.EOF, "Press ENTER"]) == 0
        assert terminal.end() == 128 + number
        said = plain(terminal.seen[begin:]).replace("filer1>", "").strip()
        assert said == ""
        if not environment:
            assert terminal.seen.rfind("\x1b[?2004l") > terminal.seen.rfind("\x1b[?2004h")
    assert account.commands("hostname").status == 0


def test_a_terminal_that_hangs_up_ends_the_program(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.booted()
        terminal.child.close(force=False)

        assert not terminal.child.isalive()
    assert account.commands("hostname") == ("filer1\n", "", 0)


def test_a_second_start_is_refused_at_a_terminal_too(account: Account) -> None:
    with account.terminal() as first:
        first.booted()
        with account.terminal() as second:
            assert second.end() == 2

        said = f"filer: {account.root} is in use by process {first.child.pid}\n"
        assert plain(second.seen) == said
