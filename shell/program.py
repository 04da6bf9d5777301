"""One run of the program ``filer``: which way in, and the exit status."""

import os
import signal
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, BinaryIO

from commands import Console, OutputLost, Text
from filer.errors import FilerError
from filer.interrupt import Interrupt
from filer.power import Machine
from filer.system import Filer
from filer.text import printable
from shell.defects import describe
from shell.output import write
from shell.plugins import Commands
from shell.power_cycle import PANICKED, Host, PowerCycle
from shell.script import Input, KeyboardInput, LineInput, Script, ScriptConsole
from shell.session import FAILED, Session
from shell.signals import SIGNALLED, Ended, Signals
from shell.standard_streams import abandon_standard_streams

if TYPE_CHECKING:
    from shell.demo import Demo

CALLED_WRONGLY = 2


def run(options: Namespace) -> int:
    """Run the program as ``options`` say, and return its exit status."""
    interrupt = Interrupt()
    signals = Signals(interrupt)
    signals.install()
    try:
        with ExitStack() as stack:
            return _run(options, interrupt, signals, stack)
    except (KeyboardInterrupt, Ended, Exception) as end:
        return _exit_status(end, signals)


def _exit_status(end: BaseException, signals: Signals) -> int:
    """Say what ended the program, if anybody is there to be told, and return its exit status."""
    match end:
        case KeyboardInterrupt():
            return SIGNALLED + signal.SIGINT
        case Ended():
            return SIGNALLED + (signals.received or signal.SIGTERM)
        case OutputLost(reason=None):
            abandon_standard_streams()
            return SIGNALLED + signal.SIGPIPE
        case OutputLost():
            status, text = FAILED, f"filer: cannot write standard output: {end.reason}"
        case FilerError():
            status, text = CALLED_WRONGLY, f"filer: {end}"
        case _:
            status, text = PANICKED, f"PANIC: internal error: {describe(end)}"
    with suppress(OutputLost):
        write(sys.stderr, f"{text}\n")
    if isinstance(end, OutputLost):
        abandon_standard_streams()
    return status


def _run(options: Namespace, interrupt: Interrupt, signals: Signals, stack: ExitStack) -> int:
    current: deque[Session] = deque(maxlen=1)
    host, console = _host(options, signals, stack, lambda: current[-1])
    demo: Demo | None = None
    if options.demo:
        from shell import demo as demo_module

        demo = stack.enter_context(demo_module.demo())
    machine = Machine(demo.root if demo else options.root, interrupt)
    stack.callback(machine.unplug)
    commands = Commands(lambda warning: console.warn(f"WARNING: {warning}"))
    if console.is_terminal:
        len(commands)  # a warning is not to break into what a person types

    def first_up(filer: Filer) -> None:
        if demo:
            _greet(demo, filer, console)

    return PowerCycle(machine, commands, host, console, signals, first_up, current.append).run()


def _greet(demo: "Demo", filer: Filer, console: Console) -> None:
    demo.install_certificates(filer)
    if console.is_terminal:
        for line in demo.hints():
            console.show(Text(line))


def _host(
    options: Namespace,
    signals: Signals,
    stack: ExitStack,
    session: Callable[[], Session],
) -> tuple[Host, Console]:
    """Decide who gives the commands: a person, or one of the forms of a script."""
    if options.command:
        keyboard = sys.stdin.isatty()
        answers: Input = KeyboardInput() if keyboard else _lines_of(sys.stdin.buffer)
        lines = LineInput(os.fsencode(command) for command in options.command)
        return _script(options, signals, lines, answers)
    if options.file is None and sys.stdin.isatty():
        from shell.terminal import Terminal, TerminalConsole, open_reader

        reader = open_reader(session, signals)
        return Terminal(reader, signals), TerminalConsole(reader, signals)
    stream = sys.stdin.buffer
    if options.file not in (None, "-"):
        stream = stack.enter_context(_open(options.file))
    lines = _lines_of(stream)
    file = None if stream is sys.stdin.buffer else options.file
    return _script(options, signals, lines, lines, file=file)


def _script(
    options: Namespace,
    signals: Signals,
    lines: LineInput,
    answers: Input,
    *,
    file: str | None = None,
) -> tuple[Host, Console]:
    console = ScriptConsole(answers, signals, echo=options.echo)
    script = Script(
        lines,
        answers,
        console,
        signals,
        file=file,
        exit_on_error=options.exit_on_error,
    )
    return script, console


def _lines_of(stream: BinaryIO) -> LineInput:
    # Unlike iteration over the stream, this hands a line out as soon as it is there.
    return LineInput(iter(stream.readline, b""))


def _open(file: str) -> BinaryIO:
    try:
        return open(file, "rb")  # noqa: PTH123  (closed by whoever asked)
    except OSError as error:
        raise FilerError(f"cannot read {printable(file)}: {error.strerror}") from None
