"""The service lock, the storage that it guards, the mailbox and the interconnect."""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from filer.host.durable import Storage, StorageError
from filer.host.toml_file import ConfigError
from filer.pair.interconnect import ALIVE, WAITING, Interconnect
from filer.pair.mailbox import Failover, Mailbox, State
from filer.pair.service import DisksServed, GuardedStorage, ServiceHeld, ServiceLock, lock_of_disks
from tests.kit.console import PATIENCE
from tests.kit.pair_site import until


def test_one_holder_at_a_time_and_a_refusal_that_names_it(tmp_path: Path) -> None:
    one, other = ServiceLock(tmp_path), ServiceLock(tmp_path)
    assert one.is_free()
    one.take()
    one.take()
    assert one.held
    assert not other.is_free()
    with pytest.raises(ServiceHeld, match=f"is held by process {os.getpid()}$"):
        other.take()
    assert stat.S_IMODE((tmp_path / "service").stat().st_mode) == 0o600
    one.release()
    assert other.is_free()
    other.take()
    with pytest.raises(ServiceHeld):
        one.take()


@pytest.mark.parametrize("name", ["service", "mroot"])
def test_a_holder_whose_lock_is_removed_writes_nothing_and_lets_no_other_in(
    tmp_path: Path, name: str
) -> None:
    one, other = ServiceLock(tmp_path), ServiceLock(tmp_path)
    one.take()
    (tmp_path / name).rename(tmp_path / "away")
    with pytest.raises(StorageError, match="removed or replaced"):
        one.check()
    with pytest.raises(ServiceHeld):
        other.take()
    assert not other.is_free()


def test_a_copy_of_a_root_finds_the_disks_locked(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    disks = lock_of_disks(tmp_path, 1573922407)
    one, other = ServiceLock(tmp_path, disks), ServiceLock(tmp_path / "copy", disks)
    assert other.is_free()
    one.take()
    assert not other.is_free()
    with pytest.raises(DisksServed, match=f"^process {os.getpid()} serves the disks"):
        other.take()
    assert not other.held
    disks.unlink()
    other.take()
    with pytest.raises(StorageError, match="removed or replaced"):
        one.check()


def test_looking_does_not_keep_the_owner_out(tmp_path: Path) -> None:
    lock = ServiceLock(tmp_path)
    for _ in range(20):
        assert ServiceLock(tmp_path).is_free()
        lock.take()
        lock.release()


CHANGES: list[Callable[[Storage, Path], object]] = [
    lambda storage, path: storage.make_directory(path / "new"),
    lambda storage, path: storage.write(path / "new", b"x"),
    lambda storage, path: storage.overwrite(path / "file", 0, b"x"),
    lambda storage, path: storage.create(path / "new", b"x", 10),
    lambda storage, path: storage.link(path / "new", "file"),
    lambda storage, path: storage.remove(path / "file"),
    lambda storage, path: storage.remove_tree(path / "tree"),
    lambda storage, path: storage.append(path / "file", b"x"),
    lambda storage, path: storage.rename(path / "file", path / "new"),
    lambda storage, path: storage.sweep(path),
]


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_passes_without_the_lock(
    tmp_path: Path, change: Callable[[Storage, Path], object]
) -> None:
    lock = ServiceLock(tmp_path)
    files = tmp_path / "files"
    files.mkdir()
    (files / "file").write_bytes(b"old")
    (files / "tree").mkdir()
    (files / ".new-0a").write_bytes(b"")
    storage = GuardedStorage(Storage(), lock)

    def content() -> list[tuple[str, bytes]]:
        return [
            (each.name, each.read_bytes() if each.is_file() else b"")
            for each in sorted(files.iterdir())
        ]

    before = content()
    with pytest.raises(StorageError, match="are not served here now"):
        change(storage, files)
    assert content() == before
    lock.take()
    change(storage, files)
    assert content() != before


def test_the_lock_moves_only_between_two_changes(tmp_path: Path) -> None:
    lock, partner = ServiceLock(tmp_path), ServiceLock(tmp_path)
    lock.take()
    writing, written = threading.Event(), threading.Event()

    class Slow(Storage):
        def write(self, path: Path, data: bytes) -> None:
            writing.set()
            assert written.wait(PATIENCE)
            super().write(path, data)

    storage = GuardedStorage(Slow(), lock)
    writer = threading.Thread(target=storage.write, args=(tmp_path / "file", b"x"))
    writer.start()
    assert writing.wait(PATIENCE)
    releaser = threading.Thread(target=lock.release)
    releaser.start()
    until(lambda: not lock.held)
    with pytest.raises(StorageError):
        storage.write(tmp_path / "other", b"x")
    with pytest.raises(ServiceHeld):
        partner.take()
    written.set()
    writer.join()
    releaser.join()
    assert (tmp_path / "file").read_bytes() == b"x"
    partner.take()


def test_every_change_of_storage_is_guarded() -> None:
    reads_or_syncs = {"read", "is_hole", "settle", "settle_above"}
    changes = {name for name in vars(Storage) if not name.startswith("_")} - reads_or_syncs
    assert changes <= vars(GuardedStorage).keys()
    assert len(CHANGES) == len(changes)


def test_a_mailbox_counts_its_messages(tmp_path: Path) -> None:
    now = iter([100.7, 200.2, 300.0])
    mailbox = Mailbox(tmp_path, 77, Storage(), lambda: next(now))
    assert mailbox.read() is None
    mailbox.put(State.UP)
    mailbox.put(State.NOTAKEOVER)
    assert mailbox.read() == (State.NOTAKEOVER, 101, 200)
    (tmp_path / "mailbox.77").write_text("damaged\n")
    mailbox.put(State.UP)
    assert mailbox.read() == (State.UP, 300, 300)
    assert (tmp_path / "mailbox.77").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('state = "asleep"\ngeneration = 1\ntime = 1\n', "1: state must be the state of a node"),
        ('state = "up"\ngeneration = -1\ntime = 1\n', "2: generation must be a whole number"),
        ("?", "1: "),
    ],
)
def test_a_damaged_mailbox_is_named_with_its_line(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "mailbox.77").write_text(text)
    with pytest.raises(ConfigError) as problem:
        Mailbox(tmp_path, 77, Storage()).read()
    assert str(problem.value).startswith(f"mailbox.77:{error}")


def test_takeover_is_enabled_until_it_is_disabled(tmp_path: Path) -> None:
    failover = Failover(tmp_path, Storage())
    assert failover.enabled
    failover.enabled = False
    assert not Failover(tmp_path, Storage()).enabled


class Ends:
    """Both ends of an interconnect, below a path that is longer than a socket's address."""

    def __init__(self, directory: Path) -> None:
        self.roots = [directory / ("deep" * 20) / name for name in ("one", "other")]
        self.one, self.other = (
            Interconnect(root, self.roots[1 - number]) for number, root in enumerate(self.roots)
        )
        for root in self.roots:
            root.mkdir(parents=True)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path)
    yield ends
    for end in (ends.one, ends.other):
        end.stop()


def test_heartbeats_tell_that_the_partner_lives_and_waits(ends: Ends) -> None:
    ends.one.start()
    ends.other.start()
    until(lambda: ends.one.is_up and ends.other.is_up)
    assert not ends.one.partner_waits
    ends.other.heartbeat = WAITING
    until(lambda: ends.one.partner_waits)
    ends.other.heartbeat = ALIVE
    until(lambda: not ends.one.partner_waits)
    run = ends.roots[0] / "run"
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE((run / "interconnect").stat().st_mode) == 0o600
    ends.other.stop()
    until(lambda: ends.one.is_silent)
    assert not (ends.roots[1] / "run" / "interconnect").exists()


def test_a_partner_is_asked_and_what_is_no_message_is_ignored(ends: Ends) -> None:
    asked: list[bool] = []
    ends.other.asked = lambda: asked.append(True)
    ends.other.start()
    ends.one.send(b"\xff" * 1000)
    for message in (b"", b"release", b"release x", b"release nan", b"release 1"):
        ends.one.send(message)
    ends.one.ask()
    until(lambda: bool(asked))
    assert asked == [True]
    assert not ends.other.is_up


def test_a_request_that_was_not_read_in_time_is_void(ends: Ends) -> None:
    """The partner was stopped, and its operator has been told that it did not answer."""
    late = Interconnect(ends.roots[1], ends.roots[0], clock=lambda: time.monotonic() + 5)
    asked: list[bool] = []
    late.asked = lambda: asked.append(True)
    late.start()
    try:
        ends.one.ask()
        ends.one.send(WAITING)
        until(lambda: late.partner_waits)
    finally:
        late.stop()
    assert asked == []


def test_a_full_partner_holds_nobody_up(ends: Ends) -> None:
    import socket

    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiver:
        (ends.roots[1] / "run").mkdir()
        here = Path.cwd()
        os.chdir(ends.roots[1] / "run")
        try:
            receiver.bind("interconnect")
        finally:
            os.chdir(here)
        begun = time.monotonic()
        for _ in range(1000):
            ends.one.send(ALIVE)
        assert time.monotonic() - begun < PATIENCE
