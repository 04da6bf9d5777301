"""Disk ownership: disks of other systems are shown as such, and never changed."""

import json
import re
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filer.boot.machine import BootAborted, Panic
from filer.disks.derivation import Derivation
from filer.disks.disk import Disk
from filer.disks.label import Label
from filer.disks.record import NO_OWNER, Owner
from filer.host.durable import Storage, StorageError
from filer.keys.authentication_key import MSID, AuthenticationKey
from filer.keys.key_id import is_key_id, new_key_id, systems_of
from filer.shell.plugins import commands_in_maintenance
from tests.conftest import StartKeyServers
from tests.kit import manual
from tests.kit.console import beside
from tests.kit.house import PARTNER_ID, SYSTEM_ID, House, Outcome
from tests.kit.manual import Build, completed
from tests.kit.pairs import lose, new_pair, put

build = manual.build

OTHER = 77
KEY = "of the Other system, 1"
LAYOUT = "{:08X}{:08X}{}" + "00112233445566778899AABBCCDDEEFF"
OF_OTHER = LAYOUT.format(OTHER, 0, "0100000000000000")
OF_PARTNER_ALONE = LAYOUT.format(PARTNER_ID, 0, "0100000000000000")
OF_OTHER_AND_US = LAYOUT.format(OTHER, SYSTEM_ID, "0101000000000000")
FOREIGN = "0c.01.0"

OWN = ("0c.00.0", "0c.00.1", "0c.00.2", "0c.00.3", "0c.00.4")


@pytest.fixture
def house(build: Build) -> House:
    """A filer with two spares beside its root aggregate."""
    return build(1, disks=5)


# What key IDs say about the owner.


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(min_size=16, max_size=16))
def test_a_key_id_names_its_systems(system: int, partner: int, random: bytes) -> None:
    key_id = new_key_id(system, partner, lambda _size: random)
    assert set(systems_of(key_id)) == {system, partner} - {0}
    assert systems_of(key_id.lower()) == systems_of(key_id)


@given(st.from_regex(r"[0-9A-Fa-f]{64}", fullmatch=True) | st.text())
def test_other_key_ids_name_no_system(text: str) -> None:
    if not (is_key_id(text) and re.match(r".{16}010[01]0{12}", text)):
        assert systems_of(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "0x0",
        "A" * 64,
        LAYOUT.format(0, 0, "0100000000000000"),
        LAYOUT.format(OTHER, 0, "0101000000000000"),
        LAYOUT.format(OTHER, SYSTEM_ID, "0100000000000000"),
        LAYOUT.format(0, OTHER, "0101000000000000"),
    ],
)
def test_a_key_id_that_is_laid_out_otherwise_names_no_system(text: str) -> None:
    assert systems_of(text) == ()


# Foreign disks of every sort, in the second shelf.


def insert(house: House, bay: int) -> Disk:
    """Put a new, powered-on disk into the second shelf."""
    path = house.root / "shelf" / f"0c.01.{bay}.sed"
    disk = Disk.create(path.stem, path, Storage(), Derivation(), size=2**20)
    disk.power_on()
    return disk


def label(disk: Disk, system_id: int, *others: Disk) -> None:
    serials = (disk.serial, *(each.serial for each in others), "OTHER1", "OTHER2")[:3]
    disk.write_block(0, Label(system_id, "aggr0", serials).pack())


def rekey(disk: Disk, key_id: str, *, lock: bool = False) -> None:
    key = AuthenticationKey(KEY.encode())
    disk.rekey(MSID, key_id, key)
    if lock:
        disk.lock(key)


def with_a_label(house: House, bay: int = 0) -> None:
    label(insert(house, bay), OTHER)


def with_a_label_and_our_id(house: House, bay: int = 0) -> None:
    """Its system has our ID, which is likely with the default IDs."""
    label(insert(house, bay), SYSTEM_ID)


def with_the_label_of_the_partner(house: House, bay: int = 0) -> None:
    label(insert(house, bay), PARTNER_ID)


def with_a_label_under_our_key(house: House, bay: int = 0) -> None:
    disk = insert(house, bay)
    label(disk, OTHER)
    rekey(disk, LAYOUT.format(SYSTEM_ID, 0, "0100000000000000"))


def a_spare_with_a_key(house: House, bay: int = 0) -> None:
    rekey(insert(house, bay), OF_OTHER)


def a_spare_of_the_partner(house: House, bay: int = 0) -> None:
    rekey(insert(house, bay), OF_PARTNER_ALONE)


def locked(house: House, bay: int = 0) -> None:
    rekey(insert(house, bay), OF_OTHER, lock=True)


def recorded(house: House, bay: int = 0) -> None:
    """Only its record names the other system."""
    insert(house, bay).assign(Owner(OTHER))


def recorded_for_the_partner(house: House, bay: int = 0) -> None:
    """Locked, with a key ID of both systems, as those of an HA pair have."""
    disk = insert(house, bay)
    disk.assign(Owner(PARTNER_ID, "filer2"))
    rekey(disk, new_key_id(SYSTEM_ID, PARTNER_ID, bytes), lock=True)


def recorded_and_destroyed(house: House, bay: int = 0) -> None:
    disk = insert(house, bay)
    disk.assign(Owner(OTHER))
    disk.destroy()


def recorded_with_our_label(house: House, bay: int = 0) -> None:
    """A member of the root aggregate that was moved to another system."""
    disk = insert(house, bay)
    label(disk, SYSTEM_ID)
    disk.assign(Owner(OTHER))


def locked_and_a_member(house: House, bay: int = 0) -> None:
    """Its key ID names this system too; the label of another member decides."""
    disk, readable = insert(house, bay), insert(house, bay + 1)
    label(readable, OTHER, disk)
    rekey(disk, OF_OTHER_AND_US, lock=True)


Sort = Callable[..., None]
"""Puts a disk into a bay of the second shelf, 0 unless it is given."""

SORTS: tuple[Sort, ...] = (
    with_a_label,
    with_a_label_and_our_id,
    with_the_label_of_the_partner,
    with_a_label_under_our_key,
    a_spare_with_a_key,
    a_spare_of_the_partner,
    locked,
    recorded,
    recorded_for_the_partner,
    recorded_with_our_label,
    locked_and_a_member,
)


def insert_all(house: House) -> None:
    """Put a disk of each sort into the second shelf, which then has 12 of them."""
    for bay, sort in enumerate(SORTS):
        sort(house, bay)


OF_PARTNER = [
    f"0c.01.{SORTS.index(sort)}"
    for sort in (with_the_label_of_the_partner, a_spare_of_the_partner, recorded_for_the_partner)
]


def foreign_disks(house: House) -> list[str]:
    return [disk.name for disk in house.filer.shelf if disk.name.startswith("0c.01.")]


def contents(house: House) -> dict[str, bytes]:
    """Return the files of the disks in the second shelf."""
    return {path.name: path.read_bytes() for path in (house.root / "shelf").glob("0c.01.*")}


@pytest.fixture
def key_known(house: House) -> House:
    """A filer whose key server shows it the keys of the foreign disks."""
    house.add()
    for key_id in (OF_OTHER, OF_PARTNER_ALONE, OF_OTHER_AND_US):
        put(house.servers[0], new_pair(key=KEY, key_id=key_id))
    return house


def test_no_command_and_no_boot_touches_a_disk_of_another_system(key_known: House) -> None:
    house = key_known
    insert_all(house)
    before = contents(house)
    told = house.reboot()
    # The partner's are no news.
    names = [name for name in foreign_disks(house) if name not in OF_PARTNER]
    assert len(names) == 9
    locked_ones = [name for name in names if house.filer.shelf[name].locked]
    assert sorted(re.findall(r"0c\.\d+\.\d+", told)) == sorted(locked_ones)
    house.good("key_manager restore -all")

    def passes_over(line: str, verb: str, disks: int) -> None:
        outcome = house.execute(line)
        assert outcome.status == 0, outcome.err
        complaints = outcome.err.splitlines()
        assert {line.partition(": ")[0] for line in complaints} == {*names}
        assert all(line.endswith("; skipped") for line in complaints)
        assert completed(verb, disks) in outcome.out
        assert contents(house) == before

    passes_over("key_manager rekey", "rekey", 5)
    key_id = house.key_id()
    passes_over(f"disk encrypt rekey {key_id} *", "rekey", 5)
    passes_over("disk encrypt rekey 0x0 *", "rekey", 5)
    answers = ("", "", "", "", "", "", "yes")
    setup = house.execute("key_manager setup", *answers)
    assert completed("rekey", 5) + completed("lock", 5) in setup.out
    passes_over("disk encrypt lock 0c.*", "lock", 5)
    erased = house.good("disk encrypt sanitize -all", "sanitize disk")
    assert "2 disks (0c.00.3, 0c.00.4)" in erased
    destroyed = house.execute("disk encrypt destroy 0c.0[01].*", "destroy disk")
    assert "2 disks (0c.00.3, 0c.00.4)" in destroyed.out
    assert contents(house) == before
    assert house.reboot() == told
    assert contents(house) == before


BY_NAME = (
    ("disk encrypt rekey {key_id} {disk}", "rekey"),
    ("disk encrypt rekey 0x0 {disk}", "rekey"),
    ("disk encrypt lock {disk}", "lock"),
    ("disk encrypt sanitize {disk}", "sanitize"),
    ("disk encrypt destroy {disk}", "destroy"),
)


def test_by_name_a_disk_of_another_system_is_refused_in_one_line(key_known: House) -> None:
    house = key_known
    insert_all(house)
    house.must("key_manager rekey")
    house.reboot()
    before = contents(house)
    for (line, verb), disk in product(BY_NAME, foreign_disks(house)):
        outcome = house.execute(line.format(key_id=house.key_id(), disk=disk))
        assert (outcome.status, outcome.out) == (1, completed(verb, 1, failures=1)), disk
        assert re.fullmatch(
            rf"{disk}: (belongs to|belongs to an aggregate of|has the key of) "
            r"(another system|the partner) \([0-9, ]+\); "
            r"(sanitize it there before you use it here|"
            r"disk assign -f would make it one of this system)\n",
            outcome.err,
        ), (disk, line, outcome.err)
    assert contents(house) == before


def test_a_disk_of_another_system_is_shown_as_such_everywhere(house: House) -> None:
    insert_all(house)
    house.reboot()
    names = foreign_disks(house)
    assert len(names) == 12
    others = [name for name in names if name not in OF_PARTNER]
    assert listed(house, "disk show") == list(OWN)
    assert listed(house, "disk show -a") == [*OWN, *names]
    assert listed(house, "disk show -v") == [*OWN, *OF_PARTNER]
    for line in ("sysconfig -r", "aggr status -r"):
        rows = re.findall(r"^ *(\w+) +(0c\.\d+\.\d+) ", house.good(line), re.MULTILINE)
        assert [disk for role, disk in rows if role == "foreign"] == others
        assert [disk for role, disk in rows if role == "partner"] == OF_PARTNER
        assert [role for role, disk in rows if disk in OWN] == [
            "dparity",
            "parity",
            "data",
            "spare",
            "spare",
        ]
    shown = [line.split()[0] for line in house.good("disk encrypt show").splitlines()[1:]]
    assert shown == [*OWN, *others]
    for name in names:
        assert house.good(f"disk encrypt show {name}").count("\n") == 2, name
    assert house.good(f"disk encrypt show {FOREIGN} 0c.01.*").count("\n") == 1 + len(names)


def listed(house: House, line: str) -> list[str]:
    """Return the disks that ``disk show`` lists."""
    shown = house.good(line)
    return list(re.findall(r"^(0c\S+)", shown, re.MULTILINE))


def test_disk_show_names_the_systems(house: House) -> None:
    with_a_label(house)
    insert(house, 1).assign(Owner(PARTNER_ID, "filer2"))
    insert(house, 2)
    house.reboot()
    house.good("disk assign 0c.01.2 -s unowned")
    serials = [house.filer.shelf[name].serial for name in (*OWN, *foreign_disks(house))]
    text = house.good("disk show -a").splitlines()
    assert text[:2] == [
        "  DISK       OWNER                  POOL   SERIAL NUMBER         HOME",
        "------------ -------------          -----  -------------         -------------",
    ]
    filer1, filer2 = f"filer1    ({SYSTEM_ID})", f"filer2    ({PARTNER_ID})"
    assert text[6:] == [
        f"0c.00.4    {filer1} Pool0  {serials[4]:<21} {filer1}",
        f"0c.01.0    foreign   (77)         NONE   {serials[5]:<21} foreign   (77)",
        f"0c.01.1    {filer2} Pool0  {serials[6]:<21} {filer2}",
        f"0c.01.2    Not Owned              NONE   {serials[7]}",
    ]
    assert house.good("disk show").splitlines()[-1] == (
        "NOTE: Currently 1 disks are unowned. Use 'disk show -n' for additional information."
    )


def test_disk_show_selects_by_owner(house: House) -> None:
    with_a_label(house)
    insert(house, 1).assign(Owner(PARTNER_ID, "filer2"))
    insert(house, 2)
    house.reboot()
    assert house.good("disk show -n") == "disk show: No disks match option -n.\n"
    house.good("disk assign 0c.01.2 -s unowned")
    for options, expected in {
        "-n": ["0c.01.2"],
        "-v": [*OWN, "0c.01.1", "0c.01.2"],
        "-a": [*OWN, "0c.01.0", "0c.01.1", "0c.01.2"],
        "-o filer1": [*OWN],
        "-o filer2": ["0c.01.1"],
        "-o filer3": [],
        f"-s {SYSTEM_ID}": [*OWN],
        f"-s {PARTNER_ID}": ["0c.01.1"],
        "-s 77": ["0c.01.0"],
        "-s 78": [],
    }.items():
        assert listed(house, f"disk show {options}") == expected, options
    for wrong in ("x", "0", "4294967296", "-1", "\u0661"):
        assert "is not a system ID" in house.bad(f"disk show -s '{wrong}'")


def test_json_says_it_too(tmp_path: Path, key_servers: StartKeyServers) -> None:
    account = beside(key_servers(1), tmp_path / "home")
    account.commands("version")
    disk = Disk.create(
        FOREIGN,
        account.root / "shelf" / f"{FOREIGN}.sed",
        Storage(),
        Derivation(),
        size=2**20,
    )
    disk.power_on()
    rekey(disk, OF_OTHER_AND_US.replace(f"{SYSTEM_ID:08X}", f"{PARTNER_ID:08X}"), lock=True)
    outcome = account.run("--format", "json", "-c", "disk show -a", "-c", "sysconfig -r")
    objects = [json.loads(line) for line in outcome.out.splitlines()]
    results = [result for each in objects for result in each.get("results", [])]
    owned, roles = (result["disks"] for result in results if "disks" in result)
    assert [(each["foreign"], each["system_ids"]) for each in owned] == [
        *[(False, [SYSTEM_ID])] * 4,
        (True, [OTHER, PARTNER_ID]),
    ]
    assert [each["role"] == "foreign" for each in roles] == [each["foreign"] for each in owned]


# The boot.


def test_a_boot_tries_nothing_on_a_foreign_disk_however_often(house: House) -> None:
    locked(house)
    before = contents(house)
    for _ in range(3):
        assert house.reboot() == (
            f"WARNING: disk: {FOREIGN} stay locked: they belong to another system ({OTHER}).\n"
        )
        assert house.filer.panics.in_a_row == 0
        assert contents(house) == before


def test_a_panic_counts_own_disks_only(house: House) -> None:
    locked(house)
    house.encrypt()
    before = contents(house)
    lose(house.servers[0])
    with pytest.raises(Panic, match=r"3 of 3 disks locked, 1 of another system$"):
        house.reboot()
    assert house.failures == [1] * 5 + [0]
    assert contents(house) == before


def test_after_a_change_of_the_system_id_nothing_is_tried_and_the_old_one_opens_all(
    house: House,
) -> None:
    house.encrypt()
    toml = house.root / "filer.toml"
    old = toml.read_text()
    toml.write_text(f"[system]\nsystem_id = {OTHER}\npartner_id = 0\n" + old.split("\n", 3)[3])
    house.overrides = False
    with pytest.raises(BootAborted, match=rf"set system_id = {SYSTEM_ID} in filer.toml"):
        house.reboot()
    assert house.failures == [0] * 5
    toml.write_text(old)
    assert house.reboot() == ""
    assert not any(disk.locked for disk in house.filer.shelf)


def test_after_a_change_of_the_partner_the_disks_are_own_disks(house: House) -> None:
    house.encrypt()
    toml = house.root / "filer.toml"
    toml.write_text(toml.read_text().replace(str(PARTNER_ID), str(OTHER)))
    house.reboot()
    assert not any(disk.locked for disk in house.disks)


# Keys.


def test_restore_keeps_the_key_of_a_foreign_disk(key_known: House) -> None:
    house = key_known
    locked(house)
    house.reboot()
    house.good("key_manager restore -all")
    lose(house.servers[0])
    outcome = house.execute("key_manager restore -all")
    assert f"kept: {OF_OTHER}, in use by 1 disks" in outcome.err


def test_the_key_of_a_foreign_disk_is_no_reason_to_keep_a_key_server(house: House) -> None:
    house.add()
    locked(house)
    house.reboot()
    assert house.good("key_manager remove -key_server 127.0.0.2").endswith("complete.\n")


@pytest.mark.parametrize("in_use", [False, True])
def test_a_contested_key_id_of_another_system_does_not_stop_a_rekey(
    in_use: bool, build: Build
) -> None:
    house = build(2)
    house.add()
    for server, key in zip(house.servers, (KEY, "Another-of-the-other-1"), strict=True):
        put(server, new_pair(key=key, key_id=OF_OTHER))
    if in_use:
        locked(house)
        house.reboot()
    outcome = house.execute("key_manager rekey")
    assert (outcome.status, outcome.err.splitlines()[0]) == (
        0,
        f"WARNING: key servers 127.0.0.2, 127.0.0.3 hold different keys for key ID {OF_OTHER}.",
    )
    assert completed("rekey", 4) in outcome.out


def test_a_contested_key_id_that_names_this_system_stops_a_rekey(build: Build) -> None:
    house = build(2)
    house.add()
    for server, key in zip(house.servers, (KEY, "Another-of-the-other-1"), strict=True):
        put(server, new_pair(key=key, key_id=OF_OTHER_AND_US))
    assert "no key pair was created" in house.bad("key_manager rekey")


def test_no_disk_is_given_a_key_of_another_system(key_known: House) -> None:
    """If its record were lost, it would be foreign at the next boot, and stay locked."""
    house = key_known
    house.good("key_manager restore -all")
    for key_id in (OF_OTHER, OF_PARTNER_ALONE):
        assert house.bad(f"disk encrypt rekey {key_id} *") == (
            "disk: this key ID names another system, and no disk of this system has it\n"
        )
    assert house.good(f"disk encrypt rekey {OF_OTHER_AND_US} *") == completed("rekey", 5)


# The record.


def owners(house: House) -> list[int]:
    return [disk.owner.system_id for disk in house.filer.shelf]


def test_a_boot_that_succeeds_writes_the_owner_to_own_disks_only(house: House) -> None:
    assert owners(house) == [SYSTEM_ID] * 5
    insert(house, 0)
    with_the_label_of_the_partner_in(house, 1)
    assert house.reboot() == ""
    assert owners(house) == [SYSTEM_ID] * 6 + [0]
    before = contents(house)
    assert house.reboot() == ""
    assert contents(house) == before


def with_the_label_of_the_partner_in(house: House, bay: int) -> None:
    label(insert(house, bay), PARTNER_ID)


def test_the_owner_stays_through_every_change_of_the_key(house: House) -> None:
    house.encrypt()
    house.reboot()
    house.good("key_manager rekey")
    house.good("disk encrypt sanitize 0c.00.4", "sanitize disk")
    assert owners(house) == [SYSTEM_ID] * 5
    assert house.reboot() == ""
    assert owners(house) == [SYSTEM_ID] * 5


def test_a_disk_that_lost_its_record_is_taken_again(house: House) -> None:
    for offset in (8192, 12288):
        with (house.root / "shelf" / "0c.00.3.sed").open("r+b") as file:
            file.seek(offset)
            file.write(bytes(4096))
    assert "was lost" in house.reboot()
    assert owners(house) == [SYSTEM_ID] * 5


def test_a_locked_disk_that_may_be_the_partners_costs_it_nothing(key_known: House) -> None:
    house = key_known
    disk = insert(house, 0)
    key_id = new_key_id(SYSTEM_ID, PARTNER_ID, bytes)
    rekey(disk, key_id, lock=True)
    before = contents(house)
    assert f"key ID {key_id} is not in the keytable" in house.reboot()
    assert "0c.01.0: may belong to the partner" in house.bad("disk assign *")
    assert contents(house) == before
    execute = maintenance(house)
    for disk_list in "-all", "0c.*":
        erased = execute(f"disk encrypt sanitize {disk_list}", "sanitize disk")
        assert FOREIGN not in erased.out
        assert erased.err == f"{FOREIGN}: may belong to the partner; skipped\n"
    assert contents(house) == before


def test_a_locked_disk_that_may_be_the_partners_is_opened_with_its_key(key_known: House) -> None:
    house = key_known
    key_id = new_key_id(SYSTEM_ID, PARTNER_ID, bytes)
    put(house.servers[0], new_pair(key=KEY, key_id=key_id))
    rekey(insert(house, 0), key_id, lock=True)
    assert house.reboot() == ""
    assert house.filer.shelf[FOREIGN].owner == Owner(SYSTEM_ID, "filer1")


@pytest.mark.parametrize("sort", [recorded, a_spare_with_a_key, recorded_and_destroyed])
def test_assign_with_force_makes_a_foreign_disk_an_own_one(sort: Sort, key_known: House) -> None:
    house = key_known
    sort(house)
    house.reboot()
    before = contents(house)
    refused = house.execute(f"disk assign {FOREIGN}")
    assert (refused.status, refused.out) == (1, "")
    assert contents(house) == before
    assert house.good(f"disk assign {FOREIGN} -f") == ""
    assert house.good(f"disk assign {FOREIGN}") == ""
    assert house.filer.shelf[FOREIGN].owner == Owner(SYSTEM_ID, "filer1")
    assert FOREIGN in listed(house, "disk show")
    log = (house.root / "mroot" / "etc" / "messages").read_text()
    assert f"changing ownership for disk {FOREIGN} " in log
    assert log.endswith(f" to filer1 (ID {SYSTEM_ID})\n")
    house.reboot()
    assert house.filer.ownership().foreign_owner(house.filer.shelf[FOREIGN]) is None


@pytest.mark.parametrize("sort", [with_a_label, with_a_label_and_our_id])
def test_assign_never_takes_a_member_of_another_aggregate(sort: Sort, house: House) -> None:
    sort(house)
    house.reboot()
    before = contents(house)
    assert "belongs to an aggregate of another system" in house.bad(f"disk assign {FOREIGN} -f")
    assert contents(house) == before


@pytest.mark.parametrize("sort", [recorded_for_the_partner, locked])
def test_assign_never_takes_a_locked_disk_that_may_be_a_member(
    sort: Sort, key_known: House
) -> None:
    sort(key_known)
    key_known.reboot()
    before = contents(key_known)
    for force in ("", " -f"):
        refused = key_known.bad(f"disk assign {FOREIGN}{force}")
        assert refused.endswith("; sanitize it there before you use it here\n")
    assert contents(key_known) == before


def test_a_spare_that_was_sanitized_elsewhere_is_never_taken_silently(house: House) -> None:
    disk = insert(house, 0)
    disk.assign(Owner(OTHER))
    disk.sanitize()
    for _ in range(2):
        house.reboot()
        assert house.filer.shelf[FOREIGN].owner == Owner(OTHER)
        assert f"foreign   ({OTHER})" in house.good("disk show -a")


# Maintenance mode.


def maintenance(house: House) -> Callable[..., Outcome]:
    """Start maintenance mode, and return a function that executes its commands."""
    house.power_cycle()
    return partial(house.execute, commands=commands_in_maintenance())


def test_maintenance_mode_erases_own_disks_only(house: House) -> None:
    house.encrypt()
    insert_all(house)
    before = contents(house)
    execute = maintenance(house)
    erased = execute("disk encrypt sanitize -all", "sanitize disk")
    assert (erased.status, erased.err) == (0, "")
    assert f"({', '.join(OWN)})" in erased.out
    assert contents(house) == before
    assert execute("disk encrypt destroy *", "destroy disk").out.endswith(completed("destroy", 5))
    assert contents(house) == before
    for name in foreign_disks(house):
        if name != f"0c.01.{SORTS.index(with_a_label_and_our_id)}":
            named = execute(f"disk encrypt destroy {name}")
            assert (named.status, named.err.partition(" ")[0]) == (1, f"{name}:")
            assert contents(house) == before, name


def test_an_earlier_aggregate_of_this_system_can_be_erased_by_name_in_maintenance_mode(
    house: House,
) -> None:
    """There is no other system where that could be done."""
    with_a_label_and_our_id(house)
    execute = maintenance(house)
    erased = execute(f"disk encrypt sanitize {FOREIGN}", "sanitize disk")
    assert (erased.status, erased.err) == (0, "")
    house.reboot()
    assert house.filer.assembled().role(house.filer.shelf[FOREIGN]) == "spare"


def test_maintenance_mode_without_an_own_disk_says_so(house: House) -> None:
    house.encrypt()
    toml = house.root / "filer.toml"
    old = toml.read_text()
    toml.write_text(f"[system]\nsystem_id = {OTHER}\npartner_id = 0\n" + old.split("\n", 3)[3])
    execute = maintenance(house)
    assert execute("disk encrypt sanitize -all").err == "disk: there is no disk to sanitize\n"


class _ReadOnly(Storage):
    """Storage that cannot write one disk."""

    def overwrite(self, path: Path, offset: int, data: bytes, inode: int = 0) -> None:
        if path.stem == "0c.00.3":
            raise StorageError(f"cannot write {path.name}: Read-only file system")
        super().overwrite(path, offset, data, inode)


def test_a_disk_whose_owner_cannot_be_written_is_named_and_stops_no_other(house: House) -> None:
    house.close()
    with House(house.root, storage=_ReadOnly()) as now:
        now.boot()
        outcome = now.execute("disk assign 0c.00.3 0c.00.4 -s unowned")
        assert (outcome.status, outcome.err) == (
            1,
            "0c.00.3: cannot write 0c.00.3.sed: Read-only file system\n",
        )
        assert now.filer.shelf["0c.00.4"].owner == NO_OWNER
        execute = maintenance(now)
        outcome = execute(f"disk reassign -s {SYSTEM_ID} -d 77", "y")
        assert outcome.status == 1
        assert "0c.00.3: cannot write" in outcome.err
        assert outcome.out.endswith("disk reassign: 3 disks were reassigned to system 77.\n")
