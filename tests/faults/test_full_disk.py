"""The installed program on a host that refuses to write: full, read-only, not permitted."""

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from filer.keyserver.server import KeyServer
from filer.registration.pem import ca_name
from tests.kit.console import DISKS, PROGRAM, Account, Outcome, beside, files_below, prepare
from tests.kit.house import House
from tests.kit.manual import completed

# 4 KiB per file (in blocks of 512 bytes). Python ignores the signal of this limit. It would keep
# truncated bytecode of a module that it compiles.
LIMITED = (
    "sh",
    "-c",
    'export PYTHONDONTWRITEBYTECODE=1; ulimit -f 8; exec "$0" "$@"',
    PROGRAM,
)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 16 MiB."""
    directory = tmp_path / "volume"
    directory.mkdir()
    if not _mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", directory):
        pytest.skip("mounting a file system is not permitted here")
    yield directory
    subprocess.run(["umount", directory], check=True)


def _mount(*arguments: str | Path) -> bool:
    if not shutil.which("mount"):
        return False
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def full(volume: Path) -> Iterator[None]:
    """Fill the volume to the last byte."""
    ballast = volume / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    yield
    ballast.unlink()


def seal(account: Account, server: KeyServer) -> None:
    register = f"key_manager add -key_server {server.address}"
    prepare(account, [server], (register,), ("key_manager rekey",), ("disk encrypt lock *",))


def contents(directory: Path) -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for path in files_below(directory)}


def comes_up(account: Account, server: KeyServer) -> None:
    """Check that nothing is lost, and that there are no leftovers."""
    with House(account.root, [server]) as house:
        assert house.boot().warnings == []
        house.good("key_manager restore -all")
        assert completed("rekey", DISKS) in house.good("key_manager rekey")
    assert len(list((account.root / "var").glob("kmip.*"))) <= 1
    assert not list(account.root.rglob(".new-*"))


def refusals(outcome: Outcome, reason: str) -> Sequence[str]:
    """Return the failures, one per line, which must all be for ``reason``."""
    lines = outcome.err.splitlines()
    for line in lines:
        assert re.fullmatch(rf"(\w+: )?cannot write [\w.]+: {reason}", line), line
    return lines


def test_a_full_file_system_refuses_each_command_in_a_line(volume: Path, server: KeyServer) -> None:
    account = beside([server], volume / "home")
    seal(account, server)
    with full(volume):
        refused = account.commands(
            f"keymgr install cert '{server.directory}/client.pem'",
            f"key_manager add -key_server {server.address}",
            f"keymgr install cert '{server.directory}/{ca_name(server.address)}'",
        )
    assert refused.status == 1
    assert len(refusals(refused, os.strerror(errno.ENOSPC))) == 3
    comes_up(account, server)


def test_a_first_start_on_a_full_file_system_is_refused_in_a_line(
    volume: Path, server: KeyServer
) -> None:
    account = beside([server], volume / "home")
    with full(volume):
        refused = account.commands("version")
    assert (refused.out, refused.status) == ("", 2)
    assert re.fullmatch(
        rf"filer: cannot (write|use) .*: {os.strerror(errno.ENOSPC)}\n", refused.err
    )
    seal(account, server)
    comes_up(account, server)


def test_autoboot_waits_ever_longer_where_panics_cannot_be_counted(
    volume: Path, server: KeyServer
) -> None:
    account = beside([server], volume / "home")
    seal(account, server)
    server.stop()
    account.settings.write_text(f"{account.settings.read_text()}[boot]\nautoboot = true\n")
    with full(volume), account.terminal() as terminal:
        for seconds in (1, 2, 4):
            terminal.shows(f"autoboot: the next boot begins in {seconds} s.")
            terminal.shows("Starting AUTOBOOT press Ctrl-C to abort...")
        terminal.type("\x03")
        terminal.wait_for_prompt()
        assert terminal.prompt == "LOADER>"
    server.start()
    comes_up(account, server)


def test_a_read_only_file_system_is_refused_in_a_line_and_left_alone(
    volume: Path, server: KeyServer
) -> None:
    account = beside([server], volume / "home")
    seal(account, server)
    before = contents(account.root)
    assert _mount("-o", "remount,ro", volume)
    refused = account.commands("version")
    assert _mount("-o", "remount,rw", volume)
    reason = os.strerror(errno.EROFS)
    assert refused == ("", f"filer: cannot use {account.root}: {reason}\n", 2)
    assert contents(account.root) == before
    comes_up(account, server)


def test_a_first_start_where_files_may_not_grow_is_refused_in_a_line(
    server: KeyServer, tmp_path: Path
) -> None:
    account = beside([server], tmp_path / "home")
    refused = account.run("-c", "version", program=LIMITED)
    reason = os.strerror(errno.EFBIG)
    assert refused == ("", f"filer: cannot write 0c.00.0.sed: {reason}\n", 2)
    assert list((account.root / "shelf").iterdir()) == []
    seal(account, server)
    comes_up(account, server)


def test_disks_that_cannot_be_written_to_fail_one_by_one_and_stay_as_they_are(
    server: KeyServer, tmp_path: Path
) -> None:
    account = beside([server], tmp_path / "home")
    register = f"key_manager add -key_server {server.address}"
    assert account.commands(register).status == 0
    before = contents(account.root / "shelf")
    refused = account.run("-c", "key_manager rekey", program=LIMITED)
    assert refused.status == 1
    assert f"Completed rekey on {DISKS} disks: 0 successes, {DISKS} failures" in refused.out
    assert len(refusals(refused, os.strerror(errno.EFBIG))) == DISKS
    assert contents(account.root / "shelf") == before
    comes_up(account, server)


def test_disks_that_may_not_be_written_to_stay_locked_and_count_nothing(
    server: KeyServer, tmp_path: Path
) -> None:
    program: Sequence[str] = (PROGRAM,)
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root is permitted everything, and there is no setpriv to change that")
        program = ("setpriv", "--bounding-set=-dac_override", "--", PROGRAM)
    account = beside([server], tmp_path / "home")
    seal(account, server)
    disks = list((account.root / "shelf").iterdir())
    before = contents(account.root / "shelf")
    for disk in disks:
        disk.chmod(0o400)
    refused = account.run("-c", "version", program=program)
    assert refused.status == 3
    assert f"cannot write {disks[0].name}: {os.strerror(errno.EACCES)}" in refused.err
    assert "PANIC: raid: root aggregate aggr0 cannot be brought online" in refused.err
    assert "Traceback" not in refused.err
    for disk in disks:
        disk.chmod(0o600)
    assert contents(account.root / "shelf") == before
    comes_up(account, server)
