"""One run of the program ``filer``: choose the command source, run, return the exit status."""

import gc
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, BinaryIO

from filer.boot.machine import Machine
from filer.commands import ALL_ANSWERS, Console, Text
from filer.host.core_files import forbid_core_files
from filer.host.descriptors import TOO_FEW, has_too_few, require_descriptors
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.standard_streams import (
    OutputLost,
    abandon_standard_streams,
    status_without_output,
    write,
)
from filer.host.text import printable
from filer.host.user_paths import user_path
from filer.running.interrupt import Interrupt
from filer.shell.batch.inputs import (
    Files,
    Input,
    KeyboardInput,
    KeyboardLines,
    LineInput,
    lines_read,
)
from filer.shell.batch.script import Script, ScriptConsole
from filer.shell.defects import explain
from filer.shell.options import is_interactive
from filer.shell.plugins import Commands
from filer.shell.power_cycle import PANICKED, PowerCycle
from filer.shell.prompt.reader import LineReader
from filer.shell.session import Host, NoRecord, Record, Session
from filer.shell.signals import SIGNALLED, Ended, Signals
from filer.system import Filer

if TYPE_CHECKING:
    from filer.host.toml_file import ConfigError
    from filer.shell.demo import Demo
    from filer.shell.prompt.editor import LineEditor
    from filer.shell.prompt.settings import Settings
    from filer.shell.prompt.tty import Tty
    from filer.shell.recording.recorder import Recorder
    from filer.shell.recording.replay import Replay
    from filer.shell.ssh.server import SshHost

CALLED_WRONGLY = 2


def run(options: Namespace, keyboard: "Tty | None") -> int:
    """Run the program with ``options``, and return its exit status.

    ``keyboard`` is the terminal of an interactive console; a cursor query has been sent to it.
    """
    forbid_core_files()
    interrupt = Interrupt()
    signals = Signals(interrupt)
    signals.install()
    try:
        require_descriptors()  # a disk or a key server must not fail for want of one
        with ExitStack() as stack:
            return _run(options, keyboard, interrupt, signals, stack)
    except (KeyboardInterrupt, Ended, Exception) as end:
        return _exit_status(end, signals, as_json=options.format == "json")


def _exit_status(end: BaseException, signals: Signals, *, as_json: bool) -> int:
    """Report why the program ended, if output still works; return the exit status."""
    match end:
        case KeyboardInterrupt():
            return SIGNALLED + signal.SIGINT
        case Ended():
            return SIGNALLED + (signals.received or signal.SIGTERM)
        case OutputLost():
            return status_without_output("filer", end)
        case FilerError():
            status, text = CALLED_WRONGLY, f"filer: {end}"
        case OSError() if has_too_few(end):
            status, text = CALLED_WRONGLY, f"filer: {TOO_FEW}"
        case _:
            status, text = PANICKED, f"PANIC: internal error: {explain(end)}"
    try:
        _report_failure(status, text, as_json=as_json)
    except OutputLost:
        abandon_standard_streams()
    return status


def _report_failure(status: int, text: str, *, as_json: bool) -> None:
    if as_json:
        from filer.shell.batch.json_lines import write_object

        write_object(sys.stdout, {"event": "failure", "status": status, "message": text})
    else:
        write(sys.stderr, f"{text}\n")


def _run(
    options: Namespace,
    keyboard: "Tty | None",
    interrupt: Interrupt,
    signals: Signals,
    stack: ExitStack,
) -> int:
    if options.ssh_password is not None:
        from filer.shell.ssh.password import set_password

        return set_password(options.ssh_password, options.root, signals)
    if options.check:
        from filer.shell.check import check_files

        return check_files(options.files, signals, as_json=options.format == "json")
    if options.new_pair is not None:
        return _new_pair(options.new_pair)
    if options.pair:
        from filer.shell.demo_pair import run_demo

        if options.ssh:
            _ssh_host()
        return run_demo(options.ssh, signals)
    recorder = _recorder(options, stack)
    answers = _answers(signals) if options.command or options.replay else None
    replay = _replay(options, signals, answers)
    host: Host
    console: Console
    if replay:
        host, console = replay, replay.console
    else:
        host, console = _host(options, keyboard, signals, stack, recorder=recorder, answers=answers)
    demo: Demo | None = None
    if options.demo:
        from filer.shell import demo as demo_module

        demo = stack.enter_context(demo_module.demo())
    commands = Commands(lambda warning: console.warn(f"WARNING: {warning}"))
    person = None
    if isinstance(answers, KeyboardInput) and (
        replay.asks_for_secrets if replay else _may_ask(commands, options.command)
    ):
        person = answers
        stack.enter_context(_for_dialogues(person))  # also during the boot
    machine = Machine(demo.roots[0] if demo else options.root, interrupt)
    stack.callback(machine.unplug)

    def first_up(filer: Filer) -> None:
        if demo:
            _greet(demo, filer, host, console)

    def collect_garbage() -> None:
        gc.freeze()  # scanning all modules would cost a short script 9 ms
        gc.enable()

    record = console if isinstance(console, Record) else NoRecord()
    cycle = PowerCycle(machine, commands, host, console, signals, first_up, collect_garbage, record)
    status = cycle.run()
    if person and status == PANICKED:
        person.skip(ALL_ANSWERS)
    return replay.report() if replay else status


def _new_pair(directory: Path) -> int:
    from filer.pair.making import make_pair

    roots = make_pair(directory, Storage())
    write(
        sys.stdout,
        "".join(f"filer --root {printable(quote(str(root)))}\n" for root in roots),
    )
    return 0


@contextmanager
def _for_dialogues(answers: KeyboardInput) -> Iterator[None]:
    """Echo no answer that is typed ahead; drop those left at an error, so no shell runs them."""
    with answers.unseen():
        try:
            yield
        except BaseException:
            answers.skip(ALL_ANSWERS)
            raise


def _may_ask(commands: Commands, lines: Iterable[str]) -> bool:
    from filer.shell.line.answers import may_ask  # only for -c

    return any(may_ask(commands, line) for line in lines)


def _greet(demo: "Demo", filer: Filer, host: Host, console: Console) -> None:
    demo.install_certificates(filer.installed, filer.now())
    over_ssh = _over_ssh(host)
    if over_ssh:
        demo.give_ssh_access(filer.storage, filer.root)
        over_ssh.hint, over_ssh.known_hosts = demo.ssh_hint, demo.known_hosts
    if console.is_terminal or over_ssh:
        for line in demo.hints():
            console.show(Text(line))


def _over_ssh(host: Host) -> "SshHost | None":
    """Return the host if it gives the console over SSH."""
    if "filer.shell.ssh.server" not in sys.modules:
        return None
    from filer.shell.ssh.server import SshHost

    return host if isinstance(host, SshHost) else None


def _host(
    options: Namespace,
    keyboard: "Tty | None",
    signals: Signals,
    stack: ExitStack,
    *,
    recorder: "Recorder | None",
    answers: Input | None,
) -> tuple[Host, Console]:
    """Choose the command source: terminal, script or SSH."""
    if options.ssh:
        return _ssh(options, signals)
    lines: LineInput
    if answers is not None:
        lines = LineInput(os.fsencode(command) for command in options.command)
        return _script(options, signals, lines, answers, recorder)
    if keyboard is not None:
        return _terminal(keyboard, signals, stack, recorder)
    with signals.waiting():  # for the writer of a FIFO
        files = [(name, _open(name, stack)) for name in options.files or ["-"]]
    typed = [stream for _, stream in files if stream.isatty()]
    if not typed:
        lines = Files(files, signals)
    elif len(files) == 1:
        lines = KeyboardLines(stack.enter_context(_plain_reader(typed[0], signals)))
    else:
        raise FilerError("a terminal as FILE goes without other FILEs")
    return _script(options, signals, lines, lines, recorder)


def _terminal(
    keyboard: "Tty", signals: Signals, stack: ExitStack, recorder: "Recorder | None"
) -> tuple[Host, Console]:
    from filer.shell.prompt.console_reader import ConsoleReader
    from filer.shell.prompt.terminal import Terminal, TerminalConsole
    from filer.shell.prompt.tty import output_of

    settings, errors = _settings()

    def open_editor(session: Session) -> "LineEditor":
        from filer.shell.line.paths import host_paths
        from filer.shell.prompt.editor import LineEditor  # slow to load

        return LineEditor(
            session,
            signals,
            settings=settings,
            paths=host_paths,
            typed=recorder.typed if recorder else None,
        )

    screen = sys.__stdout__
    is_seen = screen is not None and screen.isatty()
    terminal = screen if is_seen else stack.enter_context(output_of(keyboard.fileno()))
    assert terminal is not None
    reader: LineReader = ConsoleReader(keyboard, signals, sys.stdout, terminal, open_editor)
    if recorder:
        from filer.shell.recording.recorder import RecordedReader, RecordedTerminalConsole

        reader = RecordedReader(reader, recorder)
        console: TerminalConsole = RecordedTerminalConsole(reader, signals, recorder, settings)
    else:
        console = TerminalConsole(reader, signals, settings)
    _warn(console, errors)
    return Terminal(reader, console), console


def _settings() -> "tuple[Settings, list[ConfigError]]":
    from filer.shell.prompt.settings import DEFAULTS, load

    directory = user_path("config", "filer")
    return load(directory) if directory else (DEFAULTS, [])


def _warn(console: Console, errors: "list[ConfigError]") -> None:
    for error in errors:
        console.warn(f"WARNING: {error}; ignored")


def _script(
    options: Namespace,
    signals: Signals,
    lines: LineInput,
    answers: Input,
    recorder: "Recorder | None",
) -> tuple[Host, Console]:
    signals.end_at_ctrl_c()
    console = _script_console(options, signals, answers, recorder)
    console.exit_on_error = options.exit_on_error
    return Script(lines, answers, console, signals), console


def _script_console(
    options: Namespace, signals: Signals, answers: Input, recorder: "Recorder | None"
) -> ScriptConsole:
    if options.format == "json":
        from filer.shell.batch.json_lines import JsonConsole

        return JsonConsole(answers, signals, echo=options.echo)
    if recorder:
        from filer.shell.recording.recorder import RecordedScriptConsole

        return RecordedScriptConsole(answers, signals, recorder, echo=options.echo)
    return ScriptConsole(answers, signals, echo=options.echo)


def _recorder(options: Namespace, stack: ExitStack) -> "Recorder | None":
    if options.record is None:
        return None
    from filer.shell.recording.asciicast import Mode
    from filer.shell.recording.recorder import recording

    mode = Mode.INTERACTIVE if is_interactive(options) else Mode.SCRIPT
    return stack.enter_context(recording(options.record, mode))


def _replay(options: Namespace, signals: Signals, answers: Input | None) -> "Replay | None":
    if options.replay is None or answers is None:
        return None
    from filer.shell.recording.replay import Replay, read_cast

    signals.end_at_ctrl_c()
    with signals.waiting():  # for the writer of a FIFO
        recorded = read_cast(options.replay)
    may_destroy = options.demo or options.allow_data_loss
    return Replay(options.replay, recorded, answers, signals, may_destroy=may_destroy)


def _answers(signals: Signals) -> Input:
    """Return the source of answers if the commands come from elsewhere."""
    if not sys.stdin.isatty():
        return LineInput(lines_read(sys.stdin.buffer, "-", signals))
    return KeyboardInput(lambda: _plain_reader(sys.stdin.buffer, signals))


@contextmanager
def _plain_reader(stream: BinaryIO, signals: Signals) -> Iterator[LineReader]:
    """Yield a reader for a terminal, which echoes only while a prompt is read."""
    from filer.shell.prompt.plain_reader import PlainReader
    from filer.shell.prompt.tty import Tty, output_of

    descriptor = stream.fileno()
    with closing(Tty(descriptor)) as keyboard, output_of(descriptor) as terminal:
        yield PlainReader(keyboard, signals, terminal, terminal)


def _ssh_host() -> "type[SshHost]":
    """Load the SSH server.  Raises FilerError if asyncssh is missing."""
    try:
        from filer.shell.ssh.server import SshHost
    except ImportError as missing:
        if missing.name != "asyncssh":
            raise
        raise FilerError("--ssh needs asyncssh: pip install asyncssh") from None
    return SshHost


def _ssh(options: Namespace, signals: Signals) -> tuple[Host, Console]:
    make_host = _ssh_host()
    signals.end_at_ctrl_c()
    settings, errors = _settings()
    address, port = options.ssh
    host = make_host(address, port, signals, settings)
    out, err = host.output.out, host.output.err
    console = ScriptConsole(LineInput(()), signals, out=out, err=out if out.isatty() else err)
    _warn(console, errors)
    return host, console


def _open(file: str, stack: ExitStack) -> BinaryIO:
    if file == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(file, "rb"))  # noqa: PTH123  (it is closed)
    except OSError as error:
        raise FilerError(f"cannot read {printable(file)}: {error.strerror}") from None
