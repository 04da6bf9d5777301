"""One SSH session: a channel, and the thread that runs its commands."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import asyncssh

from filer.commands import Command, Console, Leave, Next, SessionState
from filer.host.standard_streams import OutputLost, write
from filer.shell.batch.inputs import LineInput
from filer.shell.batch.script import Script, ScriptConsole
from filer.shell.defects import describe
from filer.shell.line.length import lines_of
from filer.shell.prompt.console_reader import ConsoleReader
from filer.shell.prompt.keyboard import Keyboard, knows_its_cursor
from filer.shell.prompt.settings import Settings
from filer.shell.prompt.terminal import Terminal
from filer.shell.session import FAILED, Host, Session, interrupted
from filer.shell.signals import SIGNALLED, Ended
from filer.shell.ssh.console import CTRL_C, OneShot, RemoteConsole, RemoteSignals
from filer.shell.ssh.public_keys import Grant
from filer.shell.ssh.streams import Feed, Flow, text_output
from filer.system import Filer

if TYPE_CHECKING:
    from filer.shell.prompt.editor import LineEditor

_COLUMNS, _ROWS = 80, 24
_MOST_COLUMNS, _MOST_ROWS = 500, 250
"""The limits of a screen, which takes memory for each character."""


@dataclass(frozen=True)
class Served:
    """What all sessions share; times in seconds."""

    filer: Filer
    commands: Mapping[str, Command]
    settings: Settings
    begin: float
    """The time to request a shell or command, and to close the channel after the end."""

    idle: float
    """The time that a running session may be idle."""

    ended: "Callable[[SshSession, Next], None]"
    """Called in the event loop when a session is over, with what the filer does next."""


class SshSession(asyncssh.SSHServerSession[Any]):
    """A console of the filer for ``who``: a prompt, one command, or a script.

    The methods run in the event loop, except for those under "The thread of the session".
    """

    def __init__(
        self, served: Served, who: str, grant: Grant, closed: "Callable[[SshSession], None]"
    ) -> None:
        """Make a session; ``closed`` is called when its channel is closed."""
        self.who = who
        self._served = served
        self._grant = grant
        self._closed = closed
        self._signals = RemoteSignals()
        self._terminal: str | None = None
        self._command: str | None = None
        self._loop = asyncio.get_running_loop()
        self._flow = Flow(self._loop)
        self._active_at = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._over = False
        self._channel: Any = None  # until asyncssh has opened it
        self._echoes = True
        self.takeover = True
        """Whether the partner may take over when this session has ended the filer."""

        self._host: Host | None = None
        self._session: Session | None = None
        self._reader: ConsoleReader | None = None

    # Requests of the client.

    def connection_made(self, chan: Any) -> None:
        """Take the channel, in bytes: the reader of the session edits the lines."""
        self._channel = chan
        self._feed = Feed(chan)
        chan.set_encoding(None)
        if self._over:
            chan.close()
        self._end_if_idle()

    def pty_requested(
        self, term_type: str, term_size: object, term_modes: Mapping[int, int]
    ) -> bool:
        """Accept any terminal, with or without echo, unless the key forbids it."""
        if not self._grant.terminal:
            return False
        self._terminal = term_type
        self._echoes = bool(term_modes.get(asyncssh.PTY_ECHO, 1))
        return True

    def shell_requested(self) -> bool:
        """Give the console, or run the command of the key."""
        self._command = self._grant.command
        return not self._over

    def exec_requested(self, command: str) -> bool:
        self._command = command if self._grant.command is None else self._grant.command
        return not self._over

    def subsystem_requested(self, subsystem: str) -> bool:
        """Refuse it, unless the key has a command, which replaces every request."""
        return self._grant.command is not None and self.shell_requested()

    def session_started(self) -> None:
        """Start the thread, once the pipe for its input is open."""
        self._active_at = self._loop.time()
        self._beginning = self._loop.create_task(self._begin())
        self._end_if_idle()

    async def _begin(self) -> None:
        try:
            readable, writable = os.pipe()
            with ExitStack() as stack:
                stack.callback(os.close, readable)
                await self._feed.open(writable)
                threading.Thread(target=self._serve, args=(readable,), daemon=True).start()
                stack.pop_all()  # the thread has it now
        except (OSError, RuntimeError) as problem:  # out of descriptors or threads
            self._served.filer.messages.log("ssh.session.failure", "error", describe(problem))
            self._end(FAILED, Next.END)

    # Input from the client.

    def data_received(self, data: bytes, datatype: object) -> None:
        """Pass on the input; Ctrl-C while a command runs is a signal, as at any terminal."""
        self._active_at = self._loop.time()
        if self._terminal is not None and CTRL_C in data and not self._signals.awaited:
            data = data.rpartition(CTRL_C)[2]  # and drop the input before it
            self._signals.deliver(signal.SIGINT)
        self._feed.write(data)

    def eof_received(self) -> bool:
        """End the input, but not the output."""
        self._feed.end()
        return True

    def break_received(self, msec: int) -> bool:
        """Treat a break as Ctrl-C."""
        if self._signals.awaited:
            self._feed.write(CTRL_C)
        else:
            self._signals.deliver(signal.SIGINT)
        return True

    def signal_received(self, signal: str) -> None:
        if signal == "INT":
            self.break_received(0)
        elif signal in ("TERM", "HUP"):
            self.hang_up()

    def pause_writing(self, cause: str = "channel") -> None:
        """Make the commands wait: the client does not read."""
        self._flow.pause(cause)

    def resume_writing(self, cause: str = "channel") -> None:
        self._flow.resume(cause)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the running command at its next safe point."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._closed(self)
        self.hang_up()

    # The end.

    def hang_up(self) -> None:
        """End the session: at once at a prompt, in a command at its next safe point."""
        self._stop(self._flow.lose)

    def end_with(self, farewell: str) -> None:
        """Print ``farewell``, and end the session.

        A pending question is cancelled at once.  A running command goes on to its next safe point,
        and its output is sent if the client reads.
        """
        command = self._session.running if self._session and self._signals.awaited else None
        lines = [*([interrupted(command)] if command else []), farewell]
        if self._channel is not None:
            if self._terminal is None:
                self._put_error("".join(f"{line}\n" for line in lines).encode())
            else:
                text = "".join(f"\r\n{line}" for line in lines)
                self._put(f"{self._erased_below}{text}\r\n".encode())
        self._stop(self._flow.lose if self._signals.awaited else self._flow.never_wait)

    def _stop(self, end_output: Callable[[], None]) -> None:
        """Stop the session; ``end_output`` decides how further output ends."""
        if self._beginning is None:
            self._end(SIGNALLED + signal.SIGHUP, Next.END)
            return
        self._signals.deliver(signal.SIGHUP)
        if self._flow.paused_at is not None:
            self._channel.abort()  # a client that does not read would never see the end
        end_output()
        self._feed.break_off()

    @property
    def _erased_below(self) -> str:
        """The sequence that erases the menu and the toolbar, which are below the typed line."""
        return "\x1b[J" if self._reader is not None and self._reader.draws else ""

    def idle(self) -> float | None:
        """Return the seconds that the session has waited for its client, or None if it does not.

        It may wait for input, for the client to read, or for its request of a shell or command.
        """
        if self._channel is None:
            return None
        now = self._loop.time()
        if self._flow.paused_at is not None:
            return now - self._flow.paused_at
        if self._signals.awaited or self._beginning is None or self._over:
            return now - self._active_at
        return None

    def _end_if_idle(self) -> None:
        """End the session after too long a wait for its client; otherwise check again later.

        It may be in the middle of a dialogue, which blocks changes by all other sessions.
        """
        if self._watch is not None:
            self._watch.cancel()
        short = self._beginning is None or self._only_close_is_missing
        limit = self._served.begin if short else self._served.idle
        left = limit - (self.idle() or 0.0)
        self._watch = self._loop.call_later(left if left > 0 else limit, self._end_if_idle)
        if left > 0:
            return
        if self._over:
            # The client does not read the end, or does not close its side.
            self._channel.get_connection().close()
        else:
            self.end_with(f"{self._served.filer.hardware.hostname}: idle; this session ends.")

    @property
    def _only_close_is_missing(self) -> bool:
        """Whether the session is over, all output is sent, and only the client has to close."""
        return self._over and not self._channel.get_write_buffer_size()

    def _end(self, status: int, following: Next) -> None:
        if self._over:
            return
        self._over = True
        self._active_at = self._loop.time()
        if self._channel is not None:
            self._feed.break_off()
            self._channel.exit(status)
        if self._watch is not None:  # the channel is still open
            self._end_if_idle()
        self._served.ended(self, following)

    def announce(self, line: str, *, only_watched: bool = False) -> None:
        """Show a line of the system log to a person; called in a thread of its own."""
        if self._host is not None:
            self._host.announce(line, only_watched=only_watched)

    # The thread of the session.

    def _serve(self, readable: int) -> None:
        self._served.filer.interrupt.use(self._signals.interrupt)
        following = Next.END
        status = FAILED
        try:
            with ExitStack() as stack:
                host, session = self._open(readable, stack)
                self._host = host
                try:
                    host.run(session)
                except Leave as leave:
                    following, self.takeover = leave.next, leave.takeover
                status = host.status
        except KeyboardInterrupt:
            status = SIGNALLED + signal.SIGINT
        except (Ended, OutputLost, BrokenPipeError):  # the client has gone
            status = SIGNALLED + signal.SIGHUP
        except BaseException as defect:  # the other sessions go on
            self._served.filer.messages.log("kern.internal.error", "error", describe(defect))
        self._loop.call_soon_threadsafe(self._end, status, following)

    def _open(self, readable: int, stack: ExitStack) -> tuple[Host, Session]:
        """Choose the command source: a person at a terminal, or a script."""
        stream = stack.enter_context(os.fdopen(readable, "rb"))
        if self._terminal is None:
            host, console = self._script(stream)
        else:
            host, console = self._person(stream, stack)
        self._session = session = Session(
            self._served.filer,
            self._served.commands,
            console,
            state=SessionState(self.who, self._signals.end_if_asked),
        )
        return host, session

    def _script(self, stream: BinaryIO) -> tuple[Host, Console]:
        answers = lines = LineInput(lines_of(stream))
        if self._command is not None:
            lines = LineInput(self._command.encode().splitlines())
        self._signals.end_at_ctrl_c()
        console = ScriptConsole(
            answers,
            self._signals,
            out=text_output(self._flow, self._put, terminal=False, newline="\n"),
            err=text_output(self._flow, self._put_error, terminal=False, newline="\n"),
        )
        return Script(lines, answers, console, self._signals), console

    def _person(self, stream: BinaryIO, stack: ExitStack) -> tuple[Host, Console]:
        signals = self._signals
        screen = text_output(self._flow, self._put, terminal=True, newline="\r\n")
        terminal = self._terminal or ""
        keyboard = Keyboard(stream.fileno(), echoes=self._echoes)

        def open_editor(session: Session) -> "LineEditor":
            from filer.shell.ssh.editor import line_editor

            editor = line_editor(
                stream.fileno(),
                screen,
                size=self._size,
                terminal=terminal,
                session=session,
                signals=signals,
                settings=self._served.settings,
            )
            return stack.enter_context(editor)

        if knows_its_cursor(terminal):
            keyboard.ask(partial(write, screen))
        reader = self._reader = ConsoleReader(keyboard, signals, screen, screen, open_editor)
        console = RemoteConsole(
            reader,
            signals,
            self._served.settings,
            screen=screen,
            terminal=terminal,
            columns=lambda: self._size()[0],
        )
        if self._command is None:
            return Terminal(reader, console), console
        return OneShot(self._command, reader), console

    def _size(self) -> tuple[int, int]:
        columns, rows, *_ = self._channel.get_terminal_size()
        return min(columns or _COLUMNS, _MOST_COLUMNS), min(rows or _ROWS, _MOST_ROWS)

    # In the event loop again: the output of the thread.

    def _put(self, data: bytes, datatype: int | None = None) -> None:
        self._active_at = self._loop.time()
        with suppress(OSError):  # closed; connection_lost() follows
            self._channel.write(data, datatype)

    def _put_error(self, data: bytes) -> None:
        self._put(data, asyncssh.EXTENDED_DATA_STDERR)
