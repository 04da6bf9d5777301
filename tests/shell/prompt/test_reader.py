"""The plain reader, key by key: editing, cursor-position answers, terminal modes."""

import os
import signal
import termios
import time
from collections.abc import Iterator
from contextlib import closing

import pexpect
import pytest

from filer.shell.line.length import LONGEST, LineTooLong
from filer.shell.prompt.keyboard import HOLD, LATE, PATIENCE, QUESTION, Keyboard, knows_its_cursor
from filer.shell.prompt.typed_line import CTRL_C, CTRL_D, ENTER, TypedLine
from tests.kit.console import PROGRAM, Account, Child, Terminal, plain

ANSWER = "\x1b[24;80R"


# One line.


@pytest.mark.parametrize(
    ("keys", "text", "shown"),
    [
        ("hostname\n", "hostname", "hostname\n"),
        ("hostname\r", "hostname", "hostname\n"),
        ("hox\x7fst\n", "host", "hox\b \bst\n"),
        ("ho\b\b\b\n", "", "ho\b \b\b \b\n"),
        ("non sense\x15date\n", "date", "non sense" + "\b \b" * 9 + "date\n"),
        ("disk show  \x17status\n", "disk status", "disk show  " + "\b \b" * 6 + "status\n"),
        ("disk\x17\x17\n", "", "disk" + "\b \b" * 4 + "\n"),
        ("a\x04b\n", "ab", "ab\n"),
        ("\x1b[A\n", "\x1b[A", "^[[A\n"),
        ("\x01\x7f\n", "", "^A\b \b\b \b\n"),
        ("\u754c\x7f\u00e9\n", "\u00e9", "\u754c\b \b\b \b\u00e9\n"),
        ("e\u0301\x7f\n", "e", "e\u0301\n"),
        ("\t\x7fx\n", "x", "\t" + "\b \b" * 8 + "x\n"),
    ],
)
def test_a_line_is_edited_as_a_terminal_edits_it(keys: str, text: str, shown: str) -> None:
    line = TypedLine(0)

    assert "".join(line.key(key) for key in keys) == shown
    assert (line.end, line.text) == (ENTER, text)


def test_a_tab_reaches_to_the_next_stop_behind_the_prompt() -> None:
    line = TypedLine(len("filer1> "))

    assert [line.key(key) for key in "ab\t\x7f"] == ["a", "b", "\t", "\b \b" * 6]


@pytest.mark.parametrize(("keys", "end"), [("x\x03", CTRL_C), ("\x04", CTRL_D)])
def test_other_ends_of_a_line(keys: str, end: str) -> None:
    line = TypedLine(0)
    for key in keys:
        line.key(key)

    assert line.end == end


def test_a_line_that_is_too_long_is_refused_and_never_cut() -> None:
    line = TypedLine(0)
    for key in "x" * (LONGEST + 1):
        line.key(key)

    with pytest.raises(LineTooLong):
        _ = line.text


# The answer.


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def received(pipe: tuple[int, int], *parts: bytes) -> Keyboard:
    keyboard = Keyboard(pipe[0], clock=Clock())
    asked: list[str] = []
    keyboard.ask(asked.append)
    assert asked == [QUESTION]
    for part in parts:
        os.write(pipe[1], part)
        keyboard.receive()
    return keyboard


@pytest.mark.parametrize("at", range(1, len(ANSWER)))
def test_an_answer_in_two_parts_is_swallowed(pipe: tuple[int, int], at: int) -> None:
    answer = ANSWER.encode()
    keyboard = received(pipe, b"ho" + answer[:at], answer[at:] + b"st\n")

    assert keyboard.answered
    assert bytes(keyboard.typed) == b"host\n"


@pytest.mark.parametrize("typed", [b"\x1b", b"\x1b[", b"\x1b[1", b"\x1b[1;2", b"\x1b[A", b"\x1bOP"])
def test_what_is_no_answer_is_typed(pipe: tuple[int, int], typed: bytes) -> None:
    keyboard = received(pipe, typed)
    keyboard.release()

    assert not keyboard.answered
    assert bytes(keyboard.typed) == typed


def test_one_answer_is_swallowed_for_one_question(pipe: tuple[int, int]) -> None:
    keyboard = received(pipe, ANSWER.encode() * 2)

    assert bytes(keyboard.typed) == ANSWER.encode()


def test_a_terminal_that_was_not_asked_has_no_answer(pipe: tuple[int, int]) -> None:
    keyboard = Keyboard(pipe[0])
    os.write(pipe[1], ANSWER.encode())
    keyboard.receive()

    assert (keyboard.answered, bytes(keyboard.typed)) == (False, ANSWER.encode())


def test_the_answer_is_waited_for_and_expected_for_so_long(pipe: tuple[int, int]) -> None:
    clock = Clock()
    keyboard = Keyboard(pipe[0], clock=clock)
    assert (keyboard.seconds_to_wait, keyboard.seconds_to_expect) == (0, 0)
    keyboard.ask(lambda _text: None)
    assert keyboard.seconds_to_wait == pytest.approx(PATIENCE)
    clock.now += PATIENCE

    assert keyboard.seconds_to_wait == 0
    assert keyboard.seconds_to_expect == pytest.approx(LATE)


@pytest.mark.parametrize("term", ["", "dumb", "unknown"])
def test_a_terminal_without_a_cursor_is_not_asked(term: str) -> None:
    assert not knows_its_cursor(term)


# At a real terminal.


def modes(terminal: Terminal) -> int:
    """Return the local modes of the terminal; Linux shows them to the other side too."""
    return int(termios.tcgetattr(terminal.child.child_fd)[3])


@pytest.fixture
def terminal(account: Account) -> Iterator[Terminal]:
    with account.terminal() as terminal:
        terminal.child.expect_exact("filer1> ")
        yield terminal


def pass_by() -> None:
    """Wait until the answer is no longer expected."""
    time.sleep(PATIENCE + LATE + 0.1)


def test_the_terminal_edits_lines_itself_once_no_answer_is_expected(terminal: Terminal) -> None:
    both = termios.ICANON | termios.ECHO
    assert modes(terminal) & both == 0
    pass_by()

    assert modes(terminal) & both == both
    assert terminal.enter("hostname") == "filer1\n"


@pytest.mark.parametrize("waits", [False, True])
def test_an_answer_that_comes_late_is_neither_shown_nor_read(
    terminal: Terminal, *, waits: bool
) -> None:
    terminal.type("host")
    terminal.shows("host")
    terminal.type(ANSWER[:3])
    if waits:
        time.sleep(HOLD / 2)
    terminal.type(f"{ANSWER[3:]}name\r")
    terminal.shows("name\r\nfiler1\r\n")

    assert "24;80" not in terminal.seen


def test_an_answer_at_an_empty_prompt_turns_the_editor_on_at_once(terminal: Terminal) -> None:
    terminal.type("\x1b[1;9R")
    terminal.shows("\r")
    terminal.shows("\x1b[?2004h")


def test_an_answer_behind_the_first_key_turns_it_on_at_the_next_prompt(terminal: Terminal) -> None:
    terminal.type(f"hostname{ANSWER}\r")
    terminal.shows("hostname\r\nfiler1\r\n")
    assert "2004h" not in terminal.seen

    terminal.shows("\x1b[?2004h")


def test_what_is_typed_before_the_answer_is_the_first_line_of_the_editor(account: Account) -> None:
    with account.terminal() as terminal:
        terminal.type("hostn")
        terminal.child.expect_exact(QUESTION)
        terminal.type(f"ame{ANSWER}")
        terminal.shows("hostname")
        terminal.type("\r")
        terminal.shows("filer1\r\n")


def test_keys_of_a_plain_line(terminal: Terminal) -> None:
    for raw in (True, False):
        terminal.type("nonsense\x15hostx\x7fname\r")
        terminal.shows("name\r\nfiler1\r\nfiler1> ")
        terminal.type("logger \u00e9\u754c\x7f\x7f\x7f \x17\x17hostname\r")
        terminal.shows("hostname\r\nfiler1\r\nfiler1> ")
        terminal.type("host")
        terminal.shows("host")
        terminal.type("\x03")
        terminal.shows("^C\r\nfiler1> ")
        if raw:
            pass_by()


@pytest.mark.parametrize("length", [4000, 20_000])
def test_a_long_line_is_read_whole_or_refused(terminal: Terminal, length: int) -> None:
    comment = "#" * length
    terminal.type(f"hostname {comment}\r")
    terminal.shows("#\r\nfiler1\r\nfiler1> ")
    pass_by()
    terminal.type(f"hostname {comment}\r")

    refused = length > 4096
    terminal.shows("line too long" if refused else "#\r\nfiler1\r\nfiler1> ")


# The final state of the terminal.


def local_modes(descriptor: int) -> list[object]:
    return termios.tcgetattr(descriptor)[:4]


@pytest.mark.parametrize("keys", ["exit\r", "\x04", "\x1c"])
def test_the_terminal_is_left_as_it_was_found(account: Account, keys: str) -> None:
    shell = 'stty -a > before; filer; stty -a > after; echo "END"'
    for wait in (False, True):
        with account.terminal("-c", shell, program=("bash",)) as terminal:
            terminal.shows("filer1> ")
            if wait:
                pass_by()
            terminal.type(keys)
            terminal.shows("END")

        before, after = (account.home / name for name in ("before", "after"))
        assert after.read_text() == before.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_leaves_the_terminal_as_it_was_found(
    account: Account, number: signal.Signals
) -> None:
    # Python runs as a child, so that its terminal outlives it; it ends before the first prompt.
    shell = (
        "stty -a > before; filer & read line; "
        f"kill -{number.name[3:]} $!; wait; stty -a > after; echo END"
    )
    with account.terminal("-c", shell, program=("bash",)) as terminal:
        terminal.type("\r")
        terminal.shows("END")

    assert (account.home / "after").read_text() == (account.home / "before").read_text()


def test_ctrl_z_stops_the_program_and_fg_goes_on(account: Account) -> None:
    with account.terminal(program=("bash", "--norc", "-i")) as terminal:
        terminal.type("PS1='%'' '; filer\r")
        terminal.shows("filer1> ")
        terminal.type("ho\x1a")
        terminal.shows("Stopped")
        terminal.shows("% ")
        assert "echo" in stty(terminal)
        terminal.type("fg\r")
        terminal.shows("filer\r\n")
        terminal.type("\rhostname\r")
        terminal.shows("hostname\r\nfiler1\r\nfiler1> ")
        terminal.type("exit\r")
        terminal.shows("% ")


def stty(terminal: Terminal) -> str:
    terminal.type("stty -a | tr ';' '\\n'; echo DO''NE\r")
    terminal.shows("DONE")
    return plain(str(terminal.child.before))


def test_a_terminal_that_hangs_up_at_a_plain_prompt_ends_the_program(account: Account) -> None:
    for wait in (False, True):
        with account.terminal() as terminal:
            terminal.shows("filer1> ")
            if wait:
                pass_by()
            terminal.child.close(force=False)

            assert not terminal.child.isalive()


def test_a_program_that_ignores_sighup_can_be_hung_up(account: Account) -> None:
    with account.terminal("-c", f"trap '' HUP; exec '{PROGRAM}'", program=("sh",)) as terminal:
        terminal.shows("filer1> ")
        terminal.child.kill(signal.SIGHUP)
        assert terminal.enter("hostname") == "filer1\n"


def test_output_that_goes_elsewhere_has_no_question_in_it(account: Account) -> None:
    out = account.home / "out"
    with closing(
        Child(
            "sh",
            ["-c", f"'{PROGRAM}' > '{out}'"],
            cwd=account.home,
            env=account.environment({"TERM": "xterm"}),
        )
    ) as child:
        child.send("hostname\rexit\r")
        child.expect(pexpect.EOF)

    assert out.read_text().endswith("online\nfiler1> filer1\nfiler1> ")
    assert "\x1b" not in out.read_text()
