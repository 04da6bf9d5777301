"""One console session: run lines on a filer, and report their status."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from filer.commands import (
    ALL_ANSWERS,
    Call,
    Cancelled,
    Command,
    Complaint,
    Console,
    EndOfAnswers,
    Leave,
    Refused,
    SessionState,
    Subcommand,
    Unprefixed,
)
from filer.host.errors import FilerError
from filer.host.standard_streams import OutputLost
from filer.running.interrupt import Interrupted
from filer.shell.defects import describe, problem
from filer.shell.signals import Ended
from filer.system import Filer

if TYPE_CHECKING:
    from filer.shell.line.grammar import Grammar, Parse

OK, FAILED = 0, 1

NOT_IN_PARTNER = ("halt", "reboot", "date", "cf")
"""Commands that need the partner's own controller; so does every change of its key servers."""


@runtime_checkable
class Record(Protocol):
    """Told where the output of each command or event (such as a boot) begins and ends."""

    def begin(self, *, command: str | None = None, event: str | None = None) -> None:
        """Begin a command, whose name is None if the line cannot be split, or an event."""

    def name(self, command: str) -> None:
        """Set the full name of the current command, once its words fit its grammar."""

    def end(self, status: int) -> None:
        """End the current command or event."""


class UnreadAnswers(Exception):
    """Raised by a command that ran a file which ended before the answers to its last dialogue.

    ``unread`` lines after the command are such answers, and ``stray`` ones may be.
    """

    def __init__(self, unread: int = 0, stray: int = 0) -> None:
        super().__init__(unread, stray)
        self.unread = unread
        self.stray = stray

    def __bool__(self) -> bool:
        return bool(self.unread or self.stray)


class NoRecord:
    """A `Record` that ignores everything."""

    def begin(self, *, command: str | None = None, event: str | None = None) -> None: ...

    def name(self, command: str) -> None: ...

    def end(self, status: int) -> None: ...


def interrupted(name: str) -> Complaint:
    """Return the complaint about the interrupted command ``name``."""
    return Complaint(f"{name}: interrupted", "interrupted")


class Session:
    """Runs lines on a filer.

    Words and grammar are imported at the first line, so that no prompt waits for them.
    """

    def __init__(
        self,
        filer: Filer,
        commands: Mapping[str, Command],
        console: Console,
        prompt: str = "",
        record: Record | None = None,
        *,
        state: SessionState | None = None,
    ) -> None:
        self.filer = filer
        self.commands = commands
        self.console = console
        self._record = record or NoRecord()
        self.state = state or SessionState()
        self._prompt = prompt
        self.asked_all = False
        self.running: str | None = None
        """The name of the running command, for other threads."""
        self.outcome: int | None = None
        """The status of the line that `execute` got last; None until the line begins."""

        self._interrupted = self._broken_off = False
        self._left = UnreadAnswers()

    def begin(self, filer: Filer) -> None:
        """Use ``filer``, which has just booted, and reset the privilege.

        A person sees that the partner shell has ended; a script goes on with lines for the partner,
        which are refused until it leaves that shell.
        """
        self.filer = filer
        self.state.privilege = "admin"
        self.state.in_partner &= not self.console.is_terminal

    def grammar(self, name: str) -> "Grammar":
        """Return the grammar of a command, compiled at its first use."""
        from filer.shell.line.grammar import grammar_of

        return grammar_of(self.commands[name])

    @property
    def prompt(self) -> str:
        """The prompt without the blank after it; by default host name and privilege mark."""
        if self._prompt:
            return self._prompt
        mark = "*" if self.state.privilege != "admin" else ""
        name, partner = self.filer.hardware.hostname, self.filer.partner
        if self.filer.served_by:
            name = f"{name}/{self.filer.served_by}"
        elif self.state.in_partner:
            name = f"{partner.hardware.hostname if partner else 'partner'}/{name}"
        elif partner:
            name = f"{name}(takeover)"
        return f"{name}{mark}>"

    def _target(self, command: Command, subcommand: Subcommand) -> Filer:
        """Return the filer that a line is for.  Raises Refused."""
        if not self.state.in_partner:
            return self.filer
        partner = self.filer if self.filer.served_by else self.filer.partner
        if partner is None:
            if command.name == "partner":
                return self.filer
            raise Refused("the partner was given back; nothing was run; partner leaves its shell")
        is_refused = command.name == "key_manager" and subcommand.changes
        if command.name in NOT_IN_PARTNER or is_refused:
            raise Refused("not for a partner that was taken over")
        partner.registration = self.filer.registration
        return partner

    def execute(self, line: str, *, exit_on_error: bool = False) -> int:
        """Run the commands of ``line``; return OK if all succeeded, else FAILED.

        Ctrl-C always skips the remaining commands; a failure does with ``exit_on_error``.
        Raises Leave from a command, and Ended after a signal before or during the line.
        """
        self.outcome = None
        self.state.end_if_asked()
        self.outcome = FAILED
        self.outcome = self._execute(line, exit_on_error=exit_on_error)
        self.state.end_if_asked()
        return self.outcome

    def _execute(self, line: str, *, exit_on_error: bool) -> int:
        from filer.shell.line.length import LineTooLong, checked
        from filer.shell.line.parsing import commands_of, shown_name
        from filer.shell.line.words import LanguageError

        self._interrupted = self._broken_off = self.asked_all = False
        self._left = UnreadAnswers()
        self.filer.interrupt.clear()  # before splitting: Ctrl-C counts from here on
        try:
            commands = commands_of(self.commands, checked(line))
        except (LanguageError, LineTooLong) as problem:
            self._record.begin()
            self.console.fail(Complaint(str(problem), "syntax"))
            self._record.end(FAILED)
            return FAILED
        status = OK
        for words in commands:
            if self._interrupted or self.filer.interrupt.stopped:
                return FAILED
            try:
                status = max(status, self._run(words, line, shown_name(words[0], line)))
            except Leave as leave:
                leave.after_failure = leave.after_failure or status != OK
                raise
            if exit_on_error and status != OK:
                break
        return status

    def _run(self, words: Sequence[str], line: str, shown: str) -> int:
        self._record.begin(command=shown)
        status = FAILED
        try:
            status = self._parse_and_call(words, line)
        except Leave as leave:
            status = FAILED if leave.after_failure else OK
            raise
        finally:
            self._record.end(status)
        return status

    def _parse_and_call(self, words: Sequence[str], line: str) -> int:
        from filer.shell.line.parsing import WrongWords, parse_command

        try:
            command, parse = parse_command(self.commands, words, line)
        except WrongWords as problem:
            self.console.fail(problem.complaint)
            for usage in problem.usage:
                self.console.fail(Complaint(f"usage: {usage}", None))
            return FAILED
        self._record.name(_full_name(command, parse))
        return self._call(command, parse)

    def _call(self, command: Command, parse: "Parse") -> int:
        call = Call(command, parse, self.filer, self.console, self.state, self.commands)
        subcommand = command.with_line(parse.line)
        self.running = command.name
        try:
            call.filer = self._target(command, subcommand)
            with (
                self._turn(command, subcommand, parse),
                self.filer.progress.shown(self.console.progress),
            ):
                subcommand.run(call)
        except Unprefixed as refusal:
            call.fail(Complaint(str(refusal), "refused"))
        except FilerError as refusal:
            call.fail(Complaint(f"{command.name}: {refusal}", "refused"))
        except UnreadAnswers as left:
            self._left = left
            call.failed = True
        except EndOfAnswers:
            self._broken_off = True
            call.fail(Complaint(f"{command.name}: end of input", "end_of_input"))
        except (Cancelled, Interrupted) as stop:
            self._interrupted = self._broken_off = True
            if isinstance(stop, Interrupted):
                self._log_interruption(command, parse)
            call.fail(interrupted(command.name))
        except OutputLost:
            self._log_interruption(command, parse)
            raise
        except Ended:
            self._log_interruption(command, parse)
            with suppress(OutputLost):
                call.fail(interrupted(command.name))
            raise
        except Leave as leave:
            leave.after_failure = leave.after_failure or call.failed
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as defect:  # ours or a plug-in's; the console goes on
            text = f"{command.name}: {problem(defect)}"
            call.fail(Complaint(text, "internal"))
            self.filer.messages.log("kern.internal.error", "error", describe(defect))
        finally:
            self.running = None
        self.asked_all = call.asked_all
        return FAILED if call.failed else OK

    def _log_interruption(self, command: Command, parse: "Parse") -> None:
        """Log that a change may be incomplete: the user may be gone."""
        if command.with_line(parse.line).changes:
            text = f"{_full_name(command, parse)} of {self.state.who}: interrupted"
            self.filer.messages.log("console.interrupted", "warning", text)

    def _turn(
        self, command: Command, subcommand: Subcommand, parse: "Parse"
    ) -> AbstractContextManager[None]:
        """Return the lock for a line that changes the filer."""
        if not subcommand.changes:
            return nullcontext()
        return self.filer.changes.turn(_full_name(command, parse), self.state.who)

    def shown(self, line: str) -> str:
        """Return ``line`` as logs and recordings show it.

        A line that cannot run may have a passphrase that a script out of step, or a paste, gives
        as a command.
        """
        from filer.shell.line.parsing import shown_line

        return shown_line(self.commands, line)

    def hides(self, line: str) -> bool:
        """Say whether ``line`` must not be kept: some of it may be a secret, and it cannot run."""
        return self.shown(line) != line

    def stray_answers(self, line: str) -> int:
        """Return how many lines after ``line``, which failed, may be answers it never asked for."""
        from filer.shell.line.answers import stray_answers

        return max(self._left.stray, stray_answers(self.commands, line))

    def unread_answers(self, line: str, read: int) -> int:
        """Return how many answers to ``line`` may follow in the input, after ``read`` of them.

        A dialogue that repeated a question or was interrupted may leave any number.
        """
        if self.asked_all:
            return 0
        if self._left.unread:
            return self._left.unread
        from filer.shell.line.answers import expected_answers

        expected = expected_answers(self.commands, line)
        if expected == ALL_ANSWERS or (expected and (self._broken_off or read > expected)):
            return ALL_ANSWERS
        return max(0, expected - read)


class Host(Protocol):
    """The source of a session's command lines: a terminal, a script, a replay, or SSH."""

    status: int

    @property
    def is_for_people(self) -> bool:
        """Whether a person can see and end a long wait, such as that for giveback."""

    def run(self, session: Session) -> None:
        """Run lines in ``session`` until there are no more."""

    def announce(self, line: str, *, only_watched: bool = False) -> None:
        """Show people a line of the system log; from any thread.

        ``only_watched``: not at a terminal that a program drives.
        """


def _full_name(command: Command, parse: "Parse") -> str:
    return " ".join((command.name, *parse.subcommand))
