"""A pair of two filers in this process, and what must hold for it after any fault."""

import shutil
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from filer.boot.takeover import give_back, take_over
from filer.disks.disk import BLOCK_SIZE
from filer.host.durable import Storage, StorageError
from filer.pair.making import make_pair
from filer.pair.pair import Pair
from filer.system import Filer
from pytest_filer.child import PATIENCE
from tests.kit import faulty
from tests.kit.fault_matrix import Row
from tests.kit.faulty import FaultyKeyServer
from tests.kit.house import House, Told

MARKED_BLOCK = 7
ODD = ["0c.00.1", "0c.00.3", "0c.00.5", "0c.00.7"]  # filer1 has the higher system ID
EVEN = ["0c.00.0", "0c.00.2", "0c.00.4", "0c.00.6"]


def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def pair_of(house: House) -> Pair:
    assert house.filer.pair
    return house.filer.pair


def taken(house: House) -> Filer:
    """Take the partner of ``house`` over."""
    take_over(house.filer, pair_of(house), Told(), "a test")
    assert house.filer.partner
    return house.filer.partner


class FullShelf(Storage):
    """Storage without room for a mailbox while ``is_full``."""

    REFUSAL = "cannot write the mailbox: No space left on device"
    is_full = True

    def write(self, path: Path, data: bytes) -> None:
        if self.is_full and path.name.startswith("mailbox."):
            raise StorageError(self.REFUSAL)
        super().write(path, data)


class Site:
    """A pair with encrypted and locked disks, its key servers, and copies of it."""

    def __init__(self, directory: Path, servers: Sequence[FaultyKeyServer]) -> None:
        self.servers = servers
        self._directory = directory
        self._sealed = directory / "sealed"
        roots = make_pair(self._sealed, Storage())
        for root in roots:
            text = (root / "filer.toml").read_text(encoding="utf-8")
            for old, new in (
                ('"64 MiB"', '"1 MiB"'),
                ("disks = 12", "disks = 8"),
                ("port = 5696", f"port = {servers[0].port}"),
                ("timeout = 5.0", "timeout = 20.0"),
            ):
                assert old in text
                text = text.replace(old, new)
            (root / "filer.toml").write_text(text, encoding="utf-8")
        for root in roots:
            with House(root, servers) as house:
                house.boot()
                house.install_all()
                house.encrypt()
                for disk in house.filer.ownership().own(house.filer.shelf):
                    disk.write_block(MARKED_BLOCK, mark(disk.name))
        self._stores = [server.store.read_bytes() for server in servers]

    def begin(self, stores: Sequence[bytes] = ()) -> Path:
        """Return a copy of the pair, and restore the key servers, by default those of the pair."""
        for server, store in zip(self.servers, stores or self._stores, strict=True):
            faulty.put_store(server, store)
            server.recover()
        return self.copy(self._sealed)

    def copy(self, source: Path, name: str = "pair") -> Path:
        """Return a copy of the pair ``source``; the key servers stay as they are."""
        copy = self._directory / name
        shutil.rmtree(copy, ignore_errors=True)
        ignore = shutil.ignore_patterns("run")
        return shutil.copytree(source, copy, symlinks=True, ignore=ignore)


def mark(name: str) -> bytes:
    return name.encode().ljust(BLOCK_SIZE, b".")


def check_boots(pair: Path, servers: Sequence[FaultyKeyServer], *, damaged: bool = False) -> str:
    """Boot both nodes at once; each serves its own disks, and no other.

    Return what they serve.  Only ``damaged`` disks lead to warnings.
    """
    with House(pair / "filer1", servers) as first, House(pair / "filer2", servers) as second:
        for house in (first, second):
            told = house.boot()
            assert damaged or told.warnings == []
            assert house.filer.panics.in_a_row == 0
        for house, own in ((first, ODD), (second, EVEN)):
            _check_disks(house.filer, own)
        both = f"filer1: {served(first.filer)}; filer2: {served(second.filer)}"
        for house in (first, second):  # the disks of the partner lose the state that it knows
            faulty.check_that_no_key_is_lost_by(house, list(servers))
        return both


def check_takeover(pair: Path, servers: Sequence[FaultyKeyServer]) -> str:
    """Take the partner over, and give it back; return what filer1 serves in between."""
    with House(pair / "filer1", servers) as first:
        first.boot()
        partner = taken(first)
        _check_disks(first.filer, ODD)
        _check_disks(partner, EVEN)
        assert partner.wafl_is_up
        assert pair_of(first).other_service.held
        both = f"filer1: {served(first.filer)}, {served(partner, of=' of filer2')}"
        give_back(first.filer, pair_of(first))
        assert not pair_of(first).other_service.held
        return both


def served(filer: Filer, *, of: str = "") -> str:
    """Describe how many of the own disks of ``filer`` are open or destroyed."""
    own = filer.ownership().own(filer.shelf)
    opened = sum(not (disk.locked or disk.destroyed) for disk in own)
    tried = [disk.name for disk in own if disk.failures]
    destroyed = sum(disk.destroyed for disk in own)
    return "".join(
        [
            f"{opened} disks{of} open",
            f", {destroyed} destroyed" if destroyed else "",
            f", wrong keys on {', '.join(tried)}" if tried else "",
        ]
    )


def after_crashes(found: Collection[tuple[str, str]]) -> Sequence[Row]:
    """Return the rows of docs/FAULTS.md for the results of `check_boots` and `check_takeover`."""
    return [
        ("", what, "", state)
        for boots, takeover in sorted(found)
        for what, state in (("both boot", boots), ("filer1 takes filer2 over", takeover))
    ]


def _check_disks(filer: Filer, own: Sequence[str]) -> None:
    disks = filer.ownership().own(filer.shelf)
    assert [disk.name for disk in disks] == own
    for disk in disks:
        assert not disk.locked
        assert disk.failures == 0
        assert disk.read_block(MARKED_BLOCK) == mark(disk.name)
