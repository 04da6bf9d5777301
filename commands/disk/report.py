"""Select disks, and report the outcome of an operation on them."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import ClassVar, Literal, Self

from filer.commands import Call, Complaint, Fields, Refused
from filer.disks.aggregate import Aggregate
from filer.disks.disk import Disk
from filer.disks.jobs import DiskReport, FailureKind, Held, Verb
from filer.disks.ownership import Ownership
from filer.host.errors import FilerError
from filer.key_servers.holdings import conflict

DOUBTFUL = "may belong to the partner"
"""Why a locked disk without a record is not erased."""


class Completed(Fields):
    """The outcome of ``rekey``, ``lock``, ``sanitize`` or ``destroy``.

    Each failed disk also has an error.
    """

    TYPE: ClassVar[str] = "disks_completed"
    operation: Verb
    attempted: int
    succeeded: Sequence[str]
    failed: Sequence[str]
    unknown_key: int
    authentication: int
    not_reached: int

    @classmethod
    def of(cls, report: DiskReport) -> Self:
        """Count the successes and failures of ``report``."""
        return cls(
            report.verb,
            report.attempted,
            report.succeeded,
            [failure.disk for failure in report.failures],
            report.count(FailureKind.UNKNOWN_KEY),
            report.count(FailureKind.AUTHENTICATION),
            report.not_reached,
        )

    def lines(self) -> Iterable[str]:
        """One line."""
        yield (
            f"Completed {self.operation} on {self.attempted} disks: "
            f"{len(self.succeeded)} successes, {len(self.failed)} failures, including "
            f"{self.unknown_key} unknown key and {self.authentication} authentication failures."
        )


def report_disks(call: Call, report: DiskReport) -> None:
    """Record the disks and their keys, print a failure for each failed disk, then the counts."""
    with suppress(FilerError):  # the next boot records them
        call.filer.shelf.remember_disks(call.filer.ownership().own(call.filer.shelf))
    for failure in report.failures:
        cause = failure.kind.name.lower()
        call.fail(Complaint(failure.reason, "disk", disk=failure.disk, cause=cause))
    completed = Completed.of(report)
    event = f"disk.encrypt.{report.verb}"
    log = call.filer.messages.log
    log(event, "info", " ".join(completed.lines()))
    interrupted = f"{report.verb}: interrupted; {report.not_reached} disks were not reached"
    if report.not_reached:
        log(event, "warning", interrupted)  # before printing, which may fail
    call.show(completed)
    if report.not_reached:
        call.fail(Complaint(interrupted, "interrupted"))


def select_disks(
    call: Call,
    disk_list: Iterable[str],
    ownership: Ownership | None = None,
    *,
    erasing: bool = False,
) -> list[Disk]:
    """Return the disks that ``disk_list`` names.  Raises ShelfError if a name matches none.

    Patterns skip destroyed disks and, with ``ownership``, those that are not own disks;
    ``erasing``, they also skip those that may be the partner's.  A warning names each skipped disk,
    except the partner's.
    """

    def reason(disk: Disk) -> object:
        if ownership and (whose := ownership.not_own(disk)):
            return whose
        if erasing and ownership and disk.serial in ownership.doubtful:
            return DOUBTFUL
        return "is destroyed" if disk.destroyed else None

    selection = call.filer.shelf.select(tuple(disk_list), reason)
    for disk in selection.passed_over:
        if ownership and ownership.is_partners(disk):
            continue
        _warn_of_skipped(call, disk, reason(disk))
    return list(selection.disks)


def own_disks_to_erase(call: Call, ownership: Ownership) -> list[Disk]:
    """Return the own disks that are not destroyed, without those that may be the partner's.

    A warning names each of the latter.
    """
    disks = []
    for disk in ownership.own(call.filer.shelf):
        if disk.serial in ownership.doubtful:
            _warn_of_skipped(call, disk, DOUBTFUL)
        elif not disk.destroyed:
            disks.append(disk)
    return disks


def _warn_of_skipped(call: Call, disk: Disk, reason: object) -> None:
    text = f"{disk.name}: {reason}; skipped"
    call.console.warn(Complaint(text, "disk_passed_over", disk=disk.name))


def use_of(aggregate: Aggregate, disk: Disk) -> str | None:
    """Return why an own ``disk`` cannot be spared, or None for a spare or broken one."""
    if disk.serial in {member.serial for member in aggregate.members}:
        return f"belongs to aggregate {aggregate.name}"
    match aggregate.role(disk):
        case "foreign":
            return "belongs to another aggregate"
        case "unknown":
            return "cannot be read, so it may belong to an aggregate"
    return None


def report_absent(call: Call, disk_list: Sequence[str], what: Literal["key", "data"]) -> None:
    """Name each disk that ``disk_list`` selects, but that was not read since power-on.

    One whose file is in the shelf is a failure.  One that was pulled is a warning.  ``what`` is
    what such a disk keeps, since the command does not reach it.
    """
    for name, reason in call.filer.shelf.absent().items():
        if not any(fnmatchcase(name, pattern) for pattern in disk_list):
            continue
        if reason is None:
            text = f"{name}: not in the shelf; it keeps its {what}"
            call.console.warn(Complaint(text, "disk_passed_over", disk=name))
        else:
            text = f"{name}: not reached, it keeps its {what}: {reason}"
            call.fail(Complaint(text, "disk", disk=name, cause="other"))


def held_by_key_servers(call: Call, new_key_id: str | None = None) -> Held:
    """Ask all key servers which keys they hold now, and warn about those that do not answer.

    Raises Refused if they contradict each other about ``new_key_id``.
    """
    from filer.commands.parts.server_warnings import warn_of
    from filer.trial import fetch_or_nothing

    servers = call.filer.key_servers()
    new = [new_key_id] if new_key_id else []
    key_ids = dict.fromkeys([*call.filer.key_ids_in_use(), *new])
    holdings = fetch_or_nothing(servers, key_ids)
    warn_of(call, servers)
    if holders := holdings.contradictions().get(new_key_id or ""):
        raise Refused(conflict(new_key_id or "", holders))
    return holdings.holds
