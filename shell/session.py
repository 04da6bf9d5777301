"""One console session: a line in, its output, a status out."""

from collections.abc import Mapping, Sequence

from commands import (
    ALL_ANSWERS,
    Boot,
    Call,
    Cancelled,
    Command,
    Console,
    EndOfAnswers,
    Logout,
    OutputLost,
    PowerOff,
    SessionState,
    Unprefixed,
)
from filer.errors import FilerError
from filer.interrupt import Interrupted
from filer.system import Filer
from filer.text import printable
from shell.defects import describe
from shell.grammar import Grammar, Parse, UsageError
from shell.language import LanguageError, split
from shell.signals import Ended

OK, FAILED = 0, 1


class Session:
    """Runs lines on a filer, for whoever is at the console."""

    def __init__(
        self, filer: Filer, commands: Mapping[str, Command], console: Console, prompt: str = ""
    ) -> None:
        self.filer = filer
        self.commands = commands
        self.console = console
        self.state = SessionState()
        self._prompt = prompt
        self.asked_all = False
        self._grammars: dict[str, Grammar] = {}

    def begin(self, filer: Filer) -> None:
        """Take up a filer that has just booted; the privilege is that of the start again."""
        self.filer = filer
        self.state.privilege = "admin"

    def grammar(self, name: str) -> Grammar:
        """Return the grammar of a command, compiled when it is first needed."""
        if name not in self._grammars:
            command = self.commands[name]
            self._grammars[name] = Grammar.compile(command.synopsis, command.variables)
        return self._grammars[name]

    @property
    def prompt(self) -> str:
        """The prompt, without the blank after it: that of the filer, unless one was given."""
        if self._prompt:
            return self._prompt
        mark = "*" if self.state.privilege != "admin" else ""
        return f"{self.filer.hardware.hostname}{mark}>"

    def execute(self, line: str, *, exit_on_error: bool = False) -> int:
        """Run the commands of ``line``; return OK if every one succeeded, else FAILED.

        With ``exit_on_error`` the first one that fails is the last one to run.

        Raises PowerOff or Logout when a command asks for it.
        """
        try:
            commands = split(line)
        except LanguageError as problem:
            self.console.fail(str(problem))
            return FAILED
        self.asked_all = False
        status = OK
        for words in commands:
            status = max(status, self._run(words))
            if exit_on_error and status != OK:
                break
        return status

    def _run(self, words: Sequence[str]) -> int:
        self.filer.interrupt.clear()
        command = self.commands.get(words[0])
        if command is None:
            self.console.fail(f"{printable(words[0])} not found.  Type '?' for a list of commands")
            return FAILED
        try:
            parse = self.grammar(command.name).parse(words)
        except UsageError as problem:
            self.console.fail(str(problem))
            for usage in problem.usage:
                self.console.fail(f"usage: {usage}")
            return FAILED
        return self._call(command, parse)

    def _call(self, command: Command, parse: Parse) -> int:
        call = Call(command, parse, self.filer, self.console, self.state, self.commands)
        try:
            command.run(call)
        except Unprefixed as refusal:
            call.fail(str(refusal))
        except FilerError as refusal:
            call.fail(f"{command.name}: {refusal}")
        except EndOfAnswers:
            call.fail(f"{command.name}: end of input")
        except (Cancelled, Interrupted):
            call.fail(f"{command.name}: interrupted")
        except (Boot, Logout, PowerOff, OutputLost, Ended, KeyboardInterrupt):
            raise
        except BaseException as defect:  # of ours or of a plug-in; the console goes on
            call.fail(f"{command.name}: internal error: {describe(defect)}")
            self.filer.messages.log("kern.internal.error", "error", describe(defect))
        self.asked_all = call.asked_all
        return FAILED if call.failed else OK

    def would_run(self, line: str) -> bool:
        """Say whether ``line`` is made of commands whose words fit their grammar."""
        try:
            commands = split(line)
            for words in commands:
                self.grammar(words[0]).parse(words)
        except (LanguageError, KeyError, UsageError):
            return False
        return bool(commands)

    def unread_answers(self, line: str) -> int:
        """Return how many lines of answers follow ``line`` in a script (see ``Command.unread``).

        Where the name of a command is unknown it may be a mistyped one: the most that any
        command would ask.
        """
        try:
            lists: Sequence[Sequence[str]] = split(line)
        except LanguageError:
            lists = [line.split()]
        counts = [
            _unread(command, words)
            for words in lists
            for command in (
                [self.commands[words[0]]] if words[0] in self.commands else self.commands.values()
            )
        ]
        return ALL_ANSWERS if ALL_ANSWERS in counts else max(counts, default=0)


def _unread(command: Command, words: Sequence[str]) -> int:
    try:
        return command.unread(words[1:])
    except Exception:  # of a plug-in, which then asks nothing
        return 0
