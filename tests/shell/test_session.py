"""A session of the console: when a received signal takes effect."""

import signal

import pytest

from filer.commands import Command, SessionState, Subcommand
from filer.running.interrupt import Interrupt
from filer.shell.plugins import Commands
from filer.shell.session import Session
from filer.shell.signals import Ended, Signals
from tests.kit import manual
from tests.kit.house import Screen
from tests.kit.manual import Build

build = manual.build


def session_of(build: Build, signals: Signals) -> tuple[Session, Screen]:
    """Return a session with a command ``kill``, and its screen."""
    kill = Subcommand("kill", lambda _call: signals.deliver(signal.SIGTERM))
    commands = {**Commands(pytest.fail), "kill": Command("kill", "end the program", kill)}
    screen = Screen()
    end = signals.end_if_asked
    return Session(build().filer, commands, screen, state=SessionState(end_if_asked=end)), screen


def test_a_signal_that_has_come_keeps_a_line_from_running(build: Build) -> None:
    signals = Signals(Interrupt())
    session, screen = session_of(build, signals)
    assert session.execute("hostname") == 0
    signals.deliver(signal.SIGTERM)

    with pytest.raises(Ended):
        session.execute("version")

    assert screen.out == "filer1\n"


def test_a_signal_that_comes_while_a_line_runs_ends_the_session_after_it(build: Build) -> None:
    session, screen = session_of(build, Signals(Interrupt()))

    with pytest.raises(Ended):
        session.execute("kill; hostname")

    assert screen.out == "filer1\n"
