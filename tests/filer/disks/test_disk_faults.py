"""Faults of drives, as a filer that is powered on later meets them."""

from pathlib import Path

import pytest

from filer.disks import faults
from filer.disks.derivation import Derivation
from filer.disks.disk import (
    BLOCK_SIZE,
    LOCKOUT_LIMIT,
    AuthenticationFailed,
    Disk,
    DiskError,
    LockedOut,
)
from filer.disks.record import Owner
from filer.disks.shelf import Shelf
from filer.host.durable import Storage
from filer.keys.authentication_key import MSID
from tests.kit.disk_files import KEY, KEY_ID, head_of, set_failures

OWNER = Owner(7, "filer7")


def disk_in(directory: Path, derivation: Derivation) -> Disk:
    """Create a locked disk of the system 7 and power it off."""
    path = directory / "0c.00.0.sed"
    disk = Disk.create("0c.00.0", path, Storage(), derivation, bytes, size=4 * BLOCK_SIZE)
    disk.power_on()
    disk.assign(OWNER)
    disk.rekey(MSID, KEY_ID, KEY)
    disk.lock(KEY)
    disk.power_off()
    return disk


def test_a_locked_out_disk_is_as_after_that_many_failed_authentications(
    tmp_path: Path, derivation: Derivation
) -> None:
    (tmp_path / "worn").mkdir()
    disk, worn = disk_in(tmp_path, derivation), disk_in(tmp_path / "worn", derivation)
    set_failures(worn.path, LOCKOUT_LIMIT - 1)
    worn.power_on()
    with pytest.raises(AuthenticationFailed):
        worn.authenticate(MSID)

    faults.lock_out(disk.path, Storage())

    head = head_of(disk.path)
    assert head.failures == head_of(worn.path).failures == LOCKOUT_LIMIT
    assert (head.record.owner, head.record.unfinished, head.older) == (OWNER, False, False)
    disk.power_on()
    with pytest.raises(LockedOut):
        disk.authenticate(KEY)
    disk.sanitize()
    assert (disk.locked_out, disk.locked, disk.key_id, disk.owner) == (False, False, "0x0", OWNER)


def test_a_failed_disk_is_left_out_at_power_on(tmp_path: Path, derivation: Derivation) -> None:
    disk = disk_in(tmp_path, derivation)

    faults.fail(disk.path, Storage())

    with pytest.raises(DiskError, match=r"0c\.00\.0: damaged header: empty"):
        disk.power_on()
    shelf = Shelf(tmp_path, tmp_path / "shelf.toml", Storage(), derivation)
    shelf.load()
    shelf.power_on()
    assert (list(shelf), shelf.warnings) == ([], ["0c.00.0: damaged header: empty; left out"])


def test_a_disk_that_fails_while_it_is_in_use_gets_no_new_header(
    tmp_path: Path, derivation: Derivation
) -> None:
    disk = disk_in(tmp_path, derivation)
    disk.power_on()
    disk.authenticate(KEY)

    faults.fail(disk.path, Storage())

    for change in (disk.sanitize, disk.destroy, lambda: disk.rekey(KEY, "0x0", MSID)):
        with pytest.raises(DiskError, match="damaged header: empty"):
            change()
    with pytest.raises(DiskError, match="damaged header: empty"):
        head_of(disk.path)
