"""The root directory: which directories are accepted, the lock, and the checks at start."""

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from filer.host.durable import Storage, StorageError
from filer.host.errors import FilerError
from filer.root import Root, RootInUse
from tests.kit.console import PATIENCE, SMALL_SHELF, Account
from tests.kit.faulty import NotedStorage
from tests.kit.house import House

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
ANOTHER_USER = 65534


def snapshot(directory: Path) -> dict[str, object]:
    """Return every visible property of ``directory`` and its content."""

    def seen(path: Path) -> object:
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        return status.st_mode, status.st_uid, status.st_ino, status.st_mtime_ns, content

    paths = [directory, *directory.rglob("*")]
    return {str(path.relative_to(directory)): seen(path) for path in paths}


def start(root: Path, storage: Storage | None = None) -> list[str]:
    """Power a filer on and off, and return the serial numbers of its disks."""
    with House(root, storage=storage) as house:
        house.power_cycle()
        return [disk.serial for disk in house.disks]


def refusal(root: Path) -> str:
    """Return the reason why a start is refused; it must change nothing."""
    before = snapshot(root)
    with pytest.raises(FilerError) as refused:
        start(root)
    assert snapshot(root) == before
    text = str(refused.value)
    assert text.isprintable()
    return text


def new_root(path: Path, settings: str = SMALL_SHELF) -> Path:
    """Create the directory of a filer that was never started."""
    path.mkdir(mode=0o700)
    (path / "filer.toml").write_text(settings)
    return path


def version_0_1(path: Path) -> Path:
    """Create a root as version 0.1 left it: without a marker, and with another lock file."""
    start(new_root(path))
    (path / ".filer").unlink()
    (path / "power").rename(path / "lock")
    return path


def marker(root: Path) -> str:
    return (root / ".filer").read_text()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Accepted directories.


@pytest.mark.parametrize("name", ["var", "ssh", "lock", "power", "shelf", "mroot", "kmip"])
@pytest.mark.parametrize("more", [(), ("usr",), (".git", "src")])
def test_a_directory_of_another_use_is_left_as_it_is(
    tmp_path: Path, name: str, more: tuple[str, ...]
) -> None:
    for each in (name, *more):
        directory = tmp_path / "used" / each
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        (directory / "precious").write_text("mine")

    assert refusal(tmp_path / "used") == (
        f"cannot use {tmp_path}/used: it is not empty (it has {min([name, *more])}), "
        "and not the root of a filer"
    )


@pytest.mark.parametrize(
    "name", ["precious", ".bashrc", "filer.toml~", ".new-file", "lock", "\udcff\udcfe", "a\x1b[31m"]
)
@pytest.mark.parametrize("settings", [True, False])
def test_a_directory_with_any_other_file_is_left_as_it_is(
    tmp_path: Path, name: str, settings: bool
) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / name).write_text("mine")
    (used / ".new-0123456789abcdef").mkdir()  # not one of our files
    if settings:
        (used / "filer.toml").write_text(SMALL_SHELF)

    assert "it is not empty" in refusal(used)


def with_password_file(root: Path, name: str, named: str) -> Path:
    """Create a new root with a password file called ``name``; filer.toml calls it ``named``."""
    new_root(root, f'{SMALL_SHELF}[kmip]\nuser = "u"\npassword_file = "{named}"\n')
    file = root / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("pw\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("name", "named"),
    [("pw", "pw"), ("pw", "./pw"), ("secret/pw", "secret/pw"), ("pw", "{root}/pw")],
)
def test_a_new_root_may_have_the_password_file_that_its_filer_toml_names(
    tmp_path: Path, name: str, named: str
) -> None:
    root = tmp_path / "root"
    file = with_password_file(root, name, named.format(root=root))

    assert len(start(root)) == 4
    assert file.read_text() == "pw\n"


@pytest.mark.parametrize(
    ("name", "named", "other"),
    [("pw", "p", "pw"), ("secret/pw", "secret", "secret"), ("secret/pw", "secret/pw", "secret/a")],
)
def test_a_new_root_with_another_file_than_its_password_file_is_left_as_it_is(
    tmp_path: Path, name: str, named: str, other: str
) -> None:
    root = tmp_path / "root"
    with_password_file(root, name, named)
    if not (root / other).exists():
        (root / other).write_text("mine")

    assert f"it is not empty (it has {other})" in refusal(root)


@pytest.mark.parametrize("missing", ["lock", "filer.toml", "mroot", "var", "shelf"])
def test_a_part_of_a_root_of_version_0_1_is_left_as_it_is(tmp_path: Path, missing: str) -> None:
    root = version_0_1(tmp_path / "root")
    gone = root / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()

    assert "not the root of a filer" in refusal(root)


def test_a_complete_root_of_version_0_1_gets_the_marker(tmp_path: Path) -> None:
    root = version_0_1(tmp_path / "root")
    before = {path.name: path.read_bytes() for path in (root / "shelf").iterdir()}

    start(root)

    assert "populated = true" in marker(root)
    assert {path.name: path.read_bytes() for path in (root / "shelf").iterdir()} == before


def test_a_damaged_filer_toml_without_marker_is_named_and_nothing_is_changed(
    tmp_path: Path,
) -> None:
    assert refusal(new_root(tmp_path / "new", "[system]\nhostname = oops\n")).startswith(
        "filer.toml:2: "
    )
    old = version_0_1(tmp_path / "old")
    (old / "filer.toml").write_text("\n[shelf]\ndisk = 3\n")
    assert refusal(old).startswith("filer.toml:3: ")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", r".filer:1: format must be the version"),
        ("format = 1\n", ".filer:1: populated must be true or false"),
        ("\nformat = true\n", ".filer:2: format must be"),
        ("format = 2\npopulated = true\n", ".filer:1: format 2 needs a newer version of filer"),
        ("format = \n", ".filer:1: "),
        ("format = 1\npopulated = 1\n", ".filer:2: populated must be"),
    ],
)
def test_a_damaged_marker_is_named_with_its_line(tmp_path: Path, text: str, error: str) -> None:
    root = new_root(tmp_path / "root")
    start(root)
    (root / ".filer").write_text(text)

    assert refusal(root).startswith(error)


@pytest.mark.parametrize("place", ["missing", "missing parents", "empty", "settings", "cut short"])
def test_a_new_root_is_made_and_marked(tmp_path: Path, place: str) -> None:
    root = tmp_path / "a" / "b" if place == "missing parents" else tmp_path / "root"
    if place not in ("missing", "missing parents"):
        root.mkdir()
    if place == "settings":
        (root / "filer.toml").write_text(SMALL_SHELF)
    if place == "cut short":
        (root / ".new-0123456789abcdef").write_text("populated")

    assert len(start(root)) == (4 if place == "settings" else 12)

    assert "populated = true" in marker(root)
    assert list(root.rglob(".new-*")) == []


def test_only_directories_that_the_filer_makes_get_its_mode(tmp_path: Path) -> None:
    above, empty = tmp_path / "above", tmp_path / "empty"
    for directory in (above, empty):
        directory.mkdir()
        directory.chmod(0o755)

    for root in (above / "root", empty):
        start(root)
        (root / "shelf").chmod(0o755)
        start(root)

    assert (mode(above), mode(above / "root"), mode(empty)) == (0o755, 0o700, 0o755)
    assert mode(empty / "shelf") == 0o755
    assert {mode(empty / name) for name in ("var", "mroot")} == {0o700}


def test_a_link_of_the_user_to_a_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    serials = start(tmp_path / "link")

    assert start(tmp_path / "real") == serials
    assert (tmp_path / "link").is_symlink()
    with House(tmp_path / "link"), pytest.raises(RootInUse):
        start(tmp_path / "real")


@pytest.mark.parametrize("target", ["nowhere", "link", "file"])
def test_a_link_to_no_directory_is_no_root(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(target)

    with pytest.raises(FilerError, match=r"^cannot use .*: "):
        start(tmp_path / "link")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
    assert (tmp_path / "file").read_text() == "mine"


# Other users.


@pytest.mark.parametrize(
    "name",
    [
        *(".filer", "power", "service", "lock", "var", "var/shelf.toml", "var/panics.toml"),
        *("var/loader.toml", "var/clock.toml"),
        *("mroot", "mroot/etc", "mroot/etc/messages", "mroot/etc/registry"),
        *("mroot/etc/keymgr/cert", "shelf"),
        *("ssh", "ssh/host_key", "ssh/host_key_ecdsa", "ssh/host_key_rsa"),
        *("ssh/passwords.toml", "ssh/authorized_keys"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "directory", "nothing"])
def test_a_link_in_the_place_of_a_file_or_directory_is_refused(
    tmp_path: Path, name: str, kind: str
) -> None:
    root, target, path = tmp_path / "root", tmp_path / "target", tmp_path / "root" / name
    start(new_root(root))
    if path.is_dir():
        path.rename(target)
    elif kind == "file":
        target.write_text("precious")
    elif kind == "directory":
        target.mkdir(mode=0o755)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    before = snapshot(tmp_path)

    assert refusal(root) == f"cannot use {root}: {name} is a link"
    assert snapshot(tmp_path) == before


def test_a_link_in_the_place_of_a_disk_is_left_out_and_not_written(tmp_path: Path) -> None:
    root, elsewhere = new_root(tmp_path / "root"), tmp_path / "elsewhere.sed"
    start(root)
    disk = root / "shelf" / "0c.00.3.sed"
    disk.rename(elsewhere)
    disk.symlink_to(elsewhere)
    before = elsewhere.read_bytes()

    with House(root) as house:
        told = house.boot()
        assert [disk.name for disk in house.disks] == ["0c.00.0", "0c.00.1", "0c.00.2"]

    assert told.warnings == ["0c.00.3: a link, not a disk; left out"]
    assert elsewhere.read_bytes() == before


def test_filer_toml_may_be_a_link_for_only_the_user_writes_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "mine.toml").write_text(SMALL_SHELF)
    (root / "filer.toml").symlink_to(tmp_path / "mine.toml")

    assert len(start(root)) == 4
    assert (root / "filer.toml").is_symlink()


@as_root
@pytest.mark.parametrize("name", [".", ".filer", "power", "var", "var/shelf.toml", "shelf", "ssh"])
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, name: str) -> None:
    root = new_root(tmp_path / "root")
    start(root)
    (root / "ssh").mkdir(mode=0o700)
    os.chown(root / name, ANOTHER_USER, ANOTHER_USER)

    what = "it" if name == "." else name
    assert refusal(root) == f"cannot use {root}: {what} belongs to another user"


@as_root
def test_an_empty_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", ANOTHER_USER, ANOTHER_USER)

    assert refusal(tmp_path / "theirs").endswith("it belongs to another user")


@pytest.mark.parametrize("bits", [0o777, 0o1777, 0o770, 0o722])
@pytest.mark.parametrize("name", [".", "var", "shelf", "mroot/etc"])
def test_a_directory_that_others_can_change_is_refused(
    tmp_path: Path, name: str, bits: int
) -> None:
    root = new_root(tmp_path / "root")
    start(root)
    (root / name).chmod(bits)

    assert f"can be changed by other users (mode {bits:04o}; needs chmod go-w)" in refusal(root)


@contextmanager
def acting_as_another_user() -> Iterator[Path]:
    """Act as another user, in that user's directory below a sticky, world-writable one."""
    with tempfile.TemporaryDirectory() as name:
        above = Path(name)
        above.chmod(0o1777)
        theirs = above / "theirs"
        theirs.mkdir(mode=0o755)
        os.chown(theirs, ANOTHER_USER, ANOTHER_USER)
        os.seteuid(ANOTHER_USER)
        try:
            yield theirs
        finally:
            os.seteuid(0)


@as_root
def test_a_directory_of_our_own_below_a_sticky_one_is_taken() -> None:
    with acting_as_another_user() as theirs:
        start(theirs)
        start(theirs.parent / "new")
        assert mode(theirs.parent / "new") == 0o700


@as_root
@pytest.mark.parametrize("bits", [0o000, 0o200, 0o400, 0o500, 0o300])
def test_a_directory_without_permission_is_refused_and_left_as_it_is(bits: int) -> None:
    with acting_as_another_user() as theirs:
        theirs.chmod(bits)
        with pytest.raises(FilerError, match=r": Permission denied$"):
            start(theirs)
        os.seteuid(0)
        assert (mode(theirs), list(theirs.iterdir())) == (bits, [])


def test_the_root_of_the_host_and_a_home_in_use_are_refused(account: Account) -> None:
    (account.home / ".bashrc").write_text("")
    for root in (Path("/"), account.home):
        before = (mode(root), sorted(root.iterdir()))
        ended = account.run("--root", root, "-c", "hostname")

        assert (ended.out, ended.status) == ("", 2)
        assert ended.err.startswith(f"filer: cannot use {root}: it ")
        assert ended.err.count("\n") == 1
        assert (mode(root), sorted(root.iterdir())) == before


# Passwords.


def test_a_password_makes_a_root_that_a_filer_starts_in(account: Account) -> None:
    root = account.home / "new"
    arguments = ("--root", root, "--ssh-password", "root")

    assert account.run(*arguments, input="a-long-password\n").status == 0
    assert "populated = false" in marker(root)
    assert account.run("--root", root, "-c", "hostname").status == 0
    assert account.run(*arguments, input="another-password\n").status == 0
    assert "populated = true" in marker(root)


@pytest.mark.parametrize("name", ["ssh", "var", "precious"])
def test_a_password_is_not_put_into_a_directory_of_another_use(account: Account, name: str) -> None:
    used = account.home / "used"
    (used / name).mkdir(parents=True)
    before = snapshot(used)

    ended = account.run("--root", used, "--ssh-password", "root", input="a-long-password\n")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err.endswith("and not the root of a filer\n")
    assert snapshot(used) == before


# The lock.


@pytest.mark.parametrize("what", ["removed", "recreated", "replaced by that of 0.1"])
def test_no_second_filer_starts_even_without_the_lock_file(tmp_path: Path, what: str) -> None:
    root = new_root(tmp_path / "root")
    with House(root) as house:
        house.boot()
        (root / "power").unlink()
        if what == "recreated":
            (root / "power").touch()
        elif what == "replaced by that of 0.1":
            (root / "lock").touch()
        with pytest.raises(RootInUse):
            start(root)
        # The first one cannot change anything any more either.
        before = snapshot(root / "shelf")
        refused = house.run("disk encrypt sanitize 0c.00.3", "sanitize disk")
        assert refused.failures == [
            f"disk: {root}/power was removed or replaced while this filer runs; nothing was changed"
        ]
        assert snapshot(root / "shelf") == before
    start(root)


def test_a_filer_whose_root_was_replaced_changes_nothing_in_the_new_one(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    with House(root) as house:
        house.boot()
        root.rename(tmp_path / "moved")
        start(new_root(root))
        before = snapshot(root)
        for line in ("disk encrypt sanitize 0c.00.3", "key_manager add -key_server 127.0.0.9"):
            refused = house.run(line, "sanitize disk")
            assert "was removed or replaced while this filer runs" in refused.text
        with pytest.raises(FilerError, match="was removed or replaced"):
            house.power_cycle()
        assert snapshot(root) == before


def test_a_running_filer_of_version_0_1_is_respected(tmp_path: Path) -> None:
    root = version_0_1(tmp_path / "root")
    with (root / "lock").open("r+") as old:
        old.write(f"{os.getpid()}\n")
        old.flush()
        fcntl.flock(old, fcntl.LOCK_EX)
        assert refusal(root) == f"{root} is in use by process {os.getpid()}"
    start(root)


def test_a_filer_of_version_0_1_is_kept_out_of_its_root(tmp_path: Path) -> None:
    root = version_0_1(tmp_path / "root")
    with House(root), (root / "lock").open("r+") as old:
        assert old.read() == f"{os.getpid()}\n"
        with pytest.raises(BlockingIOError):
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_of_many_first_starts_at_once_one_has_the_root(account: Account) -> None:
    program = """
import sys
from pathlib import Path
from filer.boot.machine import Machine, power_off
from filer.root import RootInUse
from filer.running.interrupt import Interrupt
sys.stdin.readline()
try:
    machine = Machine(Path(sys.argv[1]), Interrupt())
except RootInUse:
    print("in use", flush=True)
else:
    filer = machine.power_on()
    print(*sorted(disk.serial for disk in filer.shelf), flush=True)
    sys.stdin.readline()
    power_off(filer)
    machine.unplug()
"""
    root = account.home / "new"
    starts = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for each in starts:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    told = [each.stdout.readline().strip() for each in starts if each.stdout]
    for each in starts:
        each.communicate("\n", timeout=PATIENCE)
        assert each.returncode == 0

    (serials,) = [text for text in told if text != "in use"]
    assert sorted(start(root)) == serials.split()


# Missing disks.

LOSSES = {
    "shelf": ["shelf"],
    "shelf and var": ["shelf", "var"],
    "all but the marker": ["shelf", "var", "mroot", "power", "service"],
    "filer.toml": ["filer.toml"],
    "disks and var": ["shelf/*", "var"],
}


def remove(root: Path, *patterns: str) -> None:
    for path in [path for pattern in patterns for path in root.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("lost", LOSSES)
@pytest.mark.parametrize("disks", [4, 6])
def test_lost_disks_are_never_replaced_by_new_ones(tmp_path: Path, lost: str, disks: int) -> None:
    root = new_root(tmp_path / "root")
    start(root)
    (root / "filer.toml").write_text(SMALL_SHELF.replace("disks = 4", f"disks = {disks}"))
    remove(root, *LOSSES[lost])

    said = refusal(root)

    assert said.startswith(f"cannot use {root}: it had disks, but ")
    assert said.endswith("; is its file system mounted?")


def test_lost_disks_are_one_line_and_status_2(account: Account) -> None:
    assert account.commands("hostname").status == 0
    shutil.rmtree(account.root / "shelf")

    ended = account.commands("hostname")

    assert (ended.out, ended.status) == ("", 2)
    assert ended.err == (
        f"filer: cannot use {account.root}: it had disks, but shelf is missing; "
        "is its file system mounted?\n"
    )
    assert not (account.root / "shelf").exists()


def test_disks_lost_while_the_filer_runs_are_not_replaced_by_a_reboot(tmp_path: Path) -> None:
    with House(new_root(tmp_path / "root")) as house:
        house.boot()
        shutil.rmtree(house.root / "shelf")
        with pytest.raises(FilerError, match="it had disks, but shelf is missing"):
            house.boot()


def test_an_empty_shelf_gets_no_more_disks(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    start(root)
    remove(root, "shelf/*")
    assert start(root) == []  # all disks were pulled
    (root / "filer.toml").write_text(SMALL_SHELF.replace("disks = 4", "disks = 6"))

    with pytest.raises(FilerError, match=r"^shelf had 4 disks and has none now; no new disk"):
        start(root)
    assert list((root / "shelf").iterdir()) == []


def test_a_boot_device_that_was_lost_brings_no_pulled_disk_back(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    serials = start(root)
    (root / "shelf" / "0c.00.3.sed").unlink()
    shutil.rmtree(root / "var")

    assert start(root) == serials[:3]
    assert start(root) == serials[:3]


# Interrupted starts.


def test_temporary_files_are_swept_from_every_directory_that_is_written(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    start(root)
    (root / "ssh").mkdir(mode=0o700)
    for directory in Root(root).directories:
        (directory / ".new-0123456789abcdef").write_text("PRIVATE KEY")
    # The complete list of the directories of a root.
    assert set(Root(root).directories) == {
        path for path in (root, *root.rglob("*")) if path.is_dir()
    }

    start(root)

    assert list(root.rglob(".new-*")) == []


def test_a_start_makes_durable_what_it_finds_before_it_changes_anything(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    start(root)
    # What a run leaves that was killed before its syncs: directories, a disk, but no record of it.
    (root / ".filer").write_text(marker(root).replace("true", "false"))
    (root / "var" / "shelf.toml").unlink()
    storage = NotedStorage()

    start(root, storage)

    asked = storage.calls
    record = asked.index(("write", root / "var" / "shelf.toml"))
    for bay in range(4):
        assert asked.index(("settle", root / "shelf" / f"0c.00.{bay}.sed")) < record
    assert asked.index(("settle_above", root)) < record
    for directory in Root(root).directories:
        if directory != root / "ssh":
            assert asked.index(("settle", directory)) < record
    assert record < asked.index(("write", root / ".filer"))


LOCKS = ("power", "service")


def test_a_start_that_cannot_make_durable_what_it_finds_changes_nothing(tmp_path: Path) -> None:
    root = new_root(tmp_path / "root")
    start(root)
    before = {name: seen for name, seen in snapshot(root).items() if name not in LOCKS}

    with pytest.raises(StorageError, match=r"^cannot write root: Input/output error$"):
        start(root, NotedStorage(unsettling=True))

    after = {name: seen for name, seen in snapshot(root).items() if name not in LOCKS}
    assert after == before
