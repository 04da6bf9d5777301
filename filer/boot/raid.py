"""What a filer that is up does by itself about its disks, a part at each heartbeat.

It notices disks that are pulled, inserted or broken, takes new disks, replaces failed members of
the root aggregate, and zeroes spares.
"""

from collections.abc import Callable, Mapping

from filer.boot.unlock import unlock_inserted
from filer.disks.aggregate import Aggregate, assemble
from filer.disks.data import Unreadable
from filer.disks.disk import Disk
from filer.disks.ownership import Ownership
from filer.disks.record import Mark
from filer.disks.repair import Job, Rebuild, Replacement, replacement
from filer.disks.shelf import Event
from filer.host.errors import FilerError
from filer.host.text import listed
from filer.running.interrupt import Interrupt
from filer.system import Filer

_QUARTER = 25

_REFUSED_FOR = 60.0
"""Seconds for which a spare that could not be written is not tried again: its shelf may be full."""


def _named(disk: str, serial: str) -> str:
    """Return a disk as the system log names it: ``0c.00.3 Shelf 0 Bay 3 S/N [ABC]``."""
    _adapter, shelf, bay = disk.split(".")
    return f"{disk} Shelf {int(shelf)} Bay {bay} S/N [{serial or 'unknown'}]"


def _described(rebuild: Rebuild) -> str:
    what = f"disk copy from {rebuild.source.name} to" if rebuild.is_copy else "reconstruction on"
    return f"{rebuild.aggregate.raid_group}: {what} {rebuild.disk.name}"


class Raid:
    """Attends to the disks of ``filer``, which is up; ``tell`` gets each line that is logged.

    ``panic`` gets the reason if the root aggregate goes offline; the filer cannot go on then.
    """

    def __init__(
        self,
        filer: Filer,
        tell: Callable[[str], object],
        panic: Callable[[str], object] = lambda _reason: None,
    ) -> None:
        self._filer = filer
        self._tell = tell
        self._panic = panic
        self._aggregate: Aggregate | None = None
        self._seen = 0
        """The changes of the shelf that the aggregate takes into account."""
        self._refused: dict[str, float] = {}
        """Serial numbers of spares that could not be written, and when, by `Filer.monotonic`."""
        self._problems: set[str] = set()
        self._unprotected: set[str] = set()
        """Serial numbers of the disks that were warned of."""
        self._waiting: list[Disk] = []
        """Inserted disks whose key is not in the keytable yet."""
        self._partner: Raid | None = None

    def tick(self) -> None:
        """Do what is due, unless a command changes the filer now."""
        self._filer.interrupt.use(Interrupt())  # not that of the console
        with self._filer.changes.between() as free:
            if free:
                self._attend()

    def work(self) -> None:
        """Tick until nothing is left to do."""
        is_idle = False
        while not is_idle:
            is_idle = True
            for _ in range(2):  # the end of one job may lead to another
                self.tick()
                is_idle = is_idle and not self._filer.repairs

    def _attend(self) -> None:
        partner = self._filer.partner
        if partner is None:
            self._partner = None
        elif self._partner is None or self._partner._filer is not partner:
            self._partner = Raid(partner, self._tell)
        try:
            self._see_to_disks()
        except FilerError as problem:
            self._aggregate = None  # plan anew
            self._complain("raid.failure", str(problem))
        except Exception as defect:  # heartbeats must go on
            self._aggregate = None
            self._complain("raid.failure", f"internal error: {type(defect).__name__}")
        if self._partner:
            self._partner._attend()

    def _see_to_disks(self) -> None:
        filer = self._filer
        repairs = filer.repairs
        filer.shelf.watch()
        while filer.shelf.events:
            self._report(filer.shelf.events.popleft())
        refused = {
            serial: since
            for serial, since in self._refused.items()
            if filer.monotonic() - since < _REFUSED_FOR
        }
        if refused != self._refused:
            self._refused = refused
            self._aggregate = None  # plan anew
        waiting, self._waiting = self._waiting, []
        for disk in waiting:
            if disk in filer.shelf:
                self._open(disk, is_new=False)
        if self._aggregate is None or filer.shelf.changes != self._seen:
            self._seen = filer.shelf.changes
            aggregate = assemble(filer.shelf, filer.node)
            self._warn_of_unprotected(aggregate.ownership)
            self._plan(aggregate)
        for job in (repairs.rebuild, *repairs.zeroing.values()):
            if job and job.is_lost:
                self._end(job)
                self._aggregate = None  # plan anew
            elif job:
                self._do(job)

    # Disks that come and go.

    def _report(self, event: Event) -> None:
        filer = self._filer
        if event.owner and event.owner == filer.hardware.partner_id:
            return  # the partner sees it too
        name = _named(event.disk, event.serial)
        aggregate = self._aggregate
        is_member = aggregate and event.serial in {each.serial for each in aggregate.members}
        if event.kind == "inserted":
            text = f"Disk {name} has been inserted into the system"
            self._log("raid.disk.inserted", "info", f"{text}.")
            self._refused.pop(event.serial, None)
            if event.reason:
                self._log("disk.init.failure", "error", f"{event.disk}: {event.reason}; left out")
            elif disk := filer.shelf.disks.get(event.disk):
                self._take(disk)
            return
        kind, use = "spare", f"Spare Disk {name}"
        if aggregate and is_member:
            kind, use = "filesystem", f"File system Disk {aggregate.raid_group}/{name}"
        if event.kind == "pulled":
            severity = "error" if is_member else "info"
            self._log(f"raid.config.{kind}.disk.missing", severity, f"{use} is missing.")
        else:
            self._log(f"raid.config.{kind}.disk.failed", "error", f"{use} failed: {event.reason}.")

    def _take(self, disk: Disk) -> None:
        """Open an inserted disk that belongs to this system, and make it one of its disks."""
        filer = self._filer
        ownership = filer.ownership()
        foreign = ownership.foreign_owner(disk)
        if foreign:
            self._log("diskown.foreign", "warning", f"{disk.name}: {foreign}; it is not used")
        if not ownership.owns(disk):
            return
        disk.finish_change()
        if disk.locked and not disk.destroyed:
            if disk.serial in ownership.doubtful:
                return
            self._open(disk)
        if disk.owner != filer.node.owner and not disk.destroyed:
            filer.assign([disk], filer.node.owner)
        filer.shelf.remember_disks(filer.ownership().own(filer.shelf))

    def _open(self, disk: Disk, *, is_new: bool = True) -> None:
        """Open an inserted disk with its key, now or when ``key_manager restore`` has loaded it."""
        has_key = disk.key_id in self._filer.keytable
        if not has_key:
            self._waiting.append(disk)
        if not (has_key or is_new):
            return
        if reason := unlock_inserted(self._filer, disk):
            self._log("disk.encrypt.locked", "warning", f"{disk.name} stays locked: {reason}")
        elif not is_new:
            self._log("disk.encrypt.unlocked", "notice", f"{disk.name} is unlocked now")
            self._aggregate = None  # plan anew

    def _warn_of_unprotected(self, ownership: Ownership) -> None:
        """Warn, once, of the disks that are not locked in a system that has locked others."""
        own = [disk for disk in ownership.own(self._filer.shelf) if not disk.destroyed]
        open_disks = [disk for disk in own if not disk.locking]
        new = [disk.name for disk in open_disks if disk.serial not in self._unprotected]
        if new and len(open_disks) < len(own):
            text = (
                f"{listed(new)}: not locked; data there is unprotected until disk encrypt rekey "
                "and disk encrypt lock are run"
            )
            self._log("disk.encrypt.unprotected", "warning", text)
            self._unprotected = {disk.serial for disk in open_disks}

    # Jobs.

    def _plan(self, aggregate: Aggregate) -> None:
        """Decide what is to be done to the disks of ``aggregate``."""
        repairs = self._filer.repairs
        if not aggregate.online:
            self._complain("raid.aggr.offline", f"{aggregate.name} is offline: {aggregate.problem}")
            error = f"raid volfsm, fatal multi-disk error: {aggregate.problem}"
            self._panic(f"aggr {aggregate.name}: {error}")
        self._aggregate = aggregate
        due = replacement(aggregate, self._refused)
        running = repairs.rebuild
        if due is None:
            if running:
                self._log("raid.rg.recons.aborted", "notice", f"{_described(running)} aborted")
            repairs.rebuild = None
            self._problems.clear()
        elif running and running.goes_on(aggregate, due.member):
            running.aggregate = aggregate
        else:
            repairs.rebuild = self._new_rebuild(aggregate, due)
        repairs.zero(aggregate, self._refused)

    def _new_rebuild(self, aggregate: Aggregate, due: Replacement) -> Rebuild | None:
        if due.spare is None:
            text = (
                f"The reconstruction cannot start in RAID group {aggregate.raid_group}: "
                "No matching disks available in spare pool"
            )
            self._complain("raid.rg.recons.cantStart", text)
            return None
        rebuild = Rebuild(aggregate, due.member, due.spare, self._filer.shelf)
        event = "raid.rg.diskcopy.start" if rebuild.is_copy else "raid.rg.recons.start"
        self._log(event, "notice", f"{_described(rebuild)} started")
        return rebuild

    def _do(self, job: Job) -> None:
        before = job.percent // _QUARTER
        event, what = "raid.disk.zero", f"{job.disk.name}: zeroing"
        if isinstance(job, Rebuild):
            event = f"raid.rg.{'diskcopy' if job.is_copy else 'recons'}"
            what = _described(job)
        try:
            is_done = job.work()
        except FilerError as problem:
            refused = [job.disk]
            if isinstance(problem, Unreadable) and problem.disk != job.disk.name:
                refused += self._aggregate.spares if self._aggregate else []  # no spare would help
            self._refused |= dict.fromkeys(
                (disk.serial for disk in refused), self._filer.monotonic()
            )
            self._end(job)
            self._aggregate = None  # plan anew
            self._log(f"{event}.failed", "error", f"{what} failed: {problem}")
            return
        if isinstance(job, Rebuild):
            self._prefail(job.faulty)
        if is_done:
            self._end(job)
            self._aggregate = assemble(self._filer.shelf, self._filer.node)
            self._log(f"{event}.done", "notice", f"{what} completed")
        elif job.percent // _QUARTER > before and isinstance(job, Rebuild):
            self._log(f"{event}.progress", "info", f"{what} {job.percent}% completed")

    def _prefail(self, faulty: Mapping[Disk, FilerError]) -> None:
        """Have members replaced of which a block could not be read or written."""
        for disk, problem in faulty.items():
            if not disk.marks & (Mark.PREFAILED | Mark.FAILED):
                self._log("disk.ioMediumError", "error", f"{problem}; the disk is prefailed")
                disk.mark(disk.marks | Mark.PREFAILED)

    def _end(self, job: Job) -> None:
        repairs = self._filer.repairs
        if job is repairs.rebuild:
            repairs.rebuild = None
        repairs.zeroing.pop(job.disk.serial, None)

    # The log.

    def _complain(self, event: str, text: str) -> None:
        """Log a problem, once while it lasts."""
        if text not in self._problems:
            self._problems.add(text)
            self._log(event, "error", text)

    def _log(self, event: str, severity: str, text: str) -> None:
        self._tell(self._filer.messages.log(event, severity, text))
