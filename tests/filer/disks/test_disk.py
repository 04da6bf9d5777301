"""One self-encrypting drive: access to its data, and the effects of crashes and edits."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
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
    SLOT_OFFSETS,
    SLOT_SIZE,
    WRAP_SIZE,
    Head,
    Header,
    State,
)
from filer.host.durable import Storage, StorageError
from filer.host.scrypt import STANDARD, Scrypt
from filer.keys.authentication_key import MSID, AuthenticationKey, DiskKey
from filer.keys.pair import KeyPair
from tests.kit import disk_files
from tests.kit.disk_files import KEY, KEY_ID, NEW_KEY, NEW_KEY_ID, PLAIN, set_failures
from tests.kit.faulty import PowerLoss
from tests.kit.wraps import search, wraps

SIZE = 16 * BLOCK_SIZE

Operation = Callable[[Disk], None]


@pytest.fixture
def disk(tmp_path: Path, derivation: Derivation) -> Disk:
    """A powered-on, factory-new disk with a known block 3."""
    disk = Disk.create("0c.00.3", tmp_path / "0c.00.3.sed", Storage(), derivation, size=SIZE)
    disk.power_on()
    disk.write_block(3, PLAIN)
    return disk


@pytest.fixture
def keyed(disk: Disk) -> Disk:
    """A disk with KEY, without locking."""
    disk.rekey(MSID, KEY_ID, KEY)
    return disk


@pytest.fixture
def locking(keyed: Disk) -> Disk:
    """A disk with KEY and locking, still open."""
    keyed.lock(KEY)
    return keyed


def authenticate(disk: Disk) -> None:
    disk.authenticate(KEY)


def rekey(disk: Disk) -> None:
    disk.rekey(KEY, NEW_KEY_ID, NEW_KEY)


def rekey_to_msid(disk: Disk) -> None:
    disk.rekey(KEY, "0x0", MSID)


def lock(disk: Disk) -> None:
    disk.lock(KEY)


def another(disk: Disk, storage: Storage | None = None) -> Disk:
    """Return the same disk as a new process sees it; off."""
    return Disk(disk.name, disk.path, storage or Storage(), disk._derivation)


def power_cycled(disk: Disk) -> Disk:
    fresh = another(disk)
    fresh.power_on()
    return fresh


def head_of(disk: Disk) -> Head:
    return disk_files.head_of(disk.path)


def put_header(disk: Disk, header: Header) -> None:
    head = head_of(disk)
    with disk.path.open("r+b") as file:
        file.write(head._replace(header=header).pack())


# access to the data


def test_a_factory_new_disk_gives_its_data_to_anyone(disk: Disk) -> None:
    disk = power_cycled(disk)
    assert (disk.key_id, disk.locking, disk.locked, disk.failures) == ("0x0", False, False, 0)
    assert (disk.destroyed, disk.locked_out, disk.blocks) == (False, False, 16)
    assert disk.read_block(3) == PLAIN
    disk.authenticate(MSID)


def test_the_msid_is_not_accepted_as_an_authentication_key(disk: Disk) -> None:
    disk = power_cycled(disk)
    disk.authenticate(MSID)
    assert disk.accepted_key is None
    disk.rekey(MSID, KEY_ID, KEY)
    assert disk.accepted_key == KEY
    disk.rekey(KEY, "0x0", MSID)
    assert disk.accepted_key is None


def test_two_disks_have_nothing_in_common(tmp_path: Path, derivation: Derivation) -> None:
    disks = [
        Disk.create(name, tmp_path / name, Storage(), derivation, size=SIZE) for name in ("a", "b")
    ]
    for disk in disks:
        disk.power_on()
        disk.write_block(0, PLAIN)
    for value in ("serial", "msid"):
        assert len({getattr(disk, value) for disk in disks}) == 2
    data = [disk.path.read_bytes()[DATA_OFFSET:] for disk in disks]
    assert data[0] != data[1]


def test_the_file_holds_only_ciphertext(disk: Disk) -> None:
    disk.write_block(4, PLAIN)
    raw = disk.path.read_bytes()
    assert len(raw) == DATA_OFFSET + SIZE
    assert not any(PLAIN[start : start + 16] in raw for start in range(0, BLOCK_SIZE, 16))
    blocks = [raw[DATA_OFFSET + n * BLOCK_SIZE :][:BLOCK_SIZE] for n in (3, 4)]
    assert blocks[0] != blocks[1]
    assert all(len(block.rstrip(b"\0")) > BLOCK_SIZE - 8 for block in blocks)


def test_a_block_never_written_reads_as_zeros(disk: Disk) -> None:
    assert disk.read_block(9) == bytes(BLOCK_SIZE)


def test_blocks_beyond_the_disk_and_odd_sizes_are_refused(disk: Disk) -> None:
    for number in (-1, disk.blocks):
        with pytest.raises(DiskError, match=rf"^0c\.00\.3: no block {number}$"):
            disk.read_block(number)
        with pytest.raises(DiskError):
            disk.write_block(number, PLAIN)
    with pytest.raises(ValueError, match="4096"):
        disk.write_block(0, b"short")


def test_without_power_a_disk_tells_nothing(locking: Disk) -> None:
    locking.power_off()
    assert locking.locked
    for attempt in (
        lambda: locking.key_id,
        lambda: locking.failures,
        lambda: locking.authenticate(KEY),
        locking.sanitize,
    ):
        with pytest.raises(DiskError, match=r"^0c\.00\.3: no power$"):
            attempt()
    with pytest.raises(DiskLocked):
        locking.read_block(3)


def test_a_locked_disk_refuses_reads_and_writes_until_it_is_authenticated(locking: Disk) -> None:
    assert locking.read_block(3) == PLAIN  # it has not lost power yet
    disk = power_cycled(locking)
    assert (disk.locking, disk.locked, disk.key_id) == (True, True, KEY_ID)
    before = disk.path.read_bytes()
    with pytest.raises(DiskLocked, match=r"^0c\.00\.3: locked$"):
        disk.read_block(3)
    with pytest.raises(DiskLocked):
        disk.write_block(3, PLAIN)
    assert disk.path.read_bytes() == before
    disk.authenticate(KEY)
    assert not disk.locked
    assert disk.read_block(3) == PLAIN


def test_rekey_leaves_the_data_key_and_the_data(disk: Disk) -> None:
    before = disk._data_key
    ciphertext = disk.path.read_bytes()[DATA_OFFSET:]
    disk.rekey(MSID, KEY_ID, KEY)
    disk.lock(KEY)
    rekey(disk)
    assert (disk.key_id, disk.locking) == (NEW_KEY_ID, True)
    disk = power_cycled(disk)
    disk.authenticate(NEW_KEY)
    assert disk._data_key == before
    assert disk.read_block(3) == PLAIN
    assert disk.path.read_bytes()[DATA_OFFSET:] == ciphertext


def test_after_rekey_the_old_key_no_longer_authenticates(locking: Disk) -> None:
    with pytest.raises(AuthenticationFailed):
        locking.authenticate(MSID)
    rekey(locking)
    for old in (KEY, MSID):
        with pytest.raises(AuthenticationFailed, match=r"^0c\.00\.3: authentication failed$"):
            locking.authenticate(old)
    assert locking.failures == 2
    assert power_cycled(locking).locked


def test_a_key_under_another_key_id_is_another_key(locking: Disk) -> None:
    locking.rekey(KEY, NEW_KEY_ID, KEY)
    put_header(
        locking,
        replace(
            head_of(locking).header, state=replace(head_of(locking).header.state, key_id=KEY_ID)
        ),
    )
    with pytest.raises(AuthenticationFailed):
        power_cycled(locking).authenticate(KEY)


def test_without_locking_a_rekeyed_disk_opens_by_itself_but_has_its_key(keyed: Disk) -> None:
    disk = power_cycled(keyed)
    assert disk.read_block(3) == PLAIN
    with pytest.raises(AuthenticationFailed):
        disk.authenticate(MSID)
    with pytest.raises(AuthenticationFailed):
        disk.rekey(MSID, NEW_KEY_ID, NEW_KEY)
    disk.authenticate(KEY)


def test_after_lock_the_msid_opens_nothing(locking: Disk) -> None:
    disk = power_cycled(locking)
    with pytest.raises(AuthenticationFailed):
        disk.authenticate(MSID)
    with pytest.raises(DiskLocked):
        disk.read_block(3)
    assert head_of(disk).header.open_wrap == b""


def test_rekey_to_the_msid_ends_locking(locking: Disk) -> None:
    rekey_to_msid(locking)
    disk = power_cycled(locking)
    assert (disk.key_id, disk.locking, disk.locked) == ("0x0", False, False)
    assert disk.read_block(3) == PLAIN
    disk.rekey(MSID, KEY_ID, KEY)


@pytest.mark.parametrize(("key_id", "key"), [("0x0", KEY), (KEY_ID, MSID)])
def test_the_msid_and_its_key_id_belong_together(disk: Disk, key_id: str, key: DiskKey) -> None:
    with pytest.raises(ValueError, match="MSID"):
        disk.rekey(MSID, key_id, key)
    assert disk.failures == 0


def test_lock_refuses_the_factory_key(disk: Disk) -> None:
    for key in (MSID, KEY):
        with pytest.raises(DiskError, match="key ID 0x0 cannot be locked"):
            disk.lock(key)
    assert (disk.locking, disk.failures) == (False, 0)


def test_lock_needs_the_current_key(keyed: Disk) -> None:
    for wrong in (NEW_KEY, MSID):
        with pytest.raises(AuthenticationFailed):
            keyed.lock(wrong)
    assert (keyed.locking, keyed.failures) == (False, 2)


def test_locking_again_tries_nothing(locking: Disk) -> None:
    before = head_of(locking).header
    locking.lock(NEW_KEY)
    assert (head_of(locking).header, locking.failures) == (before, 0)


def test_a_failed_rekey_leaves_the_disk_as_it_is_but_for_the_count(locking: Disk) -> None:
    before = head_of(locking).header
    with pytest.raises(AuthenticationFailed):
        locking.rekey(NEW_KEY, NEW_KEY_ID, NEW_KEY)
    assert head_of(locking).header == before
    assert power_cycled(locking).failures == 1


# no older wraps


PAIRS = (KeyPair(KEY_ID, "tag", KEY), KeyPair(NEW_KEY_ID, "tag", NEW_KEY))


@pytest.mark.parametrize(
    "operation", [lock, rekey, rekey_to_msid, Disk.sanitize, Disk.destroy], ids=lambda o: o.__name__
)
def test_no_older_wrap_is_left_anywhere(keyed: Disk, operation: Operation) -> None:
    before = keyed.path.read_bytes()
    assert [found.key_id for found in search(before, *PAIRS)] == [KEY_ID, "0x0"]
    operation(keyed)
    raw = keyed.path.read_bytes()
    assert not [wrap for wrap in wraps(before) if wrap in raw]
    found = search(raw, *PAIRS)
    assert {raw[offset : offset + WRAP_SIZE] for offset, _, _ in found} == wraps(raw)


@pytest.mark.parametrize("offset", [4097, 8100, 9001, DATA_OFFSET - WRAP_SIZE])
def test_an_older_wrap_is_found_wherever_it_is_left(keyed: Disk, offset: int) -> None:
    older = head_of(keyed).header
    rekey(keyed)
    raw = bytearray(keyed.path.read_bytes())
    for wrap, key_id in ((older.wrap, KEY_ID), (older.open_wrap, "0x0")):
        raw[offset : offset + WRAP_SIZE] = wrap
        assert (offset, key_id, 1) in search(bytes(raw), *PAIRS)


# the count of failures


class FailingStorage(Storage):
    """Raises ``fault`` at ``times`` changes from ``at`` on, after ``part`` of each has arrived."""

    def __init__(self, at: int, part: float, fault: BaseException, times: int = 1) -> None:
        self.changes = 0
        self._refused = range(at, at + times)
        self._part = part
        self._fault = fault

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        self.changes += 1
        if self.changes in self._refused:
            super().overwrite(path, offset, data[: int(len(data) * self._part)], inode)
            raise self._fault
        super().overwrite(path, offset, data, inode)


def test_a_failure_is_on_the_disk_before_the_try(locking: Disk) -> None:
    for key in (KEY, NEW_KEY):
        before = power_cycled(locking).failures
        disk = another(locking, FailingStorage(1, 1.0, PowerLoss()))
        disk.power_on()
        with pytest.raises(PowerLoss):
            disk.authenticate(key)
        assert disk.locked
        assert power_cycled(disk).failures == before + 1


@pytest.mark.parametrize("part", [0.0, 0.004, 0.12])
def test_a_torn_count_is_the_count_before(locking: Disk, part: float) -> None:
    for count in range(3):
        assert power_cycled(locking).failures == count
        disk = another(locking, FailingStorage(1, part, PowerLoss()))
        disk.power_on()
        wrong = AuthenticationKey(b"wrong %d" % count)
        with pytest.raises(PowerLoss):
            disk.authenticate(wrong)
        assert power_cycled(locking).failures == count
        with pytest.raises(AuthenticationFailed):
            power_cycled(locking).authenticate(wrong)


def test_no_try_without_a_count(locking: Disk) -> None:
    for at in (1, 2):  # neither copy of the record can be written
        disk = another(locking, FailingStorage(at, 0.0, StorageError("cannot write"), times=2))
        disk.power_on()
        with pytest.raises(StorageError):
            disk.authenticate(KEY)
        assert disk.locked
    disk.authenticate(KEY)
    assert power_cycled(disk).failures == 0


def test_success_takes_the_count_back(locking: Disk) -> None:
    disk = power_cycled(locking)
    for _ in range(3):
        with pytest.raises(AuthenticationFailed):
            disk.authenticate(MSID)
    disk = power_cycled(locking)
    assert disk.failures == 3
    disk.authenticate(KEY)
    assert disk.failures == 0
    assert power_cycled(disk).failures == 0


def test_the_limit_locks_out_for_good(locking: Disk) -> None:
    set_failures(locking.path, LOCKOUT_LIMIT - 24)
    locking.power_on()
    for _ in range(24):
        assert not locking.locked_out
        with pytest.raises(AuthenticationFailed):
            locking.authenticate(MSID)
    disk = power_cycled(locking)
    assert (disk.failures, disk.locked_out, disk.locked) == (1024, True, True)
    before = disk.path.read_bytes()
    for operation in (authenticate, rekey, lock):
        with pytest.raises(LockedOut, match=r"^0c\.00\.3: locked out after 1024 failures in a row"):
            operation(disk)
    assert disk.path.read_bytes() == before


def test_the_last_try_may_succeed_and_sanitizing_ends_a_lockout(locking: Disk) -> None:
    set_failures(locking.path, LOCKOUT_LIMIT - 1)
    disk = power_cycled(locking)
    disk.authenticate(KEY)
    assert disk.failures == 0
    set_failures(locking.path, LOCKOUT_LIMIT)
    disk = power_cycled(locking)
    disk.sanitize()
    for new in (disk, power_cycled(disk)):
        assert (new.failures, new.locked_out, new.locked, new.key_id) == (0, False, False, "0x0")
    disk.rekey(MSID, KEY_ID, KEY)


# sanitize, destroy


def test_sanitize_makes_a_disk_as_new(locking: Disk) -> None:
    before, serial, msid = locking._data_key, locking.serial, locking.msid
    locking.power_on()
    assert locking.locked
    locking.sanitize()
    for disk in (locking, power_cycled(locking)):
        assert (disk.key_id, disk.locking, disk.locked) == ("0x0", False, False)
        assert (disk.serial, disk.msid, disk.blocks) == (serial, msid, 16)
        assert disk._data_key != before
        assert disk.read_block(3) != PLAIN
    locking.write_block(3, PLAIN)
    assert power_cycled(locking).read_block(3) == PLAIN


def test_a_destroyed_disk_refuses_every_operation(locking: Disk) -> None:
    locking.destroy()
    for again in (False, True):
        disk = power_cycled(locking) if again else locking
        assert (disk.destroyed, disk.locked) == (True, True)
        with pytest.raises(DiskLocked):
            disk.read_block(3)
        for operation in (authenticate, rekey, lock, Disk.sanitize, Disk.destroy):
            with pytest.raises(Destroyed, match=r"^0c\.00\.3: is destroyed$"):
                operation(disk)
    assert disk.failures == 0
    header = head_of(locking).header
    assert (header.wrap, header.open_wrap) == (b"", b"")


# crashes


@pytest.mark.parametrize("part", [0.0, 0.03, 0.5, 1.0])
@pytest.mark.parametrize(
    "operation", [lock, rekey, rekey_to_msid, Disk.sanitize, Disk.destroy], ids=lambda o: o.__name__
)
def test_a_crash_at_any_change_leaves_the_old_disk_or_the_new(
    keyed: Disk, operation: Operation, part: float
) -> None:
    before = keyed.path.read_bytes()
    old = head_of(keyed).header.state
    operation(keyed)
    new = head_of(keyed).header.state
    at = 0
    while True:
        at += 1
        keyed.path.write_bytes(before)
        disk = another(keyed, FailingStorage(at, part, PowerLoss()))
        disk.power_on()
        try:
            operation(disk)
        except PowerLoss:
            pass
        else:
            break
        disk = power_cycled(keyed)
        assert disk._state in {old, new}
        check_the_file_is_clean(disk)
        check_it_opens(disk, KEY if disk._state == old else MSID)
        if not disk.destroyed and disk._state.life == old.life:
            assert disk.read_block(3) == PLAIN
    assert at >= 3
    assert head_of(keyed).header.state == new


def check_the_file_is_clean(disk: Disk) -> None:
    head = head_of(disk)
    assert not head.unclean
    raw = disk.path.read_bytes()
    assert raw.count(b"FILERSED") == 1
    assert not any(raw[SLOT_OFFSETS[1 - head.slot] :][:SLOT_SIZE])


def check_it_opens(disk: Disk, key: DiskKey) -> None:
    if disk.destroyed:
        with pytest.raises(Destroyed):
            disk.authenticate(key)
    else:
        keys: dict[str, DiskKey] = {"0x0": MSID, KEY_ID: KEY, NEW_KEY_ID: NEW_KEY}
        disk.authenticate(keys[disk.key_id])
        assert disk.failures == 0


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("operation", [lock, rekey], ids=lambda o: o.__name__)
def test_a_refused_change_can_be_made_again(
    keyed: Disk, operation: Operation, at: int, times: int, part: float
) -> None:
    old = head_of(keyed).header
    disk = another(keyed, FailingStorage(at, part, StorageError("cannot write"), times))
    disk.power_on()
    if at in (1, 4) and times == 1:  # the other copy of the record is written
        operation(disk)
    else:
        with pytest.raises(StorageError):
            operation(disk)
        with suppress(StorageError):  # refused once more
            disk.refresh()
        disk.refresh()
    if disk._state == old.state:
        operation(disk)
    assert old.wrap not in disk.path.read_bytes()
    assert old.open_wrap not in disk.path.read_bytes()
    check_the_file_is_clean(disk)
    check_it_opens(power_cycled(disk), MSID)
    assert disk.read_block(3) == PLAIN


def test_a_refused_sanitize_never_mixes_data_keys(keyed: Disk) -> None:
    for at, times in ((2, 1), (2, 2), (3, 1)):
        storage = FailingStorage(at, 1.0, StorageError("cannot write"), times)
        disk = another(keyed, storage)
        disk.power_on()
        with pytest.raises(StorageError):
            disk.sanitize()
        if (at, times) == (2, 2):  # which data key the medium has is not known
            with pytest.raises(DiskLocked):
                disk.write_block(5, PLAIN)
            disk.sanitize()
        disk.write_block(5, PLAIN)
        assert power_cycled(disk).read_block(5) == PLAIN


def test_a_read_only_file_is_refused_without_a_change(keyed: Disk) -> None:
    before = keyed.path.read_bytes()
    disk = another(keyed, FailingStorage(1, 0.0, StorageError("cannot write"), times=99))
    disk.power_on()
    with pytest.raises(StorageError):
        rekey(disk)
    assert keyed.path.read_bytes() == before


# edited files


def reseal(disk: Disk, state: State) -> None:
    put_header(disk, replace(head_of(disk).header, state=state))


EDITS: list[dict[str, object]] = [
    {"serial": "B" * 16},
    {"msid": "!" * 32},
    {"key_id": NEW_KEY_ID},
    {"life": 2},
    {"data_size": SIZE - BLOCK_SIZE},
    {"scrypt": Scrypt(STANDARD.n, STANDARD.r, 2)},
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: next(iter(edit)))
def test_an_edited_field_is_noticed(keyed: Disk, edit: dict[str, object]) -> None:
    state = keyed._state
    reseal(keyed, replace(state, **edit))  # type: ignore[arg-type]
    with pytest.raises(DiskError, match=r"^0c\.00\.3: damaged header: edited$"):
        power_cycled(keyed)
    reseal(keyed, state)
    disk = power_cycled(keyed)
    disk.lock(KEY)
    reseal(disk, replace(disk._state, **edit))  # type: ignore[arg-type]
    with pytest.raises(AuthenticationFailed):
        power_cycled(disk).authenticate(KEY)


def test_an_edited_locking_flag_is_noticed(keyed: Disk) -> None:
    header = head_of(keyed).header
    locking = replace(header.state, locking=True)
    put_header(keyed, replace(header, state=locking, open_wrap=b""))
    disk = power_cycled(keyed)
    with pytest.raises(AuthenticationFailed):
        disk.authenticate(KEY)
    put_header(disk, header)
    disk = power_cycled(disk)
    disk.lock(KEY)
    locked = head_of(disk).header
    open_state = replace(locked.state, locking=False)
    for forged in (locked.wrap, os.urandom(WRAP_SIZE)):
        put_header(disk, Header(open_state, locked.wrap, forged))
        with pytest.raises(DiskError, match="edited"):
            power_cycled(disk)


@pytest.mark.parametrize("offset", [0, 20, 100, 200, 300, 2000, SLOT_SIZE - 1])
def test_an_edit_without_the_checksum_is_noticed_and_nothing_overwritten(
    keyed: Disk, offset: int
) -> None:
    raw = bytearray(keyed.path.read_bytes())
    raw[SLOT_OFFSETS[head_of(keyed).slot] + offset] ^= 1
    keyed.path.write_bytes(raw)
    with pytest.raises(DiskError, match=r"^0c\.00\.3: damaged header: "):
        power_cycled(keyed)
    assert keyed.path.read_bytes() == raw


@pytest.mark.parametrize("content", [b"", b"short", bytes(DATA_OFFSET + SIZE), b"x" * 30000])
def test_a_file_that_is_no_disk_is_named(keyed: Disk, content: bytes) -> None:
    keyed.path.write_bytes(content)
    with pytest.raises(DiskError, match=r"^0c\.00\.3: damaged"):
        power_cycled(keyed)
    assert keyed.path.read_bytes() == content


def test_a_truncated_file_is_noticed(keyed: Disk) -> None:
    os.truncate(keyed.path, DATA_OFFSET + SIZE - 1)
    with pytest.raises(DiskError, match="too short"):
        power_cycled(keyed)


def test_a_pulled_disk_and_a_named_pipe_are_no_traceback_and_no_hang(keyed: Disk) -> None:
    keyed.path.unlink()
    for attempt in (lambda: keyed.read_block(3), lambda: keyed.authenticate(KEY), keyed.power_on):
        with pytest.raises(DiskError, match=r"^0c\.00\.3: cannot be read: No such file"):
            attempt()
    os.mkfifo(keyed.path)
    with pytest.raises(DiskError, match=r"^0c\.00\.3: cannot be read: "):
        power_cycled(keyed)


def test_a_disk_that_was_swapped_for_another_is_left_alone(
    tmp_path: Path, locking: Disk, derivation: Derivation
) -> None:
    other = Disk.create("x", tmp_path / "x", Storage(), derivation, size=SIZE)
    other.path.replace(locking.path)
    before = locking.path.read_bytes()
    for operation in (rekey, lock, Disk.sanitize, Disk.destroy):
        with pytest.raises(DiskError, match="not the disk that was here at power-on"):
            operation(locking)
    assert locking.path.read_bytes() == before


def test_creating_never_replaces_a_file(tmp_path: Path, derivation: Derivation) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        Disk.create("disk", path, Storage(), derivation, size=SIZE)
    assert path.read_bytes() == b"mine"


# derivation


def test_a_key_is_stretched_once_until_the_power_goes() -> None:
    derivation = Derivation()
    first = derivation.stretch(KEY_ID, KEY)
    assert derivation.stretch(KEY_ID, AuthenticationKey(KEY.reveal())) is first
    assert derivation.stretch(KEY_ID, NEW_KEY) is not first
    derivation.clear()
    fresh = derivation.stretch(KEY_ID, KEY)
    assert fresh is not first
    assert fresh.wrapping_key(b"x") == first.wrapping_key(b"x")


def test_wrapping_keys_differ_by_key_id_key_and_info(derivation: Derivation) -> None:
    first, second = derivation.stretch(KEY_ID, KEY), derivation.stretch(NEW_KEY_ID, KEY)
    wrong = derivation.stretch(KEY_ID, NEW_KEY)
    keys = {key.wrapping_key(info) for key in (first, second, wrong) for info in (b"1", b"2")}
    assert len(keys) == 6


def test_no_secret_is_shown(locking: Disk) -> None:
    texts = [repr(locking), str(locking), repr(locking._derivation.stretch(KEY_ID, KEY))]
    assert texts == ["<disk 0c.00.3>", "<disk 0c.00.3>", "<stretched key>"]
    assert KEY.reveal().decode() not in repr(vars(locking._derivation))


def test_without_the_memory_for_scrypt_a_disk_says_so(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from filer.keys.authentication_key import MSID, AuthenticationKey
from filer.disks.derivation import Derivation
from filer.disks.disk import Disk
from filer.host.durable import Storage
from filer.host.errors import FilerError
disk = Disk.create("0c.00.3", Path(sys.argv[1]), Storage(), Derivation(), size=1 << 20)
disk.power_on()
import hashlib
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), resource.RLIM_INFINITY))
try:
    disk.rekey(MSID, "A" * 64, AuthenticationKey(b"a key"))
except FilerError as problem:
    print(problem, disk.key_id)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "disk"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert run.stdout == "not enough memory: scrypt needs 32 MiB 0x0\n"
