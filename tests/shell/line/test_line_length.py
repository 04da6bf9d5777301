"""A command line or answer that is too long is refused and never kept, and nothing else fails."""

import io
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

from filer.running.interrupt import Interrupt
from filer.shell.batch.inputs import KeyboardLines
from filer.shell.batch.script import Script
from filer.shell.line.length import LONGEST, LineTooLong, checked, cut, lines_of
from filer.shell.line.words import LogicalLine
from filer.shell.prompt.editor import _bound
from filer.shell.prompt.history import SessionHistory
from filer.shell.prompt.key_bindings import MOST_PASTED, _paste
from filer.shell.prompt.reader import LineReader
from filer.shell.prompt.terminal import Terminal
from filer.shell.session import FAILED, Host, Session
from filer.shell.signals import Signals
from filer.shell.ssh.editor import _Parser
from tests.kit.casts import cast
from tests.kit.console import PASSPHRASE, Account, Outcome
from tests.kit.house import COMMANDS, House, Screen
from tests.kit.points import paired
from tests.kit.remote import Remote, logged_in, memory_of, needs_proc, serving, soon

TOO_LONG = f"line too long: it can have {LONGEST} characters; it was not read"
LONG = "hostname #" + "x" * LONGEST


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


# Where lines are read.


class Endless(io.RawIOBase):
    """A line of the given number of MiB, and one after it."""

    def __init__(self, size: int, end: bytes) -> None:
        self._left = size * 2**20
        self._end = end
        self.most = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.most = max(self.most, len(buffer))
        data, self._end = (b"a;" * (len(buffer) // 2), self._end)
        if self._left <= 0:
            data, self._end = self._end[: len(buffer)], self._end[len(buffer) :]
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\\\n", b"\\\r\n"])
def test_of_a_line_that_is_too_long_the_beginning_and_the_end_are_kept(end: bytes) -> None:
    source = Endless(8, end + b"hostname\n")
    first, *others = lines_of(io.BufferedReader(source))

    assert len(first) < 5 * LONGEST
    assert first.startswith(b"a;a;")
    assert first.endswith(end)
    assert others == [b"hostname\n"]
    assert source.most <= 5 * LONGEST


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("character", ["x", "\u00e9", "\u754c", "\U0001f511"])
def test_a_line_of_the_longest_is_whole_and_one_more_is_too_long(character: str, end: str) -> None:
    for more in (0, 1):
        line = character * (LONGEST + more)
        first, *others = lines_of(io.BytesIO((line + end).encode()))
        read = os.fsdecode(first.removesuffix(b"\n").removesuffix(b"\r"))

        assert not others
        assert (read == line) or (more and len(read) > LONGEST)
        assert len(cut(read)) == LONGEST + more


@pytest.mark.parametrize("each", [1, 10, 1000, LONGEST, 3 * LONGEST])
def test_joined_lines_have_the_limit_of_one_and_end_where_they_would(each: int) -> None:
    logical = LogicalLine()
    for _ in range(5 * LONGEST // each + 2):
        assert logical.add("x" * each + "\\")
    assert not logical.add("halt")

    assert LONGEST < len(str(logical)) <= LONGEST + each + 2
    assert "halt" not in str(logical)


# Every way in.


def by_pipe(account: Account, *lines: str) -> Outcome:
    return account.run(input=text(*lines))


def by_dash(account: Account, *lines: str) -> Outcome:
    return account.run("-x", "-", input=text(*lines))


def by_file(account: Account, *lines: str) -> Outcome:
    file = account.home / "commands"
    file.write_bytes(text(*lines))
    return account.run(file)


def by_json(account: Account, *lines: str) -> Outcome:
    return account.run("--format", "json", input=text(*lines))


def by_recording(account: Account, *lines: str) -> Outcome:
    return account.run("--record", account.home / "a.cast", input=text(*lines))


Way = Callable[..., Outcome]
WAYS = [by_pipe, by_dash, by_file, by_json, by_recording]


@pytest.mark.parametrize("way", WAYS)
def test_a_line_that_is_too_long_fails_and_the_next_one_runs(account: Account, way: Way) -> None:
    answered = "key_manager rekey -manual" + " " * LONGEST
    ended = way(
        account,
        *(LONG, "version", "logger " + f"{'x' * 1000} \\\n" * (LONGEST // 1000 + 1) + "exit"),
        *(answered, PASSPHRASE, PASSPHRASE, "hostname"),
    )

    told = ended.out + ended.err
    assert told.count(TOO_LONG) == 3
    assert "8.2.5" in told
    assert told.count("filer1\n") + told.count('"filer1"') == 1
    assert PASSPHRASE not in told
    assert "not found" not in told
    assert ended.status == 1
    if way is by_file:
        file = account.home / "commands"
        assert ended.err.startswith(f"{file}:1: {TOO_LONG}\n{file}:3: {TOO_LONG}\n")


def test_answers_behind_a_continued_line_that_is_too_long_never_run(account: Account) -> None:
    line = "key_manager rekey -manual" + " " * LONGEST + "\\"

    assert by_pipe(account, line, PASSPHRASE, PASSPHRASE, "hostname") == (
        "filer1\n",
        f"{TOO_LONG}\n",
        1,
    )


def test_an_option_and_a_recording_have_the_same_limit(account: Account) -> None:
    ended = account.run("-c", LONG, "-c", "hostname")
    assert ended == ("filer1\n", f"{TOO_LONG}\n", 1)

    ended = account.run("--replay", cast(account.home / "a.cast", ("filer1>", LONG, ())))
    assert f"+{TOO_LONG}\n" in ended.out


def test_an_answer_that_is_too_long_ends_its_command(registered: Account) -> None:
    refused = f"key_manager: {TOO_LONG}\n"
    long = "x" * (LONGEST + 1)

    for answers in ((long, PASSPHRASE), (PASSPHRASE, long)):
        ended = registered.run(input=text("key_manager rekey -manual", *answers, "hostname"))
        assert ended.err == refused
        assert ended.out.endswith("filer1\n")
        assert ended.status == 1

    ended = registered.run(input=text("key_manager setup", long, "q", "", "y", "hostname"))
    assert refused in ended.err
    assert ended.out.endswith("filer1\n")

    replies = [("question: any", long), ("question: any", "q")]
    recording = cast(registered.home / "b.cast", ("filer1>", "key_manager setup", replies))
    assert f"+{refused}" in registered.run("--replay", recording).out


def test_a_password_for_ssh_that_is_too_long_is_refused(account: Account) -> None:
    ended = account.run("--ssh-password", "root", input="x" * 2**20 + "\n")

    assert ended.status == 2
    assert ended.err.count("\n") == 1


class Typist(LineReader):
    """Types a line that is too long, an answer to it that must be dropped, and another line."""

    def __init__(self) -> None:
        self.typed = deque([LONG, PASSPHRASE, "key_manager show"])

    def line(self, prompt: str, before: str = "") -> str:
        if not self.typed:
            raise EOFError
        return checked(self.typed.popleft())

    def secret(self, prompt: str) -> str:
        raise AssertionError("nothing asks for a secret")

    def discard(self) -> None:
        if PASSPHRASE in self.typed:
            self.typed.remove(PASSPHRASE)


@pytest.mark.parametrize("way", ["prompt", "script"])
def test_a_line_typed_too_long_is_refused_and_answers_behind_it_are_dropped(
    tmp_path: Path, way: str
) -> None:
    signals = Signals(Interrupt())
    operator: Any = Screen(deque(), {})
    host: Host
    with House.build(tmp_path / "root") as house:
        session = Session(house.filer, COMMANDS, operator)
        if way == "prompt":
            host = Terminal(Typist(), operator)
        else:
            lines = KeyboardLines(Typist())
            operator.at = lambda *_: None
            operator.exit_on_error = operator.shows_commands = False
            host = Script(lines, lines, operator, signals)
        host.run(session)

    assert operator.failures == [TOO_LONG]
    assert operator.shown == ["No key servers are registered."]


# Stopping in the middle.


class Overtaken(str):
    """Presses Ctrl-C while a line is being split."""

    interrupt: Interrupt

    def __len__(self) -> int:
        self.interrupt.request()
        return super().__len__()


def test_ctrl_c_while_a_line_is_split_stops_it(tmp_path: Path) -> None:
    with House.build(tmp_path / "root") as house:
        line = Overtaken("disk show; disk show")
        line.interrupt = house.filer.interrupt
        operator = house.run(line)

    assert operator.status == FAILED
    assert not operator.text


def test_a_dialogue_that_ended_well_does_not_speak_for_the_next_line(registered: Account) -> None:
    rekey = "key_manager rekey -manual"
    entries = (PASSPHRASE, PASSPHRASE)

    ended = registered.run(input=text(rekey, *entries, f"{rekey} '", *entries, "hostname"))

    assert ended.err == "unclosed quote\n"
    assert ended.out.endswith("filer1\n")


# Over SSH.


@needs_proc
@paired(("kind", ["script", "dialogue"]), ("piece", [b"a;", b" "]))
def test_an_endless_line_costs_no_memory_and_delays_no_shutdown(
    account: Account, kind: str, piece: bytes
) -> None:
    with serving(account) as remote, closing(logged_in(remote.port)) as transport:
        before = memory_of(remote)
        channel = transport.open_session()
        if kind == "script":
            channel.invoke_shell()
        else:
            channel.exec_command("disk encrypt sanitize -all")
        for _ in range(36):
            channel.sendall(piece * (2**20 // len(piece)))
        assert memory_of(remote) < before + 30
        assert remote.run("hostname").out == "filer1\n"
        remote.child.kill(signal.SIGTERM)
        soon(lambda: remote.child.proc.poll() is not None)


def test_a_command_over_ssh_has_the_same_limit(remote: Remote) -> None:
    ended = remote.run(input=text(LONG, "hostname"))

    assert ended == ("filer1\n", f"{TOO_LONG}\n", 1)


# The editor.


def test_the_editor_keeps_no_more_of_a_line_than_shows_that_it_is_too_long() -> None:
    buffer = Buffer(on_text_changed=_bound)
    for _ in range(3):
        buffer.insert_text("x" * LONGEST)

    assert len(buffer.text) == LONGEST + 1


def test_the_editor_refuses_a_paste_that_is_too_long() -> None:
    ended: list[object] = []
    app = SimpleNamespace(exit=lambda *, exception: ended.append(exception))
    event: Any = SimpleNamespace(data="x\n" * MOST_PASTED, app=app)
    _paste(event, secret=False)

    assert [type(end) for end in ended] == [LineTooLong]


def test_a_line_that_is_too_long_is_in_no_history() -> None:
    history = SessionHistory()
    history.append_string("x" * (LONGEST + 1))
    history.append_string("hostname")

    assert history.get_strings() == ["hostname"]


def test_a_paste_without_end_over_ssh_is_not_kept() -> None:
    keys: list[KeyPress] = []
    parser = _Parser(keys.append)
    parser.feed("\x1b[200~")
    for _ in range(3000):
        parser.feed("x" * 1024)
        assert len(parser._paste_buffer) <= MOST_PASTED
    for part in ("\x1b[20", "1~a", "\x1b[200~short\x1b[201~"):
        parser.feed(part)

    assert [key.key for key in keys] == [Keys.BracketedPaste, "a", Keys.BracketedPaste]
    assert len(keys[0].data) > MOST_PASTED
    assert keys[2].data == "short"
