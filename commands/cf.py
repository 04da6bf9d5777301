"""cf: the HA pair."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import ClassVar

from filer.boot.takeover import give_back, missing_keys, prepare, take_over
from filer.boot.watch import Silent
from filer.commands import TEXT_ONLY, Answers, Call, Command, Fields, Note, Refused, Subcommand
from filer.commands.parts.dialogue import ask_y_n
from filer.host.text import listed
from filer.pair.pair import Pair, Partner, Sight
from filer.pair.service import ServiceHeld

_RELEASE_WITHIN = 60.0
"""Seconds that the partner has to end its command and release its disks."""

_HEARD_WITHIN = 5.0
"""Seconds within which a partner that can release its disks must have been heard."""

_LOOK_EVERY = 0.5

BY_OPERATOR = "operator initiated cf takeover"
"""The reason of a takeover by command."""


class FailoverStatus(Fields):
    """``cf status``; ``missing_keys`` has the partner's disks whose key this system does not have.

    ``disabled`` is why takeover is disabled, or null; ``interconnect`` whether it is up.
    """

    TYPE: ClassVar[str] = "failover_status"
    node: str
    partner: str | None
    enabled: bool
    partner_up: bool
    attempting_takeover: bool
    taken_over: bool
    ready_for_giveback: bool
    disabled: str | None
    interconnect: bool
    missing_keys: Mapping[str, Sequence[str]]
    reason: str = field(metadata=TEXT_ONLY)

    def lines(self) -> Iterable[str]:
        """The state of the partner, then that of the interconnect, then warnings."""
        if self.partner is None:
            yield "HA disabled"
            return
        if self.taken_over:
            ready = f", {self.partner} is ready for giveback" if self.ready_for_giveback else ""
            yield f"{self.node} has taken over {self.partner}{ready}."
            negotiated = "due to negotiated failover, " if self.reason == BY_OPERATOR else ""
            yield f"Takeover {negotiated}reason: {self.reason}"
        elif self.attempting_takeover:
            yield f"{self.node} is attempting takeover of {self.partner}."
        elif not self.enabled:
            yield "HA disabled"
        elif self.disabled:
            because = f"takeover disabled because of reason ({self.disabled})"
            yield f"{self.partner} may be down, {because}"
        elif self.partner_up:
            yield f"HA enabled, {self.partner} is up."
        else:
            yield f"HA enabled, {self.partner} may be down."
        yield f"Interconnect is {'up' if self.interconnect else 'down'}."
        for key_id, disks in self.missing_keys.items():
            yield (
                f"WARNING: a takeover would fail: the keytable does not have key ID {key_id} of "
                f"{listed(disks)}; run key_manager restore -all."
            )


def _status(call: Call) -> None:
    filer, pair = call.filer, call.filer.pair
    if pair is None:
        nothing = (False, False, False, False, False)
        call.show(FailoverStatus(filer.hardware.hostname, None, *nothing, None, False, {}, ""))
        return
    sight = pair.look()
    taken_over = filer.partner is not None
    attempting = sight.partner is Partner.TAKEN_OVER and not taken_over
    call.show(
        FailoverStatus(
            filer.hardware.hostname,
            pair.partner_name,
            pair.failover.enabled,
            sight.partner is Partner.UP,
            attempting,
            taken_over,
            taken_over and pair.interconnect.partner_waits,
            None if taken_over else pair.refusal(sight),
            sight.interconnect,
            {} if taken_over or attempting else missing_keys(filer),
            pair.reason,
        )
    )


class FailoverMonitor(Fields):
    """``cf monitor``; ``up_seconds`` is the time since power-on."""

    TYPE: ClassVar[str] = "failover_monitor"
    now: datetime
    up_seconds: int
    partner: str
    enabled: bool
    taken_over: bool
    interconnect: bool
    takeover_possible: bool

    def lines(self) -> Iterable[str]:
        """Four lines."""
        up = timedelta(seconds=self.up_seconds)
        clock = timedelta(seconds=up.seconds)
        state = "TAKEOVER" if self.taken_over else "UP"
        link = "up" if self.interconnect else "down"
        yield f"current time: {self.now:%d%b%Y %H:%M:%S}"
        yield (
            f"{state} {up.days}+{clock!s:0>8}, partner '{self.partner}', "
            f"cluster monitor {'enabled' if self.enabled else 'disabled'}"
        )
        yield (
            f"VIA Interconnect is {link} (link 0 {link}, link 1 {link}), "
            f"takeover capability {'on-line' if self.takeover_possible else 'off-line'}"
        )
        update = "TAKEOVER_ENABLED" if self.takeover_possible else "TAKEOVER_DISABLED"
        yield f"partner update {update} ({self.now:%d%b%Y %H:%M:%S})"


def _monitor(call: Call) -> None:
    filer, pair = call.filer, _pair(call)
    sight, enabled = pair.look(), pair.failover.enabled
    # An interconnect that is just starting does not count as failed yet, but is needed already.
    is_reached = sight.interconnect or sight.partner is not Partner.UP
    call.show(
        FailoverMonitor(
            filer.now(),
            int((filer.now() - filer.powered_on).total_seconds()),
            pair.partner_name,
            enabled,
            sight.partner is Partner.TAKEN_OVER,
            sight.interconnect,
            enabled and is_reached and pair.refusal(sight) is None,
        )
    )


def _enable(call: Call) -> None:
    _pair(call).failover.enabled = True
    call.filer.messages.log("cf.fsm.takeoverEnabled", "notice", "Failover monitor: enabled")


def _disable(call: Call) -> None:
    _pair(call).failover.enabled = False
    call.filer.messages.log("cf.fsm.takeoverDisabled", "notice", "Failover monitor: disabled")


class TakenOver(Fields):
    """``cf takeover``, ``cf forcetakeover``."""

    TYPE: ClassVar[str] = "taken_over"
    node: str
    partner: str

    def lines(self) -> Iterable[str]:
        """One line."""
        return [f"{self.node} has taken over {self.partner}."]


def _takeover(call: Call) -> None:
    """Take the partner over; -f even if it was halted with -f."""
    pair = _pair(call)
    sight = _not_taken_over(call, pair)
    if "-f" not in call.arguments.options:
        name = pair.partner_name
        if not pair.failover.enabled:
            raise Refused("takeover is disabled; cf enable enables it")
        if reason := pair.refusal(sight):
            because = f"takeover disabled because of reason ({reason})"
            raise Refused(f"{name} may be down, {because}")
    call.show(Note("cf: takeover initiated by operator"))
    _take_over(call, pair, sight)


def _forcetakeover(call: Call) -> None:
    """Take the partner over, whatever its mailbox and the interconnect say; never a living one."""
    pair = _pair(call)
    sight = _not_taken_over(call, pair)
    if sight.partner is Partner.UP:
        raise _held(pair, pair.other_service.holder() or "?")
    name = pair.partner_name
    call.console.warn(
        f"WARNING: cf forcetakeover takes over {name} although it may still be changing its data."
    )
    if not ask_y_n(call.console, "Do you wish to continue [y/n]? "):
        raise Refused("not confirmed; nothing was changed")
    _take_over(call, pair, sight)


def _take_over(call: Call, pair: Pair, sight: Sight) -> None:
    filer = call.filer
    prepare(filer, pair)
    if sight.partner is Partner.UP:
        _wait_for_release(call, pair)
    try:
        take_over(filer, pair, Silent(), BY_OPERATOR)
    except ServiceHeld as held:
        raise _held(pair, held.pid) from None
    filer.messages.log("cf.fm.takeoverComplete", "warning", "Failover monitor: takeover completed")
    call.show(TakenOver(filer.hardware.hostname, pair.partner_name))


def _wait_for_release(call: Call, pair: Pair) -> None:
    """Ask a partner that is up for its disks.  Raises Refused, or Interrupted."""
    begun = time.monotonic()
    while not pair.other_service.is_free():
        within = _HEARD_WITHIN
        if pair.interconnect.is_up:
            within = _RELEASE_WITHIN
            # Again and again, because a partner that is booting does not listen yet.
            pair.ask_partner_to_go_down()
        if time.monotonic() - begun > within:
            raise _held(pair, pair.other_service.holder() or "?")
        call.filer.interrupt.sleep(_LOOK_EVERY)


def _held(pair: Pair, pid: str) -> Refused:
    name = pair.partner_name
    return Refused(
        f"process {pid} of {name} holds its service lock, and may change its disks; "
        "nothing was changed"
    )


class GivenBack(Fields):
    """``cf giveback``."""

    TYPE: ClassVar[str] = "given_back"
    partner: str

    def lines(self) -> Iterable[str]:
        """One line."""
        return ["giveback completed"]


def _giveback(call: Call) -> None:
    """Give the partner its disks back; -f even if it does not wait for them."""
    filer, pair = call.filer, _pair(call)
    name = pair.partner_name
    if filer.partner is None:
        raise Refused(f"{filer.hardware.hostname} has not taken over {name}")
    if not (pair.interconnect.partner_waits or "-f" in call.arguments.options):
        raise Refused(f"{name} is not ready for giveback: it does not wait for it; -f overrides")
    give_back(filer, pair)
    filer.messages.log("cf.fm.givebackComplete", "notice", "Failover monitor: giveback completed")
    call.show(GivenBack(name))


def _pair(call: Call) -> Pair:
    if call.filer.pair is None:
        raise Refused("this system has no partner; see partner_root in filer.toml")
    return call.filer.pair


def _not_taken_over(call: Call, pair: Pair) -> Sight:
    sight = pair.look()
    if call.filer.partner:
        name = call.filer.hardware.hostname
        raise Refused(f"{name} has taken over {pair.partner_name} already")
    return sight


_FORCE = {"-f": "even if it was halted in notakeover mode"}

COMMANDS = (
    Command(
        "cf",
        "control the takeover of the partner in an HA pair",
        Subcommand("cf status", _status, "show how the partner is", changes=False),
        Subcommand("cf monitor", _monitor, "show what the failover monitor sees", changes=False),
        Subcommand("cf enable", _enable, "enable takeover, for both partners"),
        Subcommand("cf disable", _disable, "disable takeover, for both partners"),
        Subcommand("cf takeover [ -f ]", _takeover, "take the partner over", options=_FORCE),
        Subcommand(
            "cf forcetakeover",
            _forcetakeover,
            "take over a partner of unknown state",
            asks=Answers(1),
        ),
        Subcommand(
            "cf giveback [ -f ]",
            _giveback,
            "give the partner its disks back",
            options={"-f": "even if it does not wait for them"},
        ),
    ),
)
