"""A node of a pair at LOADER: it may read its disks, and holds no service lock."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from filer.boot.takeover import stand_down
from filer.disks.disk import AuthenticationFailed
from filer.host.durable import Storage, StorageError
from filer.keys.authentication_key import AuthenticationKey
from filer.pair.mailbox import State
from filer.pair.making import make_pair
from filer.pair.service import ServiceLock
from filer.shell.plugins import commands_at_loader
from tests.conftest import StartKeyServers
from tests.kit.house import House


@pytest.fixture
def house(tmp_path: Path, key_servers: StartKeyServers) -> Iterator[House]:
    """Return a node at LOADER whose disks are locked, and have refused a key."""
    servers = key_servers(1)
    root, _partner = make_pair(tmp_path / "pair", Storage())
    text = (root / "filer.toml").read_text(encoding="utf-8")
    text = text.replace('"64 MiB"', '"1 MiB"').replace("disks = 12", "disks = 8")
    (root / "filer.toml").write_text(text.replace("5696", str(servers[0].port)), encoding="utf-8")
    with House(root, servers) as house:
        house.boot()
        house.install_all()
        house.encrypt()
        with pytest.raises(AuthenticationFailed):
            house.filer.shelf["0c.00.1"].authenticate(AuthenticationKey(b"wrong" * 5))
        house.power_off()
        stand_down(house.filer, State.NOTAKEOVER)
        house.filer = house.machine.power_on(serves=False)
        yield house


def setup(house: House) -> str:
    line = f"kmip_setup '{house.servers[0].directory}' {house.servers[0].address}"
    return house.run(line, "", "", commands=commands_at_loader()).text


def test_the_disks_can_be_read_and_not_written(house: House) -> None:
    disk = house.filer.shelf["0c.00.1"]
    assert disk.failures == 1
    with pytest.raises(StorageError, match="are not served here now"):
        disk.forget_refused_keys()
    assert ServiceLock(house.root).is_free()


def test_kmip_setup_makes_the_disks_forget_refused_keys(house: House) -> None:
    assert "still remembers" not in setup(house)
    assert ServiceLock(house.root).is_free()
    house.boot()
    assert house.filer.shelf["0c.00.1"].failures == 0


def test_kmip_setup_leaves_the_disks_to_a_partner_that_has_taken_over(house: House) -> None:
    survivor = ServiceLock(house.root)
    survivor.take()
    before = (house.root.parent / "shelf" / "0c.00.1.sed").read_bytes()
    shown = setup(house)
    assert "0c.00.1 still remembers the keys" in shown
    assert "is held by process" in shown
    assert "0c.00.3" not in shown
    assert (house.root.parent / "shelf" / "0c.00.1.sed").read_bytes() == before
    assert survivor.held
