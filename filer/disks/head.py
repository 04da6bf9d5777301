"""The head of a disk file in storage, and the order in which it is written.

**A change of the header** takes four writes, each synced before the next:

1. a record that says *unfinished* (with the count of failures, where a key is tried)
2. the new header, into the empty slot
3. zeros, over the old header
4. a record without *unfinished*

A loss of power leaves one of the two headers, or both, and the later one counts.

**After a failed sync the cache is not believed.**  Linux marks the pages of a failed sync clean:
they read as written, no later sync writes them, and the medium still has what was there before.  So
recovery writes what it relies on again: the header that counts, if the other slot holds a whole one
too, *then* zeros over the other slot, however empty that looks.  Only after both it takes the mark
away.  While a change may be unfinished, a slot that cannot be read is left alone.

The mark tells this process, and the next one, which shares the cache but not the memory, that this
is due.  A power-on without mark and without a second header writes nothing.  A disk of version 0.1,
which had no mark, is treated as marked, once.

**The only header is never written in place**, because a loss of power in mid-write may cost its
block.  It need not be: the other slot is written only while this one is on the medium.

**The record** is written in turn to two blocks.  The turn changes only after a sync, so that a
failed one is made again in the same place; if a block cannot be written, the other one is.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from filer.disks.header import (
    BLOCK_SIZE,
    DATA_OFFSET,
    EMPTY_SLOT,
    RECORD_OFFSETS,
    SLOT_OFFSETS,
    DiskError,
    Head,
    Header,
)
from filer.disks.record import COUNT_IF_LOST, Record
from filer.disks.wrapping_counter import after
from filer.host.durable import Storage, StorageError


class HeadFile:
    """The head of one disk file; ``head`` is what it holds, as far as that is known."""

    def __init__(self, path: Path, storage: Storage) -> None:
        """Read the head, each block for itself if need be.  Raises `DiskError`."""
        self._path = path
        self._storage = storage
        self.head, self._unreadable = self._read()
        self.is_durable = not self.head.older
        """Whether the header that counts is known to be on the medium."""

    def warnings(self) -> Iterator[str]:
        """Yield what is wrong with the head although the disk works."""
        for offset, reason in self._unreadable.items():
            yield f"4 KiB of its header, at {offset}, cannot be read: {reason}"
        if self.head.count_lost:
            yield f"its count of failed authentications was lost; it is now {COUNT_IF_LOST}"

    def refresh(self) -> None:
        """Read the header again.

        Raises `DiskError` if it cannot be read or belongs to another disk.
        """
        known, (found, self._unreadable) = self.head, self._read()
        same_life = found.header.state.life == known.header.state.life
        if found.header.state.serial != known.header.state.serial or not (
            same_life or known.leftover
        ):
            raise DiskError("not the disk that was here at power-on")
        self.head = found._replace(
            # The record in memory is the last one that was synced.
            record=known.record,
            record_slot=known.record_slot,
            count_lost=known.count_lost,
        )

    def write_record(
        self,
        *,
        failures: int | None = None,
        tags: tuple[bytes, ...] | None = None,
        unfinished: bool | None = None,
        system_id: int | None = None,
    ) -> None:
        """Write the record; what is not given stays as it is for the present header.

        ``system_id`` becomes the home and the owner of the disk.

        Raises `StorageError` if neither copy can be written.
        """
        head = self.head
        record = Record(
            after(head.record.sequence),
            head.header.binding,
            head.failures if failures is None else failures,
            head.record.unfinished if unfinished is None else unfinished,
            head.tags if tags is None else tags,
            head.record.home if system_id is None else system_id,
            head.record.owner if system_id is None else system_id,
        )
        written: list[int] = []
        for place in (1 - head.record_slot, head.record_slot):
            # A copy that could not be read may come back, so a lost count needs both.
            if not written or head.count_lost:
                try:
                    self._write(RECORD_OFFSETS[place], record.pack())
                except StorageError as error:
                    refusal = error
                else:
                    written.append(place)
        if not written:
            raise refusal
        self.head = head._replace(record=record, record_slot=written[-1], count_lost=False)

    def put(self, header: Header) -> None:
        """Write ``header`` into the empty slot; the record has to say *unfinished*.

        Raises `StorageError`; then the old header counts, or, with ``head.leftover``, the one that
        the medium has.
        """
        old = self.head
        slot = 1 - old.slot
        header = replace(header, generation=after(old.header.generation))
        try:
            self._write(SLOT_OFFSETS[slot], header.pack())
        except StorageError:
            self.head, self.is_durable = old._replace(leftover=True), False
            with suppress(StorageError):
                self._write(SLOT_OFFSETS[slot], EMPTY_SLOT)
                self.head, self.is_durable = old, True
            raise
        self.head = old._replace(header=header, slot=slot, leftover=True, older=True)

    def finish(self) -> None:
        """Leave nothing but the header that counts, which is on the medium."""
        self._write(SLOT_OFFSETS[1 - self.head.slot], EMPTY_SLOT)
        self.head, self.is_durable = self.head._replace(leftover=False, older=False), True
        self.write_record(unfinished=False)

    def settle(self) -> None:
        """Make durable the header that counts, and then the absence of any other.

        Raises StorageError, with nothing written, if a change may be unfinished and the other slot
        cannot be read: it may hold the only header that the medium has.
        """
        other = SLOT_OFFSETS[1 - self.head.slot]
        if self.head.record.unfinished and other in self._unreadable:
            raise StorageError(f"4 KiB of its header, at {other}, cannot be read")
        if not self.head.record.unfinished:
            self.write_record(unfinished=True)
        if self.head.older:
            self._write(SLOT_OFFSETS[self.head.slot], self.head.header.pack())
            self.is_durable = True
        else:
            self._storage.settle(self._path)
        self.finish()

    def clean(self) -> None:
        """Settle if an older header may be left."""
        if self.head.unclean:
            self.settle()

    def try_to_clean(self) -> StorageError | None:
        """Clean, or return what prevents it; then another header may be left.

        A second try follows a failed sync: until what that sync lost is written again, the medium
        may have the header of a change that the cache does not show any more.  Raises
        `StorageError` if it is not known which of two headers the medium has.
        """
        for _ in range(2):
            try:
                self.clean()
            except StorageError as error:
                refusal = error
            else:
                return None
        if not self.is_durable:
            raise refusal
        return refusal

    def _read(self) -> tuple[Head, Mapping[int, str]]:
        data, unreadable = self._blocks()
        return Head.parse(data, unreadable), unreadable

    def _blocks(self) -> tuple[bytes, Mapping[int, str]]:
        """Return the head, and, by offset, why blocks of it cannot be read; they are zeros."""
        with suppress(OSError):
            data = self._storage.read(self._path, 0, DATA_OFFSET)
            if len(data) == DATA_OFFSET:
                return data, {}
        blocks: list[bytes] = []
        unreadable: dict[int, str] = {}
        for offset in range(0, DATA_OFFSET, BLOCK_SIZE):
            try:
                block = self._storage.read(self._path, offset, BLOCK_SIZE)
                if len(block) != BLOCK_SIZE:
                    raise DiskError("damaged: the file is too short")
            except OSError as error:
                block, unreadable[offset] = bytes(BLOCK_SIZE), error.strerror or "unknown error"
            blocks.append(block)
        if len(unreadable) == len(blocks):
            raise DiskError(f"cannot be read: {unreadable[0]}")
        return b"".join(blocks), unreadable

    def _write(self, offset: int, data: bytes) -> None:
        self._storage.overwrite(self._path, offset, data)
