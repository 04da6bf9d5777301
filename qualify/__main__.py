"""The program ``filer-qualify``: checks whether key servers are fit for a filer."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from filer.host.core_files import forbid_core_files
from filer.host.durable import Storage
from filer.host.errors import FilerError
from filer.host.process import end_with
from filer.host.program import complain, status_of
from filer.host.standard_streams import prepare_standard_streams, write
from filer.kmip.options import objection_to
from filer.qualify.options import PROGRAM, parse

if TYPE_CHECKING:
    from filer.qualify.outcome import Check
    from filer.qualify.report import Report

FIT, UNFIT, WRONG = 0, 1, 2
_SALT_SIZE = 16
_complain = partial(complain, PROGRAM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with ``argv`` (default: ``sys.argv[1:]``) and return its exit status."""
    prepare_standard_streams()

    def run() -> int:
        arguments = parse(argv, lambda: [check.name for check in _checks()])
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        forbid_core_files()
        return _run(arguments)

    return status_of(PROGRAM, run, failed=WRONG)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "cleanup":
        return _clean_up(arguments)
    if arguments.explain is not None:
        return _explain(arguments.explain) if arguments.explain else _list()
    return _qualify(arguments)


def _checks() -> "tuple[Check, ...]":
    from filer.qualify.catalogue import checks  # loads PyKMIP

    return checks()


def _list() -> int:
    checks = _checks()
    width = max(len(check.name) for check in checks)
    for check in checks:
        write(sys.stdout, f"{check.name:{width}}  {check.severity:11}  {check.title}\n")
    return FIT


def _explain(name: str) -> int:
    (check,) = (check for check in _checks() if check.name == name)
    write(sys.stdout, f"{check.name} ({check.severity})\n\n{check.text}\n")
    return FIT


def _qualify(arguments: argparse.Namespace) -> int:
    from filer.qualify.server import Settings
    from filer.qualify.session import Plan, login_of, qualify
    from filer.throw_away.ledger import Digests, Ledger, default_path, read

    checks = [each for each in _checks() if not arguments.check or each.name in arguments.check]
    digests = Digests(os.urandom(_SALT_SIZE))
    path = arguments.after_restart or arguments.ledger or default_path(PROGRAM)
    restarted = before = None
    if arguments.after_restart:
        before, digests, restarted = read(PROGRAM, path)
        checks = [each for each in checks if each.name == "durability"]
    plan = Plan(
        addresses=arguments.addresses,
        port=arguments.port,
        certs=arguments.certs.absolute(),
        settings=Settings(
            arguments.timeout,
            arguments.idle,
            login=login_of(arguments.login),
            restarted=restarted,
        ),
        other_cert=arguments.other_cert,
        partner_cert=arguments.partner_cert,
        keep=arguments.keep,
        login=arguments.login and (arguments.login[0], str(Path(arguments.login[1]).absolute())),
    )
    ledger = Ledger(PROGRAM, path, plan.reach(), digests, Storage())
    if before:
        plan = plan.behind(before)
    else:
        ledger.create()
    verdicts = qualify(plan, ledger, checks, _report(arguments), _complain)
    return FIT if all(verdict.fit for verdict in verdicts) else UNFIT


def _report(arguments: argparse.Namespace) -> "Report":
    from filer.qualify.json_lines import JsonReport
    from filer.qualify.junit import JunitReport
    from filer.qualify.text import TextReport

    if arguments.format == "json":
        return JsonReport(sys.stdout)
    if arguments.format == "junit":
        return JunitReport(sys.stdout)
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in ("dumb", "unknown")
    return TextReport(
        sys.stdout,
        coloured=sys.stdout.isatty() and not plain,
        progress=sys.stderr if sys.stdout.isatty() and sys.stderr.isatty() else None,
        verbose=arguments.verbose,
    )


def _clean_up(arguments: argparse.Namespace) -> int:
    from filer.qualify.session import Plan, clean_up
    from filer.throw_away.ledger import OTHER_CLIENT, Ledger, read

    reach, digests, entries = read(PROGRAM, arguments.ledger)
    plan = Plan.again(reach, entries, arguments.certs)
    if reason := objection_to(plan.addresses, agreed=arguments.yes_this_is_my_server):
        raise FilerError(reason)
    left = clean_up(plan, Ledger(PROGRAM, arguments.ledger, reach, digests, Storage()), entries)
    if left:
        _complain(f"{len(left)} of {len(entries)} objects may be left, such as {left[0].name}")
        if not plan.sees_all:
            _complain(OTHER_CLIENT)
        return UNFIT
    write(sys.stdout, f"{len(entries)} objects of the ledger are gone.\n")
    return FIT


def program() -> NoReturn:
    """Run the program, and end its process."""
    end_with(main)


if __name__ == "__main__":
    program()
