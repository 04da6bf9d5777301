"""?, help, man, history: the console's own commands."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from commands import Call, Command, Refused, Suggestion, Unprefixed, no_values
from filer.system import Filer
from filer.text import printable

_GAP = 2


@dataclass(frozen=True)
class CommandList:
    """``?``: the names of all commands."""

    names: Sequence[str]
    width: int

    def lines(self) -> Iterable[str]:
        """The names in columns, read downwards."""
        column = max(map(len, self.names)) + _GAP
        columns = max(1, self.width // column)
        rows = -(-len(self.names) // columns)
        for row in range(rows):
            yield "".join(f"{name:<{column}}" for name in self.names[row::rows]).rstrip()


def _help(call: Call) -> None:
    name = call.value("command")
    if name is None:
        names = sorted(
            command.name
            for command in call.commands.values()
            if command.privilege in ("admin", call.session.privilege)
        )
        call.show(CommandList(names, call.console.width))
    elif name in call.commands:
        call.say(f"{name} - {call.commands[name].summary}")
    else:
        raise Unprefixed(f"{printable(name)} not found.  Type '?' for a list of commands")


def _man(call: Call) -> None:
    from shell import manpages
    from shell.typesetting import render

    name = call.value("page") or ""
    page = manpages.find(name)
    if page is None:
        raise Refused(f"no manual page for {printable(name)}")
    call.console.page(render(page.source, call.console.width))


def _history(call: Call) -> None:
    for number, line in enumerate(call.session.history, start=1):
        call.say(f"{number:5}  {printable(line)}")


def _pages(_filer: Filer, _subcommand: tuple[str, ...]) -> Iterable[Suggestion]:
    from shell import manpages

    return [(name, "manual page") for name in manpages.names()]


def _make(
    name: str,
    summary: str,
    synopsis: str,
    run: Callable[[Call], None],
) -> Command:
    variables = {word: no_values for word in ("command",) if word in synopsis.split()}
    return Command(name, summary, (synopsis,), run, variables)


COMMANDS = (
    _make("?", "list the commands", "? [ command ]", _help),
    _make("help", "list the commands, or say what one does", "help [ command ]", _help),
    Command("man", "show a manual page", ("man page",), _man, {"page": _pages}),
    Command("history", "list the commands of this session", ("history",), _history),
)
