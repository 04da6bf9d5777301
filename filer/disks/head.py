"""The head of a disk file in storage, and the order in which it is written.

**Changing the header** takes four writes, each synced before the next:

1. a record marked *unfinished* (with the new failure count, if a key is tried)
2. the new header, into the empty slot
3. zeros, over the old header
4. a record without the *unfinished* mark

A power loss leaves one or both headers; the later one is valid.

**After a failed sync the cache cannot be trusted.**  Linux marks the pages of a failed sync clean:
they read back as written, no later sync writes them, and the medium keeps the old content.  So
recovery writes again what it relies on: the valid header, if the other slot also holds a complete
one, *then* zeros over the other slot, even if it reads as empty.  Only after both writes does it
clear the mark.  While a change may be unfinished, a slot that cannot be read is not written.

The mark tells this process, and a later one that shares the cache but not the memory, that recovery
is due.  A power-on with no mark and no second header writes nothing.  A disk of version 0.1, which
had no mark, is treated once as marked.

**A header is never overwritten in place while it is the only one**, because a power loss during the
write may destroy its block.  This is never necessary: the other slot is written only while this one
is on the medium.

**The record** is written alternately to two blocks.  They alternate only after a successful sync,
so a failed write is repeated in the same block; if that block cannot be written, the other is used.

**Only the owner of a disk changes it**, so a later record that this process has not written means
that another system owns the disk, or has assigned it to this one.
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
from filer.disks.record import COUNT_IF_LOST, RECORD_SIZE, Mark, Owner, Record
from filer.disks.wrapping_counter import after, is_after
from filer.host.durable import Storage, StorageError


class HeadFile:
    """The head of one disk file; ``head`` is its content as far as it is known."""

    def __init__(self, path: Path, storage: Storage) -> None:
        """Read the head, block by block if it cannot be read at once.  Raises `DiskError`."""
        self._path = path
        self._storage = storage
        self.inode = self._inode()
        """That of the file when it was last read: a file that takes its place is not written."""
        self.head, self._unreadable = self._read()
        self.is_durable = not self.head.older
        """Whether the valid header is known to be on the medium."""
        self._tried: list[Record] = []
        """What this process began to write since the last record that it has written, with that."""

    def warnings(self) -> Iterator[str]:
        """Yield the faults of the head that do not stop the disk from working."""
        for offset, reason in self._unreadable.items():
            yield f"4 KiB of its header, at {offset}, cannot be read: {reason}"
        if self.head.count_lost:
            yield f"its count of failed authentications was lost; it is now {COUNT_IF_LOST}"

    def refresh(self) -> None:
        """Read the header again.

        Raises `DiskError` if it cannot be read or belongs to another disk.
        """
        inode = self._inode()
        known, (found, self._unreadable) = self.head, self._read()
        same_life = found.header.state.life == known.header.state.life
        if found.header.state.serial != known.header.state.serial or not (
            same_life or known.leftover
        ):
            raise DiskError("not the disk that was here at power-on")
        self.inode = inode
        self.head = found._replace(
            # The record in memory is the last one that was synced.
            record=known.record,
            record_slot=known.record_slot,
            count_lost=known.count_lost,
        )

    def was_written_by_others(self, now: "HeadFile") -> bool:
        """Return whether the disk, as just read into ``now``, was written by another system.

        A record that this process is writing, or failed to write, does not count, although the
        cache shows it.
        """
        read = now.head.record
        # Another thread may be writing: what it tries has to be looked at before what it has done.
        is_ours = read in self._tried
        return not is_ours and is_after(read.sequence, self.head.record.sequence)

    def write_record(
        self,
        *,
        failures: int | None = None,
        tags: tuple[bytes, ...] | None = None,
        unfinished: bool | None = None,
        home: int | None = None,
        owner: Owner | None = None,
        marks: Mark | None = None,
    ) -> None:
        """Write the record; an argument that is None keeps its value for the current header.

        Raises `StorageError` if neither copy can be written, or if another system has written one:
        its owner must stay on the disk, also if this process was stopped for a while.
        """
        if self._is_written_by_others():
            raise StorageError(f"{self._path.stem}: another system has just changed it")
        head = self.head
        record = Record(
            after(head.record.sequence),
            head.header.binding,
            head.failures if failures is None else failures,
            head.record.unfinished if unfinished is None else unfinished,
            head.tags if tags is None else tags,
            head.record.home if home is None else home,
            head.record.owner if owner is None else owner,
            head.record.marks if marks is None else marks,
        )
        self._tried.append(record)
        written: list[int] = []
        for place in (1 - head.record_slot, head.record_slot):
            # An unreadable copy may become readable again, so a lost count is written to both.
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
        self._tried = [record]

    def _is_written_by_others(self) -> bool:
        """Return whether there is a later record; an unreadable one may be older or ours."""
        if self._unreadable or self.head.count_lost:
            return False
        for offset in RECORD_OFFSETS:
            with suppress(OSError):
                found = Record.parse(self._storage.read(self._path, offset, RECORD_SIZE))
                is_later = found and is_after(found.sequence, self.head.record.sequence)
                if is_later and found not in self._tried:
                    return True
        return False

    def put(self, header: Header) -> None:
        """Write ``header`` into the empty slot; the record must already be marked *unfinished*.

        Raises `StorageError`; the old header is then still valid, or, if ``head.leftover`` is set,
        whichever of the two is on the medium.
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
        """Erase the other slot and clear the mark; the valid header must be on the medium."""
        self._write(SLOT_OFFSETS[1 - self.head.slot], EMPTY_SLOT)
        self.head, self.is_durable = self.head._replace(leftover=False, older=False), True
        self.write_record(unfinished=False)

    def settle(self) -> None:
        """Make the valid header durable, then erase the other slot.

        Raises StorageError, with nothing written, if a change may be unfinished and the other slot
        cannot be read: it may hold the only header on the medium.
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
        """Settle if an older header may remain."""
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

    def _inode(self) -> int:
        """Return the inode of the file, or one that none has; ask for it before reading."""
        try:
            return self._path.stat().st_ino
        except OSError:
            return -1

    def _blocks(self) -> tuple[bytes, Mapping[int, str]]:
        """Return the head, with zeros for unreadable blocks, and their errors by offset."""
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
        self._storage.overwrite(self._path, offset, data, self.inode)
