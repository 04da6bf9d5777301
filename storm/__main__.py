"""The program ``filer-storm``: lets many filers boot at once."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from filer.host.core_files import forbid_core_files
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.process import end_with
from filer.host.program import INTERRUPTED, complain, status_of
from filer.host.standard_streams import prepare_standard_streams, write
from filer.kmip.options import objection_to
from filer.storm.catalogue import name_of
from filer.storm.options import LOOPBACK, parse
from filer.storm.plan import PROGRAM, Plan, Post, Role
from filer.throw_away.ledger import default_path

if TYPE_CHECKING:
    from filer.storm.outcome import Outcome
    from filer.storm.session import Hearing

PASSED, FAILED, WRONG, NO_VERDICT = 0, 1, 2, 3
_STATUS = {"passed": PASSED, "failed": FAILED, "no_verdict": NO_VERDICT}
_ERASE = "\r\x1b[K"


class Signals:
    """Counts the requests to stop: the first ends the storm, the second the clean-up too."""

    def __init__(self) -> None:
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._received)

    def _received(self, *_: object) -> None:
        self._count += 1

    def stopping(self) -> bool:
        """Whether the storm must end."""
        return self._count > 0

    def hurry(self) -> bool:
        """Whether the clean-up must end."""
        return self._count > 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with ``argv`` (default: ``sys.argv[1:]``) and return its exit status."""
    prepare_standard_streams()

    def run() -> int:
        arguments = parse(argv)
        forbid_core_files()
        if arguments.command == "cleanup":
            return _clean_up(arguments)
        if find_spec("locust") is None:
            raise FilerError("it needs Locust: pip install 'filer[load]'")
        with tempfile.TemporaryDirectory(prefix=f"{PROGRAM}-") as scratch:
            return _work(arguments, scratch) if arguments.worker else _storm(arguments, scratch)

    return status_of(PROGRAM, run, failed=WRONG)


def _storm(arguments: argparse.Namespace, scratch: str) -> int:
    from filer.storm import session

    certs = arguments.certs.absolute()
    if not arguments.tagged:
        session.check_certificates(certs)
    plan = Plan(
        addresses=tuple(arguments.addresses),
        port=arguments.port,
        timeout=arguments.timeout,
        filers=arguments.filers,
        pairs=arguments.pairs,
        tagged=arguments.tagged,
        scenario=name_of(arguments.scenario),
        within=arguments.within,
    )
    workers, here = arguments.workers or 1, 0
    if arguments.master:
        post = _post(arguments, scratch, "master", arguments.bind, workers)
    elif workers > 1:
        here = workers
        post = _post(arguments, scratch, "master", (LOOPBACK, 0), workers)
    else:
        post = _post(arguments, scratch, "alone", (LOOPBACK, 0))
    choices = session.Choices(here, stocked=arguments.stocked, keep=arguments.keep)
    reports = Reports(arguments.html, arguments.json, arguments.junit)
    outcome = session.storm(plan, post, choices, Signals(), _hearing(), report=reports.write)
    return INTERRUPTED if outcome is None else _STATUS[outcome.verdict]


def _work(arguments: argparse.Namespace, scratch: str) -> int:
    from filer.storm import session

    signals = Signals()
    post = _post(arguments, scratch, "worker", arguments.worker)
    session.work(post, signals, _hearing())
    return INTERRUPTED if signals.stopping() else PASSED


def _post(
    arguments: argparse.Namespace,
    scratch: str,
    role: Role,
    place: tuple[str, int],
    workers: int = 1,
) -> Post:
    return Post(
        role=role,
        certs=str(arguments.certs.absolute()),
        scratch=scratch,
        ledger=str(arguments.ledger or default_path(PROGRAM)),
        scenario=arguments.scenario,
        host=place[0],
        control_port=place[1],
        workers=workers,
        agreed=arguments.yes_this_is_my_server,
    )


def _clean_up(arguments: argparse.Namespace) -> int:
    from filer.storm import ledgers, session

    ledger, _ = ledgers.opened(arguments.ledger)
    addresses = list(dict.fromkeys(each.key_server for each in ledgers.entries(ledger)))
    if reason := objection_to(addresses, agreed=arguments.yes_this_is_my_server):
        raise FilerError(reason)
    signals = Signals()
    with tempfile.TemporaryDirectory(prefix=f"{PROGRAM}-") as scratch:
        count, left = session.clean_up(
            arguments.ledger,
            arguments.certs and arguments.certs.absolute(),
            Path(scratch),
            lambda: not signals.stopping(),
            _hearing(),
        )
    if signals.stopping():
        return INTERRUPTED
    if not left:
        write(sys.stdout, f"{count} objects of the ledger are gone.\n")
    return FAILED if left else PASSED


@dataclass(frozen=True)
class Reports:
    """The files for reports beside standard output."""

    html: Path | None
    json: Path | None
    junit: Path | None

    def write(self, outcome: "Outcome", page: str) -> None:
        """Write all reports.  Raises OutputLost and StorageError."""
        from filer.storm import json_report, junit, text
        from filer.storm import page as html

        _erase_progress()
        write(sys.stdout, "".join(f"{line}\n" for line in text.lines(outcome)))
        storage = Storage()
        for path, document in (
            (self.json, partial(json_report.document, outcome)),
            (self.junit, partial(junit.document, outcome)),
            (self.html, partial(html.document, outcome, page)),
        ):
            if path is not None:
                storage.write(path, document().encode())


def _hearing() -> "Hearing":
    from filer.storm.session import Hearing

    return Hearing(_progress, _complain)


def _progress(what: str, done: int, total: int) -> None:
    """Show on a terminal how far the run is."""
    if sys.stderr.isatty():
        write(sys.stderr, f"{_ERASE}{what}: {done} of {total}")


def _erase_progress() -> None:
    if sys.stderr.isatty():
        write(sys.stderr, _ERASE)


def _complain(line: str) -> None:
    _erase_progress()
    complain(PROGRAM, line)


def program() -> NoReturn:
    """Run the program, and end its process."""
    end_with(main)


if __name__ == "__main__":
    program()
