"""partner: commands for the partner that was taken over."""

import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from filer.commands import Call, Command, Fields, Refused, Subcommand, no_values
from filer.shell.session import OK, Session


class PartnerShell(Fields):
    """``partner``: the shell of the partner begins or ends."""

    TYPE: ClassVar[str] = "partner_shell"
    partner: str
    begins: bool

    def lines(self) -> Iterable[str]:
        """One line."""
        return [f"{'Login to' if self.begins else 'Logoff from'} partner shell: {self.partner}"]


def _switch(call: Call) -> None:
    begins = not call.session.in_partner
    shown = PartnerShell(_partner_of(call), begins)
    call.session.in_partner = begins
    event = "cf.partner.login" if begins else "cf.partner.logoff"
    call.filer.messages.log(event, "notice", *shown.lines())
    call.show(shown)


def _run(call: Call) -> None:
    _partner_of(call)
    if call.session.in_partner:
        raise Refused("this is the shell of the partner already")
    state = replace(call.session, in_partner=True)
    session = Session(call.filer, call.commands, call.console, state=state)
    if session.execute(shlex.join(call.words("TEXT"))) != OK:
        call.failed = True


def _partner_of(call: Call) -> str:
    """Return the hostname of the partner.  Raises Refused."""
    if call.filer.served_by:
        return call.filer.hardware.hostname
    if call.filer.partner is None:
        if call.session.in_partner and call.filer.pair:
            return call.filer.pair.partner_name
        raise Refused("this system has not taken over its partner")
    return call.filer.partner.hardware.hostname


COMMANDS = (
    Command(
        "partner",
        "run commands for the partner that was taken over",
        Subcommand("partner", _switch, "enter or leave the shell of the partner", changes=False),
        Subcommand(
            "partner TEXT",
            _run,
            "run one command for the partner",
            values={"TEXT": no_values},
            changes=False,
        ),
    ),
)
