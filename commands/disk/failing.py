"""disk fail, disk unfail, disk zero spares."""

from collections.abc import Iterable
from functools import partial
from typing import ClassVar, NamedTuple

from filer.commands import Answers, Call, Fields, Refused, Subcommand, Suggestion
from filer.commands.disk.report import DOUBTFUL
from filer.commands.parts.dialogue import ask_y_n
from filer.disks.aggregate import POSITIONS, Aggregate
from filer.disks.disk import Disk
from filer.disks.label import LABEL_BLOCK
from filer.disks.record import Mark
from filer.host.quoting import quoted
from filer.system import Filer

_OUT_OF_USE = Mark.PREFAILED | Mark.FAILED


class DiskFailed(Fields):
    """``disk fail``; a prefailed disk is failed when its blocks are on a spare disk."""

    TYPE: ClassVar[str] = "disk_failed"
    disk: str
    prefailed: bool

    def lines(self) -> Iterable[str]:
        """One line, as on a real filer."""
        yield f"disk fail: The following disk was {_verb(self.prefailed)}ed: {self.disk}"


class DiskUnfailed(Fields):
    """``disk unfail``."""

    TYPE: ClassVar[str] = "disk_unfailed"
    disk: str

    def lines(self) -> Iterable[str]:
        """One line, as on a real filer."""
        yield f"disk unfail: unfailing disk {self.disk}..."


def _verb(prefail: bool) -> str:
    return "prefail" if prefail else "fail"


class _Failing(NamedTuple):
    """A disk to take out of use, and whether it is copied to a spare before."""

    disk: Disk
    aggregate: Aggregate
    is_member: bool
    prefail: bool


def _fail(call: Call) -> None:
    """Fail a disk; a readable member is copied to a spare first, unless -i is given."""
    filer = call.filer
    asked = _to_fail(call)
    question = f"Really {_verb(asked.prefail)} disk {asked.disk.name}? "
    if "-f" not in call.arguments.options and not ask_y_n(call.console, question):
        raise Refused("fail: not confirmed; nothing was changed")
    disk, aggregate, is_member, prefail = _to_fail(call)  # drives may have been moved meanwhile
    if disk is not asked.disk or prefail != asked.prefail:
        raise Refused(f"{disk.name}: has just changed; repeat the command")
    if prefail:
        disk.mark(disk.marks | Mark.PREFAILED)
    else:
        disk.mark((disk.marks | Mark.FAILED | Mark.NOT_ZEROED) & ~(Mark.PREFAILED | Mark.ZEROING))
    kind, where = "spare", disk.name
    if is_member:
        kind, where = "filesystem", f"{aggregate.raid_group}/{disk.name}"
    text = f"Disk {where} S/N [{disk.serial}] is {_verb(prefail)}ed by the operator"
    filer.messages.log(f"raid.config.{kind}.disk.admin.failed", "info", text)
    call.show(DiskFailed(disk.name, prefail))


def _to_fail(call: Call) -> _Failing:
    """Return what the line asks for, by what the disks are now.  Raises Refused."""
    call.filer.shelf.watch()  # a member that has just failed does not count
    aggregate = call.filer.assembled()
    disk = _one_disk(call, aggregate)
    if aggregate.role(disk) == "broken":
        raise Refused(f"{disk.name}: has failed already")
    is_member = aggregate.role(disk) in POSITIONS
    is_lost = disk.destroyed or disk.locked_out
    prefail = is_member and "-i" not in call.arguments.options and not is_lost
    if is_member and not prefail and aggregate.needs(disk):
        raise Refused(f"{disk.name}: aggregate {aggregate.name} would go offline without it")
    if prefail and Mark.PREFAILED in disk.marks:
        raise Refused(f"{disk.name}: is prefailed already; disk fail -i fails it at once")
    return _Failing(disk, aggregate, is_member, prefail)


def _unfail(call: Call, *, maintenance: bool) -> None:
    """Use a failed disk again: as a spare, or as the member that was not replaced yet.

    The label of a spare is erased: it may be from an aggregate that has none of its members left.
    In maintenance mode a locked disk cannot be erased, so that is left to a filer that is up.
    """
    filer = call.filer
    aggregate = filer.assembled()
    disk = _one_disk(call, aggregate)
    if disk.destroyed:
        raise Refused(f"{disk.name}: is destroyed")
    if not disk.marks & _OUT_OF_USE:
        raise Refused(f"{disk.name}: has not failed")
    is_member = disk.serial in {member.serial for member in aggregate.members}
    if maintenance and not (is_member or aggregate.is_readable(disk)):
        raise Refused(f"{disk.name}: is locked, and no member; boot the filer first")
    call.show(DiskUnfailed(disk.name))
    if not is_member and aggregate.is_readable(disk):
        disk.zero_blocks(range(LABEL_BLOCK, LABEL_BLOCK + 1))
    disk.mark(disk.marks & ~_OUT_OF_USE)
    text = f"Disk {disk.name} S/N [{disk.serial}] is unfailed by the operator"
    filer.messages.log("raid.disk.unfail", "info", text)


def _zero_spares(call: Call) -> None:
    """Begin to zero all spare disks that are not zeroed; it goes on in the background.

    An erased member that is not replaced yet stays as it is: zeroed, it would count as in step.
    """
    filer = call.filer
    aggregate = filer.assembled()
    rebuild = filer.repairs.rebuild
    for disk in aggregate.spares:
        in_use = disk.serial in aggregate.erased or (rebuild is not None and rebuild.disk is disk)
        if aggregate.is_readable(disk) and not (in_use or aggregate.is_zeroed(disk)):
            disk.mark(disk.marks | Mark.NOT_ZEROED | Mark.ZEROING)


def _one_disk(call: Call, aggregate: Aggregate) -> Disk:
    """Return the own disk that the line names.  Raises Refused."""
    name = call.value("disk_name") or ""
    disk = call.filer.shelf.disks.get(name)
    if disk is None:
        raise Refused(f"there is no disk {quoted(name)}")
    reason = aggregate.ownership.refusal(disk)
    if disk.serial in aggregate.ownership.doubtful:
        reason = DOUBTFUL
    if reason:
        raise Refused(f"{name}: {reason}")
    return disk


def _own_disks(filer: Filer) -> Iterable[Suggestion]:
    aggregate = filer.assembled()
    return [(disk.name, aggregate.role(disk)) for disk in aggregate.ownership.own(filer.shelf)]


def _failed_disks(filer: Filer) -> Iterable[Suggestion]:
    own = filer.ownership().own(filer.shelf)
    return [(disk.name, "failed") for disk in own if disk.marks & _OUT_OF_USE]


def _unfailing(*, maintenance: bool) -> Subcommand:
    return Subcommand(
        "disk unfail disk_name",
        partial(_unfail, maintenance=maintenance),
        "use a failed disk again",
        values={"disk_name": _failed_disks},
    )


SUBCOMMANDS = (
    Subcommand(
        "disk fail [ -i ] [ -f ] disk_name",
        _fail,
        "take a disk out of use; a spare disk replaces it",
        options={"-i": "at once, without copying it first", "-f": "without a question"},
        values={"disk_name": _own_disks},
        asks=Answers(1, unless="-f"),
    ),
    _unfailing(maintenance=False),
    Subcommand("disk zero spares", _zero_spares, "zero the spare disks that are not zeroed"),
)

SUBCOMMANDS_IN_MAINTENANCE = (_unfailing(maintenance=True),)
