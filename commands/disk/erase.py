"""disk encrypt sanitize, disk encrypt destroy: erase disks."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from filer.commands import Call, Consent, Fields, Refused
from filer.commands.disk.report import (
    own_disks_to_erase,
    report_absent,
    report_disks,
    select_disks,
    use_of,
)
from filer.disks.aggregate import Aggregate
from filer.disks.disk import Disk
from filer.disks.jobs import Refusal
from filer.host.text import listed
from filer.system import Filer

Erasure = Literal["sanitize", "destroy"]

_WHAT_IS_LOST = {
    "sanitize": "The data on {disks} will be lost for good.",
    "destroy": "The data on {disks} will be lost for good, and the disks cannot be used again.",
}


class DataLoss(Fields):
    """``disk encrypt sanitize`` and ``destroy``, before they are confirmed."""

    TYPE: ClassVar[str] = "data_loss"
    operation: Erasure
    disks: Sequence[str]

    def lines(self) -> Iterable[str]:
        """The warning."""
        disks = f"{len(self.disks)} disks ({listed(self.disks)})"
        return [f"Warning: {_WHAT_IS_LOST[self.operation].format(disks=disks)}"]


def erase(call: Call, verb: Erasure, *, maintenance: bool) -> None:
    """Run ``disk encrypt sanitize``, or ``destroy``, after which the disks cannot be used."""
    filer = call.filer
    aggregate = filer.assembled()
    refusal = _refusal(filer, aggregate, maintenance=maintenance)
    if "-all" in call.arguments.options:
        report_absent(call, ("*",), "data")
        own = own_disks_to_erase(call, aggregate.ownership)
        # One that is "unknown" may be a spare: it fails, and its refusal says why.
        disks = [
            disk for disk in own if maintenance or aggregate.role(disk) in ("spare", "unknown")
        ]
        if not disks:
            raise Refused(f"there is no {'disk to sanitize' if maintenance else 'spare disk'}")
    else:
        disks = select_disks(call, call.words("disk_list"), aggregate.ownership, erasing=True)
        report_absent(call, call.words("disk_list"), "data")
    _confirm(call, verb, disks, refusal)
    jobs = filer.disk_jobs()
    work = jobs.sanitize if verb == "sanitize" else jobs.destroy
    report_disks(call, work(disks, refusal=refusal))


def _refusal(filer: Filer, aggregate: Aggregate, *, maintenance: bool) -> Refusal:
    """Return a function that says why a disk must not be erased, or returns None.

    In maintenance mode the disks of this system may be erased, whatever their use.  So may those
    of another aggregate with the system ID of this filer, which may be an earlier one of its own,
    unless they were assigned to another system.
    """
    ownership = aggregate.ownership

    def refusal(disk: Disk) -> str | None:
        if not maintenance:
            return ownership.refusal(disk) or use_of(aggregate, disk)
        foreign, system_id = ownership.foreign_owner(disk), filer.hardware.system_id
        recorded = disk.owner.system_id
        earlier = foreign and system_id in foreign.systems and recorded in (0, system_id)
        return None if earlier else ownership.refusal(disk)

    return refusal


def _confirm(call: Call, verb: Erasure, disks: list[Disk], refusal: Refusal) -> None:
    """Show what will be lost.  Raises Refused unless the exact words are typed."""
    names = [disk.name for disk in disks if not disk.destroyed and refusal(disk) is None]
    if not names:
        return
    call.show(DataLoss(verb, names))
    words = f"{verb} disk"
    question = Consent(f"To continue, enter {words}: ", lambda answer: answer == words)
    if not question.consents(call.console.ask(question)):
        raise Refused(f"encrypt {verb}: not confirmed; nothing was changed")
