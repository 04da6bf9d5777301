"""Changes to files: atomic, private, and without leftovers."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from filer.host.durable import Storage, StorageError

A, B = b"a" * 300_000, b"b" * 200_000


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture(params=[0o000, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.umask(request.param)
    yield
    os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def refusing(tmp_path: Path) -> Path:
    """Return a path below which no user can create files, not even root."""
    (tmp_path / "file").write_bytes(b"")
    return tmp_path / "file" / "x"


@pytest.mark.usefixtures("umask")
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, storage: Storage) -> None:
    directory = tmp_path / "one" / "two"
    storage.make_directory(directory)
    storage.write(directory / "written", b"x")
    storage.create(directory / "created", b"x", 10)
    storage.append(directory / "log", b"x")
    assert [mode(path) for path in (directory.parent, directory)] == [0o700] * 2
    assert {mode(entry) for entry in directory.iterdir()} == {0o600}


def test_make_directory_changes_no_mode_of_what_is_there(tmp_path: Path, storage: Storage) -> None:
    directory = tmp_path / "there"
    directory.mkdir()
    for path in (tmp_path, directory):
        path.chmod(0o755)
    storage.make_directory(directory)
    storage.make_directory(directory / "new")
    assert (mode(directory), mode(tmp_path)) == (0o755, 0o755)
    assert mode(directory / "new") == 0o700


def test_the_names_of_directories_that_were_not_synced_are_synced_later(
    tmp_path: Path, storage: Storage
) -> None:
    path = tmp_path / "one" / "two" / "three"
    path.mkdir(parents=True)
    syncs: list[object] = []

    def watch(_frame: FrameType, event: str, call: object) -> None:
        if event == "c_return" and call is os.fsync:
            syncs.append(call)

    counts = []
    for settle in (storage.settle, storage.make_directory, storage.settle_above):
        syncs.clear()
        sys.setprofile(watch)
        try:
            settle(path)
        finally:
            sys.setprofile(None)
        counts.append(len(syncs))
    assert counts[:2] == [1, 1]
    assert counts[2] >= len(path.relative_to(tmp_path).parts)


@pytest.mark.parametrize("dangling", [False, True])
def test_no_change_goes_through_a_link(tmp_path: Path, storage: Storage, dangling: bool) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    if not dangling:
        target.write_bytes(b"kept")
        target.chmod(0o644)
    attempts: list[Callable[[], None]] = [
        lambda: storage.make_directory(link),
        lambda: storage.overwrite(link, 0, b"x"),
        lambda: storage.append(link, b"x"),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match=r"^cannot write link: "):
            attempt()
    assert link.is_symlink()
    assert target.exists() is not dangling
    if not dangling:
        assert (target.read_bytes(), mode(target)) == (b"kept", 0o644)


def test_a_link_to_a_directory_is_not_taken_for_one(tmp_path: Path, storage: Storage) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(StorageError, match=r"^cannot write link: Not a directory$"):
        storage.make_directory(tmp_path / "link")


def test_sweep_leaves_what_another_process_is_writing(tmp_path: Path, storage: Storage) -> None:
    script = """
import sys
from pathlib import Path
from types import FrameType
from filer.host.durable import _new_file
with _new_file(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        open_still = names(tmp_path)
        storage.sweep(tmp_path)
        assert names(tmp_path) == open_still
        writer.kill()
        writer.wait()
        storage.sweep(tmp_path)
    assert (len(open_still), names(tmp_path)) == (1, set())


def test_write_replaces_content_mode_and_link(tmp_path: Path, storage: Storage) -> None:
    target, path = tmp_path / "target", tmp_path / "path"
    target.write_bytes(b"kept")
    path.symlink_to(target)
    storage.write(path, A)
    assert not path.is_symlink()
    path.chmod(0o666)
    storage.write(path, B)
    assert (path.read_bytes(), mode(path)) == (B, 0o600)
    assert target.read_bytes() == b"kept"
    assert names(tmp_path) == {"target", "path"}


def test_make_directory_refuses_a_file(tmp_path: Path, storage: Storage) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"^cannot write file: Not a directory$"):
        storage.make_directory(tmp_path / "file")


def test_overwrite_changes_only_its_range(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    storage.overwrite(path, 3, b"xyz")
    assert path.read_bytes() == b"012xyz6789"


def test_overwrite_needs_the_file(tmp_path: Path, storage: Storage) -> None:
    with pytest.raises(StorageError, match=r"^cannot write gone: No such file or directory$"):
        storage.overwrite(tmp_path / "gone", 0, b"x")
    assert names(tmp_path) == set()


def test_overwrite_is_meant_for_one_file(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    inode = path.stat().st_ino
    storage.overwrite(path, 0, b"new", inode)
    path.rename(tmp_path / "away")
    path.write_bytes(b"another")
    with pytest.raises(
        StorageError, match=r"^cannot write file: another file has taken its place$"
    ):
        storage.overwrite(path, 0, b"x", inode)
    assert (path.read_bytes(), (tmp_path / "away").read_bytes()) == (b"another", b"new")


def test_holes_are_what_was_never_written(tmp_path: Path, storage: Storage) -> None:
    path, block = tmp_path / "disk", 1 << 16
    storage.create(path, b"head", 4 * block)
    storage.overwrite(path, 2 * block, bytes(block))
    assert [storage.is_hole(path, at * block, block) for at in range(4)] == [
        False,
        True,
        False,
        True,
    ]


def test_create_makes_a_sparse_file(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "disk"
    storage.create(path, b"head", 1 << 30)
    status = path.stat()
    assert status.st_size == 1 << 30
    assert status.st_blocks * 512 < 1 << 20
    assert status.st_nlink == 1
    with path.open("rb") as file:
        assert file.read(6) == b"head\0\0"


@pytest.mark.parametrize("dangling", [False, True])
def test_create_never_replaces(tmp_path: Path, storage: Storage, dangling: bool) -> None:
    path = tmp_path / "disk"
    if dangling:
        path.symlink_to("nowhere")
    else:
        path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        storage.create(path, b"head", 100)
    assert names(tmp_path) == {"disk"}
    assert path.is_symlink() if dangling else path.read_bytes() == b"mine"


def test_link_is_made_and_moved(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "kmip"
    for target in ("kmip.1", "kmip.2"):
        storage.link(path, target)
        assert str(path.readlink()) == target
    assert names(tmp_path) == {"kmip"}


def test_removing_what_is_gone_is_no_error(tmp_path: Path, storage: Storage) -> None:
    path, tree = tmp_path / "file", tmp_path / "tree"
    path.write_bytes(b"")
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").write_bytes(b"")
    for _ in range(2):
        storage.remove(path)
        storage.remove_tree(tree)
    assert names(tmp_path) == set()


def test_append_adds_to_the_end(tmp_path: Path, storage: Storage) -> None:
    for line in (b"one\n", b"two\n"):
        storage.append(tmp_path / "log", line)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_sweep_removes_only_what_never_became_whole(tmp_path: Path, storage: Storage) -> None:
    (tmp_path / ".new-0123").write_bytes(b"half")
    (tmp_path / ".new-4567").symlink_to("nowhere")
    (tmp_path / "new-file").write_bytes(b"")
    (tmp_path / ".new-file").write_bytes(b"")
    storage.sweep(tmp_path)
    assert names(tmp_path) == {"new-file", ".new-file"}
    storage.sweep(tmp_path / "gone")


def test_every_refusal_of_the_host_is_one_line(tmp_path: Path, storage: Storage) -> None:
    path = refusing(tmp_path)
    attempts: list[Callable[[], None]] = [
        lambda: storage.make_directory(path),
        lambda: storage.write(path, b"x"),
        lambda: storage.overwrite(path, 0, b"x"),
        lambda: storage.create(path, b"x", 1),
        lambda: storage.link(path, "x"),
        lambda: storage.remove(path),
        lambda: storage.remove_tree(path),
        lambda: storage.append(path, b"x"),
        lambda: storage.sweep(path),
        lambda: storage.settle(path),
        lambda: storage.settle_above(path),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match=r"^cannot write x: Not a directory$"):
            attempt()


def test_a_name_is_made_printable_in_messages(tmp_path: Path, storage: Storage) -> None:
    path = refusing(tmp_path).with_name("a\x1b[31m\n")
    with pytest.raises(StorageError, match=r"^cannot write a\\x1b\[31m\\n: Not a directory$"):
        storage.write(path, b"x")


@pytest.mark.parametrize("operation", ["write", "link"])
def test_a_refused_rename_leaves_nothing(tmp_path: Path, storage: Storage, operation: str) -> None:
    path = tmp_path / "path"
    path.mkdir()
    with pytest.raises(StorageError):
        storage.write(path, b"x") if operation == "write" else storage.link(path, "x")
    assert names(tmp_path) == {"path"}


def test_a_full_disk_leaves_the_old_content() -> None:
    """Files are limited to 64 KiB, which the host reports like a full disk."""
    script = """
import resource, signal, sys, tempfile
from pathlib import Path
from types import FrameType
from filer.host.durable import Storage, StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
with tempfile.TemporaryDirectory() as name:
    directory, path = Path(name), Path(name) / "file"
    Storage().write(path, b"old")
    for attempt in (
        lambda: Storage().write(path, bytes(100_000)),
        lambda: Storage().create(directory / "disk", b"x", 100_000),
        lambda: Storage().append(directory / "log", bytes(100_000)),
    ):
        try:
            attempt()
        except StorageError as error:
            print(error)
    print(path.read_bytes(), (directory / "log").read_bytes())
    print(sorted(entry.name for entry in directory.iterdir()))
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert run.stdout.splitlines() == [
        "cannot write file: File too large",
        "cannot write disk: File too large",
        "cannot write log: No space left on device",
        "b'old' b''",
        "['file', 'log']",
    ]


def test_a_killed_writer_leaves_the_old_content_or_the_new(
    tmp_path: Path, storage: Storage
) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    script = """
import sys
from pathlib import Path
from types import FrameType
from filer.host.durable import Storage
from tests.filer.host.test_durable import A, B
path, link, storage = Path(sys.argv[1]), Path(sys.argv[2]), Storage()
while True:
    for target, data in (("a", A), ("b", B)):
        storage.write(path, data)
        storage.link(link, target)
"""
    for delay in (0.0, 0.003, 0.011, 0.02):
        for left in (path, link):
            left.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", script, path, link])
        deadline = time.monotonic() + 30
        while not link.is_symlink() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert path.read_bytes() in {A, B}
        assert str(link.readlink()) in {"a", "b"}
        storage.sweep(tmp_path)
        assert names(tmp_path) == {"file", "link"}
