"""Work on the disks of one system, a part at a time: replacing members, and zeroing spares.

What is to be done follows from what the disks record.  A crash at any moment leaves that as it was,
so the work begins anew at the next boot.

**A member is replaced** if it has failed, is prefailed, is missing, or has lost its data for good.
Its blocks are copied to a spare, from the member itself if it is prefailed, else from another one:
this aggregate has no parity, all members hold the same blocks.  Blocks that cannot be read there
are copied from the next member.  Then the new labels are written,
first to the spare: from then on a boot completes the replacement (`filer.disks.ownership`).  A
prefailed disk is failed last.

No key and no header of a disk is changed.
"""

from abc import ABC, abstractmethod
from collections.abc import Container
from typing import NamedTuple

from filer.disks.aggregate import Aggregate, Member
from filer.disks.data import Unreadable
from filer.disks.disk import Disk
from filer.disks.label import LABEL_BLOCK, Composition, Label
from filer.disks.record import Mark
from filer.disks.shelf import Shelf
from filer.host.errors import FilerError

_AT_ONCE = 64
"""Blocks in one write."""

_PARTS = 20
_LARGEST_PART = 256 * _AT_ONCE


class Job(ABC):
    """Work on the blocks of ``disk``, of which the first ``done`` are done."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.done = 0
        self._blocks = disk.blocks  # the disk may be pulled
        self._life = disk.life

    @property
    def percent(self) -> int:
        """How much is done."""
        return 100 * self.done // self._blocks

    @property
    def is_lost(self) -> bool:
        """Whether the disk was sanitized, so that what is done can no longer be read."""
        return self.disk.life != self._life

    def work(self) -> bool:
        """Do a twentieth of the work, 64 MiB at most; return whether it was the last part.

        Raises DiskError or StorageError; the job cannot go on then.
        """
        part = min(-(-self._blocks // _PARTS), _LARGEST_PART)
        end = min(self.done + part, self._blocks)
        if not self.done:
            self._begin()
        for start in range(self.done, end, _AT_ONCE):
            self._change(range(start, min(start + _AT_ONCE, end)))
        self.done = end
        if end < self._blocks:
            return False
        self._finish()
        return True

    def _begin(self) -> None:  # noqa: B027  (optional)
        """Prepare the disk."""

    @abstractmethod
    def _change(self, blocks: range) -> None: ...

    @abstractmethod
    def _finish(self) -> None: ...


class Zeroing(Job):
    """Zeros a spare disk."""

    def _change(self, blocks: range) -> None:
        self.disk.zero_blocks(blocks)

    def _finish(self) -> None:
        self.disk.mark(self.disk.marks & ~(Mark.ZEROING | Mark.NOT_ZEROED))


class Rebuild(Job):
    """Replaces ``member`` of ``aggregate`` by a spare ``disk``."""

    def __init__(self, aggregate: Aggregate, member: Member, disk: Disk, shelf: Shelf) -> None:
        super().__init__(disk)
        self._blocks = aggregate.blocks
        self.member = member
        self.source = source_of(aggregate, member)
        self._replaced = member.in_use
        self.is_copy = self.source is self._replaced
        """Whether the member is still in use, and is copied itself."""

        self.aggregate = aggregate
        self.faulty: dict[Disk, FilerError] = {}
        """Members with blocks that cannot be read or written, and the problem."""
        self._shelf = shelf

    def goes_on(self, aggregate: Aggregate, member: Member) -> bool:
        """Return whether this is still what is needed, and possible."""
        return (
            (self.member.serial, self._replaced) == (member.serial, member.in_use)
            and self.source in [each.in_use for each in aggregate.readable]
            and self.disk in aggregate.spares
            and aggregate.is_readable(self.disk)
        )

    def _begin(self) -> None:
        self.disk.mark(Mark.NOT_ZEROED)

    def _change(self, blocks: range) -> None:
        numbers = range(max(blocks.start, LABEL_BLOCK + 1), blocks.stop)
        try:
            self._copy(numbers)
        except Unreadable:  # perhaps no member can read all of them, but each block is somewhere
            for number in numbers:
                self._copy(range(number, number + 1))

    def _copy(self, numbers: range) -> None:
        """Copy ``numbers`` from the source, or from the first other member that can read them."""
        members = (each.in_use for each in self.aggregate.readable)
        sources = [disk for disk in dict.fromkeys((self.source, *members)) if disk]
        for source in sources:
            try:
                self.disk.copy_blocks(source, numbers)
            except Unreadable as problem:
                if source is sources[-1] or problem.disk != source.name:
                    raise
                self.faulty[source] = problem
            else:
                return

    def _finish(self) -> None:
        found, old = self.aggregate, self.member
        kept = [each for each in found.readable if each.serial != old.serial]
        serials = [each.serial for each in found.members]
        serials[serials.index(old.serial)] = self.disk.serial
        system_id, before = found.ownership.node.system_id, found.ownership.root
        after = Composition(tuple(serials), before.generation + 1, before.uuid)
        label = Label(system_id, found.name, *after)
        self.disk.write_block(LABEL_BLOCK, label.pack())
        for disk in (each.in_use for each in kept):
            if disk is not None:
                try:
                    disk.write_block(LABEL_BLOCK, label.pack())
                except FilerError as problem:  # the spare is a member already
                    self.faulty[disk] = problem
        self._shelf.remember_aggr0(after)
        if self._replaced and not (self._replaced.destroyed or self._replaced.locked_out):
            self._replaced.mark(Mark.FAILED | Mark.NOT_ZEROED)


def source_of(aggregate: Aggregate, member: Member) -> Disk:
    """Return the disk that a replacement of ``member`` is copied from; the aggregate is online."""
    readable = [each.in_use for each in (member, *aggregate.readable) if each in aggregate.readable]
    assert readable[0] is not None
    return readable[0]


class Replacement(NamedTuple):
    """A member to replace, and the spare for it, or None if there is none."""

    member: Member
    spare: Disk | None


def replacement(aggregate: Aggregate, refused: Container[str] = ()) -> Replacement | None:
    """Return what has to be replaced first: lost members come before prefailed ones.

    Of these, one for which there is a spare comes first.  None if no member has to be replaced, or
    if the aggregate is not online.  A member that is only locked is not replaced.  None of
    ``refused`` (serials) is a spare.
    """
    if not aggregate.online:
        return None
    lost = [each for each in aggregate.members if _is_lost(each.in_use, aggregate)]
    failing = [
        each for each in aggregate.members if each.in_use and Mark.PREFAILED in each.in_use.marks
    ]
    found = [Replacement(each, _spare_for(aggregate, each, refused)) for each in [*lost, *failing]]
    return next((each for each in found if each.spare), found[0] if found else None)


def _is_lost(disk: Disk | None, aggregate: Aggregate) -> bool:
    return disk is None or disk.destroyed or disk.locked_out or aggregate.is_unreadable(disk)


def _spare_for(aggregate: Aggregate, member: Member, refused: Container[str]) -> Disk | None:
    """Return the best spare disk to replace ``member``, or None; none of ``refused`` (serials).

    It has to be large enough.  Another member that was erased is not used: it has to be rebuilt
    itself.  A spare that is protected as the others are comes before others,
    then a smaller one, then one that is zeroed.
    """
    source = source_of(aggregate, member)
    others = {each.serial for each in aggregate.members} - {member.serial}
    spares = [
        disk
        for disk in aggregate.spares
        if aggregate.is_readable(disk)
        and disk.blocks >= aggregate.blocks
        and disk.serial not in others
        and disk.serial not in refused
    ]
    return min(
        spares,
        key=lambda disk: (
            disk.locking != source.locking,
            disk.blocks,
            not aggregate.is_zeroed(disk),
        ),
        default=None,
    )


class Repairs:
    """The jobs of one system that are running."""

    def __init__(self) -> None:
        self.rebuild: Rebuild | None = None
        self.zeroing: dict[str, Zeroing] = {}
        """By serial number."""

    def rebuild_in(self, aggregate: Aggregate) -> Rebuild | None:
        """Return the rebuild, unless its disk was just pulled."""
        job = self.rebuild
        return job if job and job.disk in aggregate.disks else None

    def __bool__(self) -> bool:
        return bool(self.rebuild or self.zeroing)

    def zero(self, aggregate: Aggregate, refused: Container[str] = ()) -> None:
        """Zero the spares that are marked so, and no others; none of ``refused`` (serials)."""
        marked = {
            disk.serial: disk
            for disk in aggregate.spares
            if Mark.ZEROING in disk.marks
            and aggregate.is_readable(disk)
            and disk.serial not in refused
        }
        if self.rebuild:
            marked.pop(self.rebuild.disk.serial, None)
        self.zeroing = {
            serial: job if (job := self.zeroing.get(serial)) and job.disk is disk else Zeroing(disk)
            for serial, disk in marked.items()
        }
