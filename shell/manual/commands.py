"""The commands ``?``, ``help``, ``man`` and ``history``."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import ClassVar

from filer.commands import Call, Command, Fields, FromCommands, Refused, Subcommand, Suggestion
from filer.commands.parts.command_list import CommandList, Summary
from filer.host.errors import FilerError
from filer.host.quoting import named
from filer.host.text import printable
from filer.shell.line.names import is_listed, not_found


class CommandSummary(Fields):
    """``help COMMAND``."""

    TYPE: ClassVar[str] = "command"
    command: str
    summary: str
    synopsis: Sequence[str]

    def lines(self) -> Iterable[str]:
        return [f"{self.command} - {self.summary}"]


class HistoryList(Fields):
    """``history``."""

    TYPE: ClassVar[str] = "history"
    typed: Sequence[str]

    def lines(self) -> Iterable[str]:
        return [f"{number:5}  {line}" for number, line in enumerate(self.typed, start=1)]


def _help(call: Call) -> None:
    name = call.value("command")
    if name is None:
        commands = [
            Summary(command.name, command.summary)
            for command in sorted(call.commands.values(), key=lambda command: command.name)
            if is_listed(command, call.session)
        ]
        explain = call.command.name == "help" and call.console.is_terminal
        call.show(CommandList(commands, call.console.width, one_a_line=explain))
    elif name in call.commands:
        command = call.commands[name]
        call.show(CommandSummary(command.name, command.summary, command.synopsis))
    else:
        call.fail(not_found(named(name)))


def _man(call: Call) -> None:
    from filer.shell.manual import pages
    from filer.shell.manual.text import ManualText

    name = call.value("page") or ""
    page = pages.find(name, [each.manual for each in call.commands.values() if each.manual])
    if page is None:
        raise Refused(f"no manual page for {named(name)}")
    call.console.page(ManualText(page.source, call.console.width, call.commands))


def _history(call: Call) -> None:
    call.show(HistoryList([printable(line) for line in call.session.history]))


def _pages(commands: Iterable[Command]) -> Iterable[Suggestion]:
    from filer.shell.manual import pages

    found = dict(pages.summaries())
    for command in commands:
        if command.manual:
            with suppress(FilerError, OSError):  # offer the other pages
                found |= pages.summaries((command.manual,))
    return found.items()


_NAMES = FromCommands(lambda commands: [(each.name, each.summary) for each in commands])

COMMANDS = (
    Command(
        "?",
        "list the commands",
        Subcommand("? [ command ]", _help, values={"command": _NAMES}, changes=False),
    ),
    Command(
        "help",
        "list the commands, or say what one does",
        Subcommand("help [ command ]", _help, values={"command": _NAMES}, changes=False),
    ),
    Command(
        "man",
        "show a manual page",
        Subcommand("man page", _man, values={"page": FromCommands(_pages)}, changes=False),
    ),
    Command(
        "history",
        "list the commands of this session",
        Subcommand("history", _history, changes=False),
    ),
)
