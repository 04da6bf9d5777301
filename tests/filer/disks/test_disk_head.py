"""The order in which a header is written: kills, power losses, failed syncs, unreadable blocks.

`tests.kit.medium` models the medium below the cache.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from filer.disks.derivation import Derivation
from filer.disks.disk import (
    LOCKOUT_LIMIT,
    AuthenticationFailed,
    Destroyed,
    Disk,
    DiskError,
    DiskLocked,
    LockedOut,
)
from filer.disks.header import (
    BLOCK_SIZE,
    DATA_OFFSET,
    RECORD_OFFSETS,
    SLOT_OFFSETS,
    SLOT_SIZE,
    Head,
    State,
)
from filer.disks.jobs import DiskJobs
from filer.disks.record import COUNT_IF_LOST, RECORD_SIZE, Record
from filer.host.durable import Storage, StorageError
from filer.keys.authentication_key import MSID, AuthenticationKey, DiskKey
from filer.keys.keytable import Keytable
from filer.running.interrupt import Interrupt
from tests.conftest import Count
from tests.kit import disk_files
from tests.kit.disk_files import (
    KEY,
    KEY_ID,
    NEW_KEY,
    NEW_KEY_ID,
    PLAIN,
    SIZE,
    OldCount,
    head_of,
    make_old,
    old_head,
    on,
    set_failures,
)
from tests.kit.faulty import FailingStorage, Trouble
from tests.kit.medium import Event, Killed, Medium
from tests.kit.wraps import wraps

keyed, locking = disk_files.keyed, disk_files.locking

KEYS: dict[str, DiskKey] = {"0x0": MSID, KEY_ID: KEY, NEW_KEY_ID: NEW_KEY}

Operation = Callable[[Disk], None]


def lock(disk: Disk) -> None:
    disk.lock(KEYS[disk.key_id])


def rekey(disk: Disk) -> None:
    disk.rekey(KEYS[disk.key_id], NEW_KEY_ID, NEW_KEY)


def rekey_to_msid(disk: Disk) -> None:
    disk.rekey(KEYS[disk.key_id], "0x0", MSID)


OPERATIONS: list[Operation] = [lock, rekey, rekey_to_msid, Disk.sanitize, Disk.destroy]
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)


# what is left on the medium


def states_after_power_loss(medium: Medium) -> Iterator[None]:
    """Put each possible content of the medium into the file."""
    cache = medium.path.read_bytes()
    for content in medium.after_power_loss():
        medium.path.write_bytes(content)
        yield
    medium.path.write_bytes(cache)


def check_it_opens(disk: Disk, states: set[State], data: bool) -> None:
    """Power on: the disk is in one of ``states``, and its remaining data are readable."""
    fresh = on(disk)
    assert fresh.warnings == []
    assert fresh._state in states
    assert fresh.failures <= 2
    head = head_of(disk.path)
    assert (head.leftover, head.record.unfinished) == (False, False)
    if fresh.destroyed:
        with pytest.raises(Destroyed):
            fresh.authenticate(MSID)
        return
    fresh.authenticate(KEYS[fresh.key_id])
    assert (fresh.failures, fresh.locked) == (0, False)
    if data:
        assert fresh.read_block(3) == PLAIN


def repeat(operation: Operation, disk: Disk) -> None:
    with suppress(Destroyed):
        operation(disk)


@each_operation
@pytest.mark.parametrize(
    ("event", "then"),
    [
        pytest.param(event, then, id=f"{event.name} {then}")
        for event in Event
        for then in ("restart", "retry", "restart and retry")
        # A killed process retries nothing.
        if not (event.name.startswith("KILLED") and then == "retry")
    ],
)
def test_no_older_header_is_on_the_medium_after_any_fault(
    keyed: Disk, operation: Operation, event: Event, then: str, count: Count
) -> None:
    before = keyed.path.read_bytes()
    old = head_of(keyed.path).header.state
    operation(keyed)
    new = head_of(keyed.path).header.state
    at, tried = 0, 0
    while True:
        at += 1
        keyed.path.write_bytes(before)
        medium = Medium(keyed.path)
        disk = on(keyed, medium)
        medium.arm(at, event)
        with suppress(StorageError, Killed):
            operation(disk)
        if medium.changes < at:
            break
        for _ in states_after_power_loss(medium):
            tried += 1
            check_it_opens(keyed, {old, new}, data=new.life == old.life)
        if then != "retry":
            disk = on(keyed, medium)
            if disk.warnings:  # it reports that the recovery failed
                disk = on(keyed, medium)
        if then != "restart":
            try:
                repeat(operation, disk)
            except StorageError:
                repeat(operation, disk)
        # After a reported success, and after every power-on, the medium holds exactly one header.
        done = disk._state
        for _ in states_after_power_loss(medium):
            tried += 1
            raw = keyed.path.read_bytes()
            assert sum(any(raw[offset : offset + SLOT_SIZE]) for offset in SLOT_OFFSETS) == 1
            assert head_of(keyed.path).header.state == done
            if done != old:
                assert not [wrap for wrap in wraps(before) if wrap in raw]
            check_it_opens(keyed, {done}, data=done.life == old.life)
    assert at > 4
    count(f"a change of a header: {event.value}", tried, tried)


@each_operation
def test_a_crash_while_recovery_is_at_work_loses_nothing(keyed: Disk, operation: Operation) -> None:
    before = keyed.path.read_bytes()
    old = head_of(keyed.path).header.state
    operation(keyed)
    new = head_of(keyed.path).header.state
    for at in (2, 3, 4):
        for recovering in (1, 2, 3, 4):
            keyed.path.write_bytes(before)
            medium = Medium(keyed.path)
            disk = on(keyed, medium)
            medium.arm(at, Event.KILLED_UNSYNCED)
            with pytest.raises(Killed):
                operation(disk)
            medium.arm(recovering, Event.KILLED_UNSYNCED)
            with suppress(Killed):
                on(keyed, medium)
            for _ in states_after_power_loss(medium):
                check_it_opens(keyed, {old, new}, data=new.life == old.life)


@pytest.mark.parametrize("by", ["disk", "command"])
def test_a_lock_with_nothing_to_do_writes_what_an_older_program_left(
    locking: Disk, by: str
) -> None:
    """A sync of zeros failed earlier, which neither cache nor record shows."""
    medium = Medium(locking.path)
    older = medium.content
    slot = 1 - head_of(locking.path).slot
    stale = b"FILERSED an older wrap".ljust(SLOT_SIZE, b"x")
    medium.content = older[: SLOT_OFFSETS[slot]] + stale + older[SLOT_OFFSETS[slot] + SLOT_SIZE :]
    disk = on(locking, medium)
    assert stale in medium.content
    # The write of the zeros: after the mark and the header; then after the header.
    for at, event in ((3, Event.SYNC_LOST), (2, Event.SYNC_LOST), (2, Event.NOT_WRITTEN)):
        medium.arm(at, event)
        assert not locks(disk, by)
        assert stale in medium.content
    assert locks(disk, by)
    assert stale not in medium.content
    assert disk.failures == 0


def locks(disk: Disk, by: str) -> bool:
    """Lock, without a key; return whether it reports success."""
    if by == "command":
        report = DiskJobs(Keytable(), Interrupt()).lock(
            [disk], held=lambda _id, _key: True, refusal=lambda _disk: None
        )
        return not report.failures and not report.not_reached
    try:
        disk.lock(NEW_KEY)
    except StorageError:
        return False
    return True


def test_a_clean_start_writes_nothing(locking: Disk) -> None:
    medium = Medium(locking.path)
    disk = on(locking, medium)
    assert medium.changes == 0
    disk.authenticate(KEY)
    assert medium.changes == 2


# unreadable blocks


class BadBlocks(Storage):
    """Blocks of 4 KiB at ``offsets`` cannot be read, nor written if ``dead``.

    A write makes a block readable again, as in a drive with spare sectors.
    """

    def __init__(self, *offsets: int, dead: bool = False, short: bool = False) -> None:
        self.bad = set(offsets)
        self._dead = dead
        self._short = short

    def read(self, path: Path, offset: int, size: int) -> bytes:
        hit = [bad for bad in self.bad if offset < bad + BLOCK_SIZE and bad < offset + size]
        if hit and self._short and min(hit) > offset:
            return super().read(path, offset, min(hit) - offset)
        if hit:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(path, offset, size)

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        if offset in self.bad:
            if self._dead:
                raise StorageError("cannot write FILE: Input/output error")
            assert len(data) == BLOCK_SIZE
            self.bad.remove(offset)
        super().overwrite(path, offset, data, inode)


HEAD_BLOCKS = (*SLOT_OFFSETS, *RECORD_OFFSETS)


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("offset", HEAD_BLOCKS)
def test_one_unreadable_block_costs_the_disk_only_if_it_is_the_header(
    locking: Disk, offset: int, dead: bool, short: bool
) -> None:
    storage = BadBlocks(offset, dead=dead, short=short)
    if offset == SLOT_OFFSETS[head_of(locking.path).slot]:
        with pytest.raises(
            DiskError, match=r"^0c\.00\.3: its header cannot be read: Input/output error$"
        ):
            on(locking, storage)
        return
    disk = on(locking, storage)
    assert disk.warnings[0] == (
        f"0c.00.3: 4 KiB of its header, at {offset}, cannot be read: Input/output error"
    )
    assert len(disk.warnings) == 1 + (dead and offset in SLOT_OFFSETS)
    with pytest.raises(AuthenticationFailed):
        disk.authenticate(NEW_KEY)
    assert disk.failures == 1
    disk.authenticate(KEY)
    assert disk.read_block(3) == PLAIN
    if not dead:
        disk.rekey(KEY, NEW_KEY_ID, NEW_KEY)
        assert storage.bad == set()
        assert on(locking).warnings == []


class FrailMedium(Medium):
    """A medium that is read-only after its event, and has unreadable blocks."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.bad: set[int] = set()
        self.is_frail = True

    def read(self, path: Path, offset: int, size: int) -> bytes:
        if any(offset < bad + BLOCK_SIZE and bad < offset + size for bad in self.bad):
            raise OSError(errno.EIO, "Input/output error")
        return super().read(path, offset, size)

    def _begin(self, path: Path) -> Event | None:
        if self.is_frail and self.changes == self._at:
            raise StorageError("cannot write FILE: Read-only file system")
        return super()._begin(path)


@each_operation
@pytest.mark.parametrize("event", [Event.KILLED_UNSYNCED, Event.SYNC_LOST])
@pytest.mark.parametrize("offset", HEAD_BLOCKS)
def test_a_block_that_cannot_be_read_after_an_unfinished_change_is_not_wiped(
    keyed: Disk, operation: Operation, event: Event, offset: int
) -> None:
    """The block may hold the only header on the medium."""
    before = keyed.path.read_bytes()
    old = head_of(keyed.path).header.state
    operation(keyed)
    new = head_of(keyed.path).header.state
    for at in (1, 2, 3, 4):
        keyed.path.write_bytes(before)
        medium = FrailMedium(keyed.path)
        medium.is_frail = False
        disk = on(keyed, medium)
        medium.arm(at, event)
        medium.is_frail = True
        with pytest.raises((StorageError, Killed)):
            operation(disk)
        medium.is_frail = False
        medium.bad = {offset}
        with suppress(DiskError):
            on(keyed, medium)
        medium.bad.clear()
        for _ in states_after_power_loss(medium):
            check_it_opens(keyed, {old, new}, data=new.life == old.life)


def test_an_unreadable_last_block_of_data_does_not_cost_the_disk(keyed: Disk) -> None:
    disk = on(keyed, BadBlocks(DATA_OFFSET + SIZE - BLOCK_SIZE))
    with pytest.raises(DiskError, match=r"^0c\.00\.3: cannot be read: Input/output error$"):
        disk.read_block(3)
    assert disk.read_block(2) == bytes(BLOCK_SIZE)


def test_a_file_of_which_nothing_can_be_read_says_why(keyed: Disk) -> None:
    with pytest.raises(DiskError, match=r"^0c\.00\.3: cannot be read: Input/output error$"):
        on(keyed, BadBlocks(*HEAD_BLOCKS))


# a lost count


def test_a_torn_copy_of_the_record_is_no_event(locking: Disk) -> None:
    for wrong in range(3):
        with pytest.raises(AuthenticationFailed):
            locking.authenticate(AuthenticationKey(b"wrong %d" % wrong))
    head = head_of(locking.path)
    disk_files.damage(locking.path, RECORD_OFFSETS[head.record_slot])
    disk = on(locking)
    assert (disk.failures, disk.warnings) == (3, [])  # the tag of the last one is lost
    disk.authenticate(KEY)


def test_a_disk_that_lost_both_copies_of_its_count_warns_once_and_opens(locking: Disk) -> None:
    disk_files.damage(locking.path, *RECORD_OFFSETS)
    disk = on(locking)
    assert disk.warnings == [
        f"0c.00.3: its count of failed authentications was lost; it is now {COUNT_IF_LOST}"
    ]
    assert (disk.failures, disk.locked_out) == (COUNT_IF_LOST, False)
    again = on(locking)
    assert (again.failures, again.warnings) == (COUNT_IF_LOST, [])
    again.authenticate(KEY)
    assert again.failures == 0
    assert again.read_block(3) == PLAIN


def test_a_lost_count_gives_no_endless_guesses(locking: Disk) -> None:
    disk_files.damage(locking.path, *RECORD_OFFSETS)
    disk = on(locking)
    for _ in range(LOCKOUT_LIMIT - COUNT_IF_LOST):
        with pytest.raises(AuthenticationFailed):
            disk.authenticate(MSID)
    with pytest.raises(LockedOut):
        on(locking).authenticate(KEY)


def test_a_lost_count_is_written_over_both_copies(locking: Disk) -> None:
    """A copy that becomes readable later does not restore an older count."""
    set_failures(locking.path, 7)
    storage = BadBlocks(*RECORD_OFFSETS)
    on(locking, storage)
    assert storage.bad == set()
    for place in RECORD_OFFSETS:
        raw = locking.path.read_bytes()[place : place + RECORD_SIZE]
        record = Record.parse(raw)
        assert record is not None
        assert record.failures == COUNT_IF_LOST


# fields that the key does not bind


HIGHEST = 2**64 - 1


def edit(disk: Disk, **fields: object) -> None:
    """Edit the head of a disk that is off, including checksums."""
    head = head_of(disk.path)
    for name, value in fields.items():
        if name == "sequence":
            head = head._replace(record=head.record._replace(sequence=value))  # type: ignore[arg-type]
        else:
            from dataclasses import replace

            header = replace(head.header, **{name: value})  # type: ignore[arg-type]
            record = head.record._replace(binding=header.binding)
            head = head._replace(header=header, record=record)
    with disk.path.open("r+b") as file:
        file.write(head.pack())


@each_operation
@pytest.mark.parametrize("field", ["generation", "sequence"])
@pytest.mark.parametrize("value", [0, 2**63 - 1, 2**63, HIGHEST - 1, HIGHEST])
def test_no_value_of_a_counter_stops_an_operation(
    keyed: Disk, operation: Operation, field: str, value: int
) -> None:
    edit(keyed, **{field: value})
    before = wraps(keyed.path.read_bytes())
    disk = on(keyed)
    for _ in range(3):
        with pytest.raises(AuthenticationFailed):
            disk.authenticate(MSID)
    assert on(keyed).failures == 3
    disk = on(keyed)
    operation(disk)
    fresh = on(keyed)
    assert fresh._state == disk._state
    assert not [wrap for wrap in before if wrap in keyed.path.read_bytes()]
    if not fresh.destroyed:
        fresh.authenticate(KEYS[fresh.key_id])
        fresh.sanitize()
        fresh.destroy()
        assert on(keyed).destroyed


@pytest.mark.parametrize("event", Event, ids=lambda each: each.name)
def test_a_change_at_the_highest_generation_is_recovered(keyed: Disk, event: Event) -> None:
    edit(keyed, generation=HIGHEST)
    before = keyed.path.read_bytes()
    for at in (1, 2, 3, 4):
        keyed.path.write_bytes(before)
        medium = Medium(keyed.path)
        disk = on(keyed, medium)
        medium.arm(at, event)
        with suppress(Killed, StorageError):
            lock(disk)
        for _ in states_after_power_loss(medium):
            states = {head_of(keyed.path).header.state}
            check_it_opens(keyed, states, data=True)


def test_a_disk_whose_life_was_edited_to_the_highest_can_be_sanitized(locking: Disk) -> None:
    from dataclasses import replace

    state = replace(head_of(locking.path).header.state, life=2**32 - 1)
    set_failures(locking.path, LOCKOUT_LIMIT)
    edit(locking, state=state)
    disk = on(locking)
    assert disk.locked
    disk.sanitize()
    fresh = on(locking)
    assert (fresh._state.life, fresh.failures, fresh.locked) == (1, 0, False)
    fresh.authenticate(MSID)


def test_the_highest_count_of_failures_is_a_lockout(locking: Disk) -> None:
    set_failures(locking.path, 2**32 - 1)
    disk = on(locking)
    with pytest.raises(LockedOut):
        disk.authenticate(KEY)
    disk.sanitize()
    assert on(locking).failures == 0


# disk files of version 0.1


def test_the_old_layout_is_what_version_0_1_wrote() -> None:
    """The digest is of a file from version 0.1: keyed, locked, three keys refused."""
    import hashlib
    import itertools
    import tempfile

    numbers = itertools.count(1)

    def random(size: int) -> bytes:
        return hashlib.shake_128(b"disk %d" % next(numbers)).digest(size)

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "disk"
        disk = Disk.create("0c.00.3", path, Storage(), Derivation(), random, size=16 * BLOCK_SIZE)
        disk.power_on()
        disk.rekey(MSID, KEY_ID, KEY)
        disk.lock(KEY)
        header = head_of(path).header
    old = old_head(header, [OldCount(7, 1, 2), OldCount(8, 1, 3)])
    assert hashlib.sha256(old).hexdigest() == (
        "25fb101fa0341d4b903e6dd9d157aa07d208a927a81f60120e5ae1b02b42a10f"
    )


@pytest.mark.parametrize(
    ("counts", "failures"),
    [
        ((OldCount(7, 1, 2), OldCount(8, 1, 3)), 3),
        ((OldCount(9, 1, 4), OldCount(8, 1, 3)), 4),
        ((None, OldCount(8, 1, 3)), 3),
        ((OldCount(1, 1, 0), None), 0),
        ((OldCount(7, 2, 9), OldCount(6, 2, 8)), 0),  # of another data key
        ((OldCount(2**62, 1, 5), None), 5),
        ((OldCount(HIGHEST, 1, 4), OldCount(0, 1, 5)), 5),
    ],
)
def test_a_disk_file_of_version_0_1_opens_with_its_count(
    locking: Disk, counts: tuple[OldCount | None, ...], failures: int
) -> None:
    make_old(locking.path, counts)
    disk = on(locking)
    assert (disk.failures, disk.locked, disk.warnings) == (failures, True, [])
    disk.authenticate(KEY)
    assert disk.read_block(3) == PLAIN
    assert on(locking).failures == 0
    for offset in RECORD_OFFSETS:
        assert Record.parse(locking.path.read_bytes()[offset : offset + RECORD_SIZE]) is not None


def test_without_locking_an_old_disk_opens_by_itself(keyed: Disk) -> None:
    make_old(keyed.path, [OldCount(7, 1, 2), OldCount(8, 1, 3)])
    disk = on(keyed)
    assert disk.read_block(3) == PLAIN
    assert disk.failures == 3
    assert on(keyed).failures == 3


def test_an_old_disk_that_was_locked_out_stays_so(locking: Disk) -> None:
    make_old(locking.path, [OldCount(7, 1, LOCKOUT_LIMIT), OldCount(6, 1, LOCKOUT_LIMIT - 1)])
    on(locking)
    assert on(locking).locked_out


def test_the_first_record_of_an_old_disk_goes_to_the_other_block(locking: Disk) -> None:
    make_old(locking.path, [OldCount(7, 1, 2), OldCount(8, 1, 3)])
    written: list[int] = []

    class Watching(Storage):
        def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
            written.append(offset)
            super().overwrite(path, offset, data, inode)

    disk = on(locking, Watching())
    disk.authenticate(KEY)
    assert [offset for offset in written if offset in RECORD_OFFSETS] == [12288, 8192, 12288]
    on(locking, Watching())
    assert len(written) == 4


@pytest.mark.parametrize("event", Event, ids=lambda each: each.name)
def test_an_upgrade_that_is_cut_short_loses_neither_count_nor_data(
    locking: Disk, event: Event
) -> None:
    make_old(locking.path, [OldCount(7, 1, 2), OldCount(8, 1, 3)])
    before = locking.path.read_bytes()
    for at in (1, 2, 3, 4, 5):
        locking.path.write_bytes(before)
        medium = Medium(locking.path)
        medium.arm(at, event)
        with suppress(Killed, StorageError):
            disk = on(locking, medium)
            disk.authenticate(KEY)
        for _ in states_after_power_loss(medium):
            fresh = on(locking)
            assert fresh.warnings == []
            assert fresh.failures in {3, 4, 0}
            fresh.authenticate(KEY)
            assert fresh.read_block(3) == PLAIN


@pytest.mark.parametrize("block", RECORD_OFFSETS)
def test_an_old_disk_that_loses_the_block_of_its_counters_is_not_lost(
    locking: Disk, block: int
) -> None:
    make_old(locking.path, [OldCount(7, 1, 2), OldCount(8, 1, 3)])
    disk_files.damage(locking.path, block)
    disk = on(locking)
    assert disk.failures == (COUNT_IF_LOST if block == RECORD_OFFSETS[0] else 3)
    disk.authenticate(KEY)


def read_only() -> Storage:
    storage = FailingStorage()
    storage.arm(1, Trouble(errno.EROFS))
    return storage


def test_an_old_disk_on_a_medium_that_takes_no_writes_is_still_there(keyed: Disk) -> None:
    make_old(keyed.path, [OldCount(7, 1, 2), OldCount(8, 1, 3)])
    disk = on(keyed, read_only())
    assert disk.read_block(3) == PLAIN
    assert disk.warnings == [
        "0c.00.3: an older header may remain in its file: cannot write FILE: Read-only file system"
    ]


def test_of_two_headers_that_cannot_be_written_neither_is_trusted(keyed: Disk) -> None:
    medium = Medium(keyed.path)
    disk = on(keyed, medium)
    medium.arm(3, Event.KILLED_BEFORE)
    with pytest.raises(Killed):
        disk.sanitize()
    assert Head.parse(medium.content[:DATA_OFFSET]).leftover
    with pytest.raises(StorageError):
        on(keyed, read_only())


class TwoFaults(Medium):
    """A sync fails although all data arrived; the process is killed before the next sync."""

    def _sync(self, event: Event | None) -> None:
        faults = {2: Event.SYNC_FAILED, 3: Event.KILLED_UNSYNCED}
        super()._sync(event if self._event else faults.get(self.changes))


@each_operation
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_change_that_was_taken_back_does_not_come_back_after_a_failed_sync_of_the_start(
    keyed: Disk, operation: Operation, at: int
) -> None:
    medium = TwoFaults(keyed.path)
    disk = on(keyed, medium)
    medium.changes = 0
    with pytest.raises(Killed):
        operation(disk)
    assert Head.parse(medium.content[:DATA_OFFSET]).older
    medium.arm(at, Event.SYNC_LOST)
    disk = on(keyed, medium)
    assert disk.warnings == []
    begun = head_of(keyed.path).header
    for _ in states_after_power_loss(medium):
        assert head_of(keyed.path).header == begun


def test_data_is_not_written_while_the_data_key_of_the_medium_is_unknown(keyed: Disk) -> None:
    medium = Medium(keyed.path)
    disk = on(keyed, medium)
    medium.arm(2, Event.SYNC_LOST_TWICE)
    with pytest.raises(StorageError):
        disk.sanitize()
    with pytest.raises(DiskLocked):
        disk.write_block(3, PLAIN)
    disk.sanitize()
    disk.write_block(3, PLAIN)
    assert on(keyed).read_block(3) == PLAIN
